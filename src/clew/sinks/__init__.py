"""Where events go: transports only, all behind the contract in ``base``.

A sink tries once to deliver a batch and says what came of it. What others call our events is in ``dialects``; the sink
for PostgreSQL is with the store, which knows that database. Sinks do not know each other.
"""
