"""LangSmith's runs and feedback, read and written."""
