"""A PostgreSQL of our own in the data directory: its programs, its life, the user that it runs as."""
