"""The event store: PostgreSQL, embedded or anywhere, with our tables in it."""
