"""What runs in the user's process: from a call to bytes on the spool.

Here live the logger, spans and ``@traceable``, the context that every event carries, the encoding of an event, the
making safe of any value (``sanitize``, ``foreign``, ``shapes``, ``failure``), the secrets (``redact``) and the state of
a process (``process``).

It calls ``config``, ``catalog``, ``spool``, ``event`` and what everybody may use; it imports the standard library and
``msgspec`` alone. It never reaches the agent, a sink, the store or a server, but for the one documented exception:
``configure(agent="in-process")``.
"""
