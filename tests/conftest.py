"""What every test may use: the fixtures of ``support``, one plugin a topic."""

from __future__ import annotations

pytest_plugins = [
    "support.fix_events",
    "support.fix_postgres",
    "support.fix_prometheus",
    "support.fix_proxy",
    "support.fix_receiving",
    "support.fix_server",
]
