"""Search in events: a query's tree as SQL, words and phrases, and the walk through time, the newest first."""
