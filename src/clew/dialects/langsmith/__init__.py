"""LangSmith's runs and feedback, read and written.

``requests`` reads what its clients send, as operations on runs; ``reading`` makes events of a run, ``restore`` those that
clew itself had sent, ``unbegun`` waits for the beginnings of runs that have ended. ``writing`` makes a run of a finished
span, at its ``place``; ``bodies`` writes requests.
"""
