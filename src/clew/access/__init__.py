"""Who may ask: tokens, the addresses that may be listened at, how often each may ask.

It knows no HTTP: the server and the agent's own endpoint ask it. It calls ``spool`` for files, and ``errors``.
"""
