"""The process that ships: it reads spools and hands events to sinks.

``supervisor`` runs everything; ``logs`` are those that are shipped, from when they are found until they are put aside:
``log`` is one of them as workers see it, ``adopted`` as it is looked after, and ``trouble`` reports what is wrong with
them; ``worker`` drives one sink; ``lastwords`` closes what dead processes left open; ``retry`` and ``breaker`` are policy;
``maintenance`` looks after the store. What it leaves for others to read is in ``delivery``.
"""
