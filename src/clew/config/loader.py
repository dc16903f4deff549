"""The loader: finds the value of every setting, and says which one is wrong.

Where a setting comes from, first hit wins: an argument of ``clew.configure`` or of a command, the environment (``CLEW_``
and the setting's name), ``clew.toml`` (in the working directory, or where ``CLEW_CONFIG`` points), the default.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from msgspec import ValidationError, convert

from clew.config.declaring import HIDDEN, PREFIX, Declared, OwnerSettings, declared, problem
from clew.config.settings import Settings
from clew.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from clew.config.alerts import AlertSettings

__all__ = ["load", "load_alerts"]

_Kind = TypeVar("_Kind", bound=OwnerSettings)

_HTTP_URL: Final = re.compile(r"https?://[^/\s]")


def load(**given: Any) -> Settings:
    """Resolve the settings of a process.

    Args:
        given: Settings given by the program, by name; None means not given.

    Returns:
        The settings, complete.

    Raises:
        ConfigError: A name is unknown or a value malformed; says which and where it was given.

    Example:
        >>> load(service="rag-api", level="INFO").level
        'INFO'
    """
    return _resolve(Settings, given)


def load_alerts(**given: Any) -> AlertSettings:
    """Resolve the settings of alerts, as ``load`` does those of a process.

    Args:
        given: Settings given by the program, by name; None means not given.

    Raises:
        ConfigError: A name is unknown, a value malformed, or a setting needs another one that is not given.

    Example:
        >>> load_alerts(alerts_interval_s=60).alerts_interval_s
        60.0
    """
    from clew.config.alerts import AlertSettings

    return _resolve(AlertSettings, given)


def _resolve(kind: type[_Kind], given: Mapping[str, Any]) -> _Kind:
    about = declared(kind)
    arguments = {name: value for name, value in given.items() if value is not None}
    for name in arguments:
        if name not in about:
            message = f"there is no setting {name!r}"
            raise ConfigError(message, hint=f"the settings are {', '.join(about)}")
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for source, layer in (_from_file(about), ("the environment", _from_environment(about)), ("configure", arguments)):
        values |= layer
        sources |= dict.fromkeys(layer, source)
    kind.complete(values, sources)
    for name, says in about.items():
        if says.is_http_url and values.get(name) is not None:
            values[name] = _http_url(name, values[name], sources, says)
    try:
        return convert(values, kind, strict=False, dec_hook=_path)
    except ValidationError as error:
        raise _explain(error, values, sources, about) from None


def _from_environment(about: Mapping[str, Declared]) -> dict[str, Any]:
    texts = {name: os.environ.get(PREFIX + name.upper(), "") for name in about}
    return {name: _read_text(text, about[name]) for name, text in texts.items() if text}


def _read_text(text: str, says: Declared) -> Any:
    """Read a setting from a text: a list is separated by commas, a table has one ``key=value`` a line."""
    if says.is_list:
        return [part.strip() for part in text.split(",") if part.strip()]
    if says.is_table:
        pairs = [line.partition("=") for line in text.splitlines() if line.strip()]
        return {key.strip(): value.strip() for key, _, value in pairs}
    return text


def _from_file(about: Mapping[str, Declared]) -> tuple[str, dict[str, Any]]:
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
        table = tomllib.loads(raw.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from error
    if not table.keys() <= about.keys():
        _check_names(path, table)
    return str(path), {name: value for name, value in table.items() if name in about}


def _check_names(path: Path, names: Iterable[str]) -> None:
    """Refuse a name that is nobody's setting. One file serves all processes, so it may name what another one reads."""
    from clew.config.alerts import AlertSettings  # only here: a process without alerts' settings in its file spares it

    known = [*declared(Settings), *declared(AlertSettings)]
    for name in names:
        if name not in known:
            raise ConfigError(
                f"{path} names a setting {name!r} that does not exist", hint=f"use one of {', '.join(known)}"
            )


def _http_url(name: str, value: Any, sources: Mapping[str, str], says: Declared) -> str:
    if isinstance(value, str) and _HTTP_URL.match(value.strip()):
        return value.strip().rstrip("/")
    raise problem(
        name, HIDDEN if says.is_secret else repr(value), sources, "it is not a URL", "begin it with http:// or https://"
    )


def _path(kind: type, value: Any) -> Any:
    if kind is Path:
        return Path(value)
    raise NotImplementedError


def _explain(
    error: ValidationError, values: Mapping[str, Any], sources: Mapping[str, str], about: Mapping[str, Declared]
) -> ConfigError:
    """Turn msgspec's complaint into one about a setting: its name, its value, where it was given."""
    text, _, place = str(error).partition(" - at `$.")
    name = place.rstrip("`").partition("[")[0]
    says = about[name]
    hint = f"use one of {', '.join(says.choices)}" if says.choices else ""
    return problem(name, HIDDEN if says.is_secret else repr(values.get(name)), sources, text, hint)
