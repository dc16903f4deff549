"""Documents brought in: found, parsed, cut into chunks, told step by step."""
