"""What runs in the user's process: from a call to bytes on the spool.

Here live the logger, spans and `@traceable`, the context that every event carries, the encoding of an event with
its secrets taken out, and the state of a process. Nothing here knows a sink, a store or a server; it imports the
standard library, ``msgspec``, and the layers below: ``config``, ``catalog``, ``spool``, ``event``.
"""
