"""Alerts that Alertmanager sends: what it posts (``notification``), and what becomes of it (``received``)."""
