"""The process that ships: it reads spools and hands events to sinks.

``supervisor`` finds producers and runs everything; ``log`` is one producer's log as the agent sees it; ``worker``
drives one sink; ``lastwords`` closes what dead processes left open; ``retry`` and ``breaker`` are policy; ``maintenance``
looks after the store. What it leaves for others to read is in ``delivery``.
"""
