"""Passages found for a question: by words, by meaning, reranked."""
