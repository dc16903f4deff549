"""Make the sinks that the settings name.

PostgreSQL by ``dsn``, LangSmith by its key or endpoint, OTLP by its endpoint, Prometheus by its Pushgateway; every other sink by
its name in ``sinks`` (``CLEW_SINKS=console,mine``). All but PostgreSQL are found as entry points of the group
``clew.sinks``: functions that take the settings and return a sink. Sinks of other packages are found in
the same way as our own.
"""

from __future__ import annotations

import os
from contextlib import suppress
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final, cast
from urllib.parse import urlsplit

from msgspec.structs import replace

from clew.emit.safe.foreign import name_of
from clew.emit.sanitize import message_of
from clew.errors import AgentError, ClewError, ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from clew.config import Settings
    from clew.sinks.base import Sink

__all__ = ["GROUP", "check_sinks", "make_sinks"]

GROUP: Final = "clew.sinks"
"""Entry point group of sinks."""

_ENDPOINTS: Final = {"langsmith": "langsmith_endpoint", "otlp": "otlp_endpoint"}
"""The settings that name where a sink ships to, for those that might ship to our own receivers."""

_EXTRAS: Final = {"langsmith": "langsmith", "otlp": "otel", "prometheus": "agent"}
"""What to install clew with for a sink of ours."""


def make_sinks(settings: Settings) -> list[Sink]:
    """Make the sinks that *settings* name.

    Raises:
        ConfigError: They name none, or one that is not installed.
        AgentError: A library that a sink needs is not installed.
    """
    sinks: list[Sink] = []
    if settings.dsn is not None:
        sinks.append(_postgres(settings.dsn))
    for setting in _ENDPOINTS.values():
        _refuse_own_address(setting, getattr(settings, setting), settings)
    sinks += [_named(name, settings) for name in settings.sink_names()]
    if not sinks:
        message = "there is nowhere to ship to"
        raise ConfigError(message, hint="set CLEW_DSN (or --dsn) to a PostgreSQL, or run `clew up`")
    return sinks


def check_sinks(settings: Settings) -> Iterator[tuple[str, ClewError]]:
    """Find the sinks that *settings* name and that cannot be made: each is made, with a spool of its own, and closed.

    Yields:
        (the sink, why it cannot be made).
    """
    if settings.dsn is not None:
        try:
            import_module("clew.store.postgres.sink")
        except ImportError as error:
            yield "postgres", _missing("postgres", "agent", error)
    with TemporaryDirectory(prefix="clew-") as directory:
        apart = replace(settings, spool_dir=Path(directory) / "spool", console=_console_to_check(settings.console))
        for name in settings.sink_names():
            try:
                if name in _ENDPOINTS:
                    _refuse_own_address(_ENDPOINTS[name], getattr(settings, _ENDPOINTS[name]), settings)
                sink = _named(name, apart)
            except (AgentError, ConfigError) as error:
                yield name, error
            else:
                with suppress(Exception):
                    sink.close()


def _console_to_check(path: Path | None) -> Path | None:
    """Return a file that can be opened without a change: None in the place of one that would be made, or waited for."""
    if path is None or not (os.path.isfile(path) or not os.access(path.parent, os.W_OK | os.X_OK)):  # noqa: PTH113
        return None
    return path


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
        from clew.store.postgres.sink import PostgresSink
        from clew.store.postgres.upkeep.migrate import migrate
    except ImportError as error:
        raise _missing("postgres", "agent", error) from error
    return PostgresSink(dsn, prepare=migrate)


def _named(name: str, settings: Settings) -> Sink:
    found = {point.name: point for point in entry_points(group=GROUP)}
    if name not in found:
        message = f"there is no sink {name!r}"
        raise ConfigError(message, hint=f"CLEW_SINKS may name {', '.join(sorted(found)) or 'none'}")
    try:
        make = cast("Callable[[Settings], Sink]", found[name].load())
        return make(settings)
    except ImportError as error:
        raise _missing(name, _EXTRAS.get(name), error) from error
    except ClewError:
        raise
    except Exception as error:
        message = f"the sink {name!r} cannot be made: {name_of(type(error))}: {message_of(error)}"
        raise AgentError(message) from error


def _missing(sink: str, extra: str | None, error: ImportError) -> AgentError:
    """Say which library a sink needs, and how to get it."""
    message = f"the sink {sink!r} needs {error.name or error}"
    return AgentError(message, hint=f"pip install 'clew[{extra}]'" if extra else "install it where the agent runs")
