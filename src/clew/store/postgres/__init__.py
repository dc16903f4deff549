"""The store in PostgreSQL: who stores there also reads from it.

Here live the sink and the rows it makes, the statements, the search, and in rooms of their own the upkeep of what is
stored (``upkeep``) and the server of our own (``server``).
"""
