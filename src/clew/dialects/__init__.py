"""How others write our event: one room for each system, which reads and writes.

What several of them share is here: values of any type read for what is meant (``loose``), JSON that is not strict,
found documents. Dialects know no connection: what carries the bytes is in ``sinks`` and ``receivers``.
"""
