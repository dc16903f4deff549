"""What every test may use: the fixtures of ``support``, one plugin a topic."""

from __future__ import annotations

import signal

from hypothesis import HealthCheck, settings

pytest_plugins = [
    "support.fix_demo",
    "support.fix_disk",
    "support.fix_events",
    "support.fix_postgres",
    "support.fix_prometheus",
    "support.fix_proxy",
    "support.fix_receiving",
    "support.fix_server",
]

# A machine that is busy is no fault of what is tested: time belongs in benchmarks/.
settings.register_profile("clew", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("clew")


def pytest_configure() -> None:
    """Let Ctrl-C reach what the tests start, also where the suite itself was started with it ignored (``nohup``, ``&``)."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name bytes by their length: gzip puts the time into them, and two processes must find the same names."""
    return f"{argname}-{len(val)}-bytes" if isinstance(val, bytes) else None
