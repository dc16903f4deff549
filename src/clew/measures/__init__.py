"""What is measured of events and what counts of them, decided once for every surface.

Here: what an event measures (``observation``), which of it counts (``counting``, the one rule), the sums of a
minute (``minutes``), the values of labels (``labels``) and the buckets of histograms (``buckets``). Pure: no files,
no network, no SQL. It may call the catalogue, ``dialects`` and what is below them; sinks, the store and the agent
call it.
"""
