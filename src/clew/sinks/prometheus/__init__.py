"""Prometheus: counters and histograms, scraped or pushed."""
