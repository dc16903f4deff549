"""How others write our event: one room for each system, which reads and writes.

What they share is here: the event that a reader makes (``draft_event``), the finished span that a writer is given
(``finished_span``), values of any type read for what is meant (``loose``), JSON that is not strict (``lenient_json``),
documents that were found (``hits``) and vectors left out (``vectors``).

Dialects know no connection, no spool and no store: what carries the bytes is in ``sinks`` and ``receivers``. They do not
know each other.
"""
