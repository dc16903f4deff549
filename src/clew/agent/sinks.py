"""Make the sinks that the settings name.

PostgreSQL by ``dsn``, LangSmith by its key or endpoint, OTLP by its endpoint, Prometheus by its Pushgateway; every other sink by
its name in ``sinks`` (``CLEW_SINKS=console,mine``). All but PostgreSQL are found as entry points of the group
``clew.sinks``: functions that take the settings and return a sink. Sinks of other packages are found in
the same way as our own.
"""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Final, cast
from urllib.parse import urlsplit

from clew.errors import AgentError, ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from clew.config import Settings
    from clew.sinks.base import Sink

__all__ = ["GROUP", "make_sinks"]

GROUP: Final = "clew.sinks"
"""Entry point group of sinks."""


def make_sinks(settings: Settings) -> list[Sink]:
    """Make the sinks that *settings* name.

    Raises:
        ConfigError: They name none, or one that is not installed.
        AgentError: A library that a sink needs is not installed.
    """
    sinks: list[Sink] = []
    if settings.dsn is not None:
        sinks.append(_postgres(settings.dsn))
    for setting in ("langsmith_endpoint", "otlp_endpoint"):
        _refuse_own_address(setting, getattr(settings, setting), settings)
    sinks += [_named(name, settings) for name in settings.sink_names()]
    if not sinks:
        message = "there is nowhere to ship to"
        raise ConfigError(message, hint="set CLEW_DSN (or --dsn) to a PostgreSQL, or run `clew up`")
    return sinks


def _refuse_own_address(setting: str, url: str | None, settings: Settings) -> None:
    """Refuse to ship to the receivers of our own server: each event would come back as a new one, for ever."""
    if url is None:
        return
    there = urlsplit(url)
    is_here = there.hostname in {"localhost", "127.0.0.1", "::1", settings.host}
    if is_here and there.port == settings.port:
        message = f"{setting} is {url}, this clew's own receiver: it would ship to itself"
        raise ConfigError(message, hint=f"point {setting} at another system, or unset it")


def _postgres(dsn: str) -> Sink:
    try:
        from clew.sinks.postgres import PostgresSink
        from clew.store.migrate import migrate
    except ImportError as error:
        message = f"shipping to PostgreSQL needs {error.name}"
        raise AgentError(message, hint="pip install 'clew[agent]'") from error
    return PostgresSink(dsn, prepare=migrate)


def _named(name: str, settings: Settings) -> Sink:
    found = {point.name: point for point in entry_points(group=GROUP)}
    if name not in found:
        message = f"there is no sink {name!r}"
        raise ConfigError(message, hint=f"CLEW_SINKS may name {', '.join(sorted(found)) or 'none'}")
    try:
        make = cast("Callable[[Settings], Sink]", found[name].load())
        return make(settings)
    except (ImportError, OSError) as error:
        message = f"the sink {name!r} cannot be made: {error}"
        raise AgentError(message) from error
