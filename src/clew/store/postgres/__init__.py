"""The store in PostgreSQL: who stores there also reads from it.

Here live the sink and the rows it makes, the statements (``sql``) and what each question reads. In rooms of their own:
``search`` (a query's tree as SQL, texts, the walk through time), ``upkeep`` (what has to be done again and again) and
``server`` (a PostgreSQL of our own in the data directory).
"""
