"""Who writes a log, and whether that process lives."""
