"""Prometheus: counters and histograms of the catalogue's metrics, scraped from the agent or pushed.

``feed`` adds events up into ``series``, ``state`` keeps them through crashes, ``text`` writes them for a scraper.
"""
