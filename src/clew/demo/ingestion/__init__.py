"""Documents brought in: found, parsed, cut into chunks, reported step by step."""
