"""The query server: the store over HTTP, read-only."""
