"""LangSmith: finished spans as runs, scores as feedback."""
