"""Where events are and what became of them: accounts, the ledger, dead letters, erasure from spools.

It reads spools and what agents leave there, and never ships anything. The agent writes what is read here; the
command line and the server show it.
"""
