"""The event store: what can be asked of it.

Here is what is pure: the public form of an event, the tree of a trace, two traces compared, the points of a metric.
How a database is asked is in ``postgres``, which nothing pure may call.
"""
