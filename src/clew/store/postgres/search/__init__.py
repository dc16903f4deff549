"""Search in events: a query's tree as SQL, texts, and the walk through time."""
