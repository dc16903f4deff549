"""Where events are and what became of them: accounts, the ledger, dead letters, erasure from spools.

It reads spools and what agents leave there (``status``, ``open_spans``). It ships nothing and asks no store: the agent
writes what is read here, and the command line and the server show it.

It calls ``emit``, ``spool`` and what is below them.
"""
