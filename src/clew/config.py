"""The settings: one frozen object, resolved once.

Where a setting comes from, first hit wins: an argument of ``clew.configure`` or of a command,
the environment (``CLEW_`` and the setting's name), ``clew.toml`` (in the working directory, or
where ``CLEW_CONFIG`` points), the default.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from msgspec import Meta, Struct, ValidationError, convert, field
from msgspec.structs import fields as struct_fields

from clew.errors import ConfigError
from clew.event import LEVELS

__all__ = ["Settings", "data_dir", "load"]

PREFIX: Final = "CLEW_"
MIB: Final = 1024 * 1024

_HIDDEN: Final = ("dsn", "langsmith_api_key", "otlp_headers", "token", "redact_key")

_HTTP_URL: Final = re.compile(r"https?://[^/\s]")

Size = Annotated[int, Meta(ge=0)]


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every setting, resolved.

    Attributes:
        service: Name of the service that emits.
        environment: Where it runs, such as ``"prod"``; None when not told.
        version: Its version; None when not told.
        data_dir: Where clew keeps its data: the spool and the embedded PostgreSQL.
        spool_dir: Root of the spool; ``<data_dir>/spool`` unless told otherwise.
        dsn: PostgreSQL to ship to, as a libpq URL; None for none.
        sinks: Further sinks to ship to, by the name of their entry point.
        console: File that the sink ``console`` appends to; None or ``-`` for standard output.
        langsmith_api_key: Key of LangSmith; with it (or an endpoint) finished runs are shipped there.
        langsmith_endpoint: Base URL of LangSmith's API; None for ``https://api.smith.langchain.com``.
        langsmith_project: Project to ship to; None for one named after the service.
        langsmith_workspace: Workspace, for keys that are valid in several.
        otlp_endpoint: Base URL of an OTLP/HTTP receiver, without ``/v1/traces``; None for none.
        otlp_headers: Headers to send there, such as ``authorization``.
        pushgateway_url: Pushgateway that gets the metrics of short-lived agents; None for none.
        prices: A TOML file of prices that go before the built-in ones.
        prometheus_url: The Prometheus that scrapes us, to look up exemplars; None when not told.
        grafana_url: The Grafana that shows it, for links; None when not told.
        public_url: How people reach the server, for links; None for its own address.
        agent: Who ships: ``"auto"``, ``"external"`` or ``"in-process"``.
        level: Events below this level are not emitted.
        capture: Whether ``@traceable`` and ``span`` record inputs and outputs.
        capture_max_bytes: Largest input or output to record whole, as JSON.
        propagate: What carries the context into threads: ``"executors"``, ``"threads"``.
        redact: Further field names whose values never reach the disk.
        redact_allow: Field names that are never redacted.
        redact_patterns: Further patterns to take out of texts, by kind: a table in ``clew.toml``, or
            ``kind=pattern`` each on a line of its own in the environment.
        redact_key: Key of hash mode: what is redacted becomes a keyed hash, so that equal values still join.
        max_field_bytes: Longest string to keep whole.
        max_event_bytes: Largest event.
        segment_bytes: Size of a spool segment.
        spool_max_bytes: What the spools of this host may take together.
        spool_keep_free_bytes: Free disk space to leave.
        replay_window_s: How long what every sink has taken stays on the spool, in seconds, within the bounds above, so that
            a store that comes back from a backup is filled up again; 0 for not at all.
        flush_interval_s: How often the spool is brought to the disk itself, in seconds.
        host: Address the server listens at.
        port: Port the server listens at.
        token: Bearer token that the server asks for, one for everything; ``clew token create`` makes better ones.
        rate_limit: Requests a second that one token may send, twice as many at once; 0 for any number.
        receive_max_body_bytes: Largest body of a request that hands something in, as it comes and inflated.
        receive_max_records: Spans, span events, log records or runs that one request may hold.
        receive_in_flight_bytes: What bodies may take together that are being received.
        tls_cert: Certificate of the server and those above it, as PEM; with it the server speaks TLS.
        tls_key: Its private key, as PEM; None when it is in the file of the certificate.
        retention_hot_days: Days that the store keeps whole.
        retention_warm_days: Days after which everything in the store is gone, but for pinned traces.
        retention_sample: Share of ordinary traces that stays between the two, 0 to 1; 1 keeps them all.
        retention_slow_ms: From which duration on a request is slow, and stays; None for the slowest of its day.
        retention_slow_share: Share of a day's requests that is slow, 0 to 1.
        retention_min_score: Below which score a trace stays.
        store_max_bytes: What the disk of a PostgreSQL elsewhere has for us, for ``clew store status``; None when not told.
    """

    service: str
    data_dir: Path
    spool_dir: Path
    environment: str | None = None
    version: str | None = None
    dsn: str | None = None
    sinks: tuple[str, ...] = ()
    console: Path | None = None
    langsmith_api_key: str | None = None
    langsmith_endpoint: str | None = None
    langsmith_project: str | None = None
    langsmith_workspace: str | None = None
    otlp_endpoint: str | None = None
    otlp_headers: dict[str, str] = {}
    pushgateway_url: str | None = None
    prices: Path | None = None
    prometheus_url: str | None = None
    grafana_url: str | None = None
    public_url: str | None = None
    agent: Literal["auto", "external", "in-process"] = "auto"
    level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = "DEBUG"
    capture: bool = True
    capture_max_bytes: Annotated[int, Meta(ge=256)] = 32 * 1024
    propagate: tuple[Literal["executors", "threads"], ...] = ("executors",)
    redact: tuple[str, ...] = ()
    redact_allow: tuple[str, ...] = ()
    redact_patterns: dict[str, str] = {}
    redact_key: str | None = None
    max_field_bytes: Annotated[int, Meta(ge=256)] = 32 * 1024
    max_event_bytes: Annotated[int, Meta(ge=4096, le=16 * MIB)] = 256 * 1024
    segment_bytes: Annotated[int, Meta(ge=64 * 1024, le=64 * MIB)] = 4 * MIB
    spool_max_bytes: Size = 1024 * MIB
    spool_keep_free_bytes: Size = 256 * MIB
    replay_window_s: Annotated[float, Meta(ge=0, le=31_536_000)] = 900.0
    flush_interval_s: Annotated[float, Meta(gt=0, le=3600)] = 0.1
    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535)] = 4319
    token: str | None = field(default=None)
    rate_limit: Annotated[float, Meta(ge=0, le=1_000_000)] = 100.0
    receive_max_body_bytes: Annotated[int, Meta(ge=64 * 1024, le=1024 * MIB)] = 64 * MIB
    receive_max_records: Annotated[int, Meta(ge=1, le=10_000_000)] = 100_000
    receive_in_flight_bytes: Annotated[int, Meta(ge=64 * 1024)] = 256 * MIB
    tls_cert: Path | None = None
    tls_key: Path | None = None
    retention_hot_days: Annotated[int, Meta(ge=1, le=36_500)] = 7
    retention_warm_days: Annotated[int, Meta(ge=1, le=36_500)] = 30
    retention_sample: Annotated[float, Meta(ge=0, le=1)] = 0.1
    retention_slow_ms: Annotated[float, Meta(ge=0)] | None = None
    retention_slow_share: Annotated[float, Meta(ge=0, le=1)] = 0.01
    retention_min_score: Annotated[float, Meta(ge=-1_000_000, le=1_000_000)] = 0.5
    store_max_bytes: Annotated[int, Meta(gt=0)] | None = None

    def sink_names(self) -> tuple[str, ...]:
        """Name the sinks beside PostgreSQL: those that have a place to ship to, and those told by name."""
        told = {
            "langsmith": self.langsmith_api_key is not None or self.langsmith_endpoint is not None,
            "otlp": self.otlp_endpoint is not None,
            "prometheus": self.pushgateway_url is not None,
        }
        implied = [name for name, is_on in told.items() if is_on]
        return tuple(dict.fromkeys([*implied, *self.sinks]))

    def __repr__(self) -> str:
        """Show the settings without what is secret in them."""
        shown = {name: getattr(self, name) for name in self.__struct_fields__ if name not in _HIDDEN}
        return f"Settings({', '.join(f'{name}={value!r}' for name, value in shown.items())}, {'=…, '.join(_HIDDEN)}=…)"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Show the same to rich, which asks here first."""
        return [(name, "…" if name in _HIDDEN else getattr(self, name)) for name in self.__struct_fields__]


def data_dir() -> Path:
    """Return where clew keeps its data when nothing else is told.

    ``CLEW_DATA_DIR``, else ``$XDG_DATA_HOME/clew``, else ``~/.local/share/clew`` (macOS:
    ``~/Library/Application Support/clew``).
    """
    if told := os.environ.get(f"{PREFIX}DATA_DIR"):
        return Path(told).expanduser().absolute()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "clew"
    shared = os.environ.get("XDG_DATA_HOME")
    return (Path(shared) if shared else Path.home() / ".local" / "share") / "clew"


def load(**told: Any) -> Settings:
    """Resolve the settings.

    Args:
        told: Settings given by the program, by name; None means not told.

    Returns:
        The settings, complete.

    Raises:
        ConfigError: A name is unknown or a value malformed; says which and where it was told.

    Example:
        >>> load(service="rag-api", level="INFO").level
        'INFO'
    """
    names = [entry.name for entry in struct_fields(Settings)]
    arguments = {name: value for name, value in told.items() if value is not None}
    for name in arguments:
        if name not in names:
            message = f"there is no setting {name!r}"
            raise ConfigError(message, hint=f"the settings are {', '.join(names)}")
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for source, layer in (_from_file(names), ("the environment", _from_environment(names)), ("configure", arguments)):
        values |= layer
        sources |= dict.fromkeys(layer, source)
    home = values["data_dir"] = _directory("data_dir", values.get("data_dir") or data_dir(), sources)
    values["spool_dir"] = _directory("spool_dir", values.get("spool_dir") or home / "spool", sources)
    values.setdefault("service", _program_name())
    values["level"] = str(values.get("level", "DEBUG")).upper()
    for name in _URLS:
        if values.get(name) is not None:
            values[name] = _url(name, values[name], sources)
    try:
        return convert(values, Settings, strict=False, dec_hook=_path)
    except ValidationError as error:
        raise _explain(error, values, sources) from None


def _from_environment(names: list[str]) -> dict[str, Any]:
    told: dict[str, Any] = {}
    for name in names:
        text = os.environ.get(PREFIX + name.upper(), "")
        if text:
            told[name] = _read_text(name, text)
    return told


def _read_text(name: str, text: str) -> Any:
    """Read a setting from a text: a list is separated by commas, a table has one ``key=value`` a line."""
    if name in _LISTS:
        return [part.strip() for part in text.split(",") if part.strip()]
    if name in _TABLES:
        pairs = [line.partition("=") for line in text.splitlines() if line.strip()]
        return {key.strip(): value.strip() for key, _, value in pairs}
    return text


def _from_file(names: list[str]) -> tuple[str, dict[str, Any]]:
    path = Path(os.environ.get(f"{PREFIX}CONFIG", "clew.toml"))
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return str(path), {}
    except OSError as error:
        if not os.path.exists(path):  # noqa: PTH110 - false as well where this process may not look, or has no descriptor
            return str(path), {}
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    import tomllib

    try:
        told = tomllib.loads(raw.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from error
    for name in told:
        if name not in names:
            raise ConfigError(
                f"{path} names a setting {name!r} that does not exist", hint=f"use one of {', '.join(names)}"
            )
    return str(path), told


_URLS: Final = (
    "langsmith_endpoint",
    "otlp_endpoint",
    "pushgateway_url",
    "prometheus_url",
    "grafana_url",
    "public_url",
)

_CHOICES: Final = {
    "level": tuple(LEVELS),
    "agent": ("auto", "external", "in-process"),
    "propagate": ("executors", "threads"),
}
_LISTS: Final = frozenset({"propagate", "redact", "redact_allow", "sinks"})
_TABLES: Final = frozenset({"otlp_headers", "redact_patterns"})


def _directory(name: str, told: Any, sources: dict[str, str]) -> Path:
    try:
        path = Path(told).expanduser().absolute()
    except (TypeError, RuntimeError) as error:  # not a path; the home of a user that is not known
        problem = str(error)
    else:
        if "\0" not in str(path):
            return path
        problem = "a path holds no NUL"
    raise ConfigError(f"the setting {name} is {told!r} (from {sources.get(name, 'the defaults')}): {problem}")


def _url(name: str, told: Any, sources: dict[str, str]) -> str:
    if isinstance(told, str) and _HTTP_URL.match(told.strip()):
        return told.strip().rstrip("/")
    raise ConfigError(
        f"the setting {name} is {told!r} (from {sources[name]}): it is no URL", hint="begin it with http:// or https://"
    )


def _path(kind: type, value: Any) -> Any:
    if kind is Path:
        return Path(value)
    raise NotImplementedError


def _explain(error: ValidationError, values: dict[str, Any], sources: dict[str, str]) -> ConfigError:
    """Turn msgspec's complaint into one about a setting: its name, its value, where it was told."""
    text, _, place = str(error).partition(" - at `$.")
    name = place.rstrip("`").partition("[")[0]
    value = "…" if name in _HIDDEN else repr(values.get(name))
    hint = f"use one of {', '.join(_CHOICES[name])}" if name in _CHOICES else ""
    return ConfigError(f"the setting {name} is {value} (from {sources.get(name, 'the defaults')}): {text}", hint=hint)


def _program_name() -> str:
    """Name the service after the program when nobody else does."""
    name = Path(sys.argv[0]).stem if sys.argv and sys.argv[0] else ""
    return name if name and name not in {"-c", "-m", "__main__"} else "python"
