"""The on-disk log of every producer: written in the application, read by the agent.

``format`` states the bytes, ``directory`` the files, ``segment`` makes one of them,
``writer`` appends, ``reader`` reads back through damage, ``cursor`` remembers how far a
sink has come. The spool knows bytes, not events.
"""
