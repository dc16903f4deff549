"""The store at a size where it matters: ``python -m benchmarks.store [--events N] [--write] [--peers PYTHON]``."""
