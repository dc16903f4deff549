"""How a setting is declared, and what the loader reads of its declaration.

A setting is a field of a subclass of ``OwnerSettings``. Its type says how a text is read (a tuple is a list, separated by
commas; a dict is a table, one ``key=value`` a line), which values are valid, and by a mark whether it is secret or a URL.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, NamedTuple, Union, get_args, get_origin

from msgspec import Meta, Struct
from msgspec.structs import fields

from clew.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = [
    "HIDDEN",
    "MIB",
    "PREFIX",
    "Declared",
    "HttpUrl",
    "OwnerSettings",
    "Secret",
    "SecretList",
    "SecretTable",
    "SecretUrl",
    "Size",
    "declared",
    "directory",
    "problem",
]

PREFIX: Final = "CLEW_"
"""What a variable of the environment begins with; the name of the setting follows, in capitals."""

MIB: Final = 1024 * 1024

HIDDEN: Final = "…"
"""What is shown in the place of a secret."""

_NOT_SHOWN: Final = "not shown"
_HTTP_URL: Final = "http url"

Size = Annotated[int, Meta(ge=0)]
"""A number of bytes."""

Secret = Annotated[str, _NOT_SHOWN]
"""A text that is shown nowhere: not by ``repr``, and not in a message."""

SecretList = Annotated[tuple[str, ...], _NOT_SHOWN]
"""A list whose values are shown nowhere."""

SecretTable = Annotated[dict[str, str], _NOT_SHOWN]
"""A table whose values are shown nowhere."""

HttpUrl = Annotated[str, _HTTP_URL]
"""An address that begins with ``http://`` or ``https://``, kept without a slash at its end."""

SecretUrl = Annotated[str, _HTTP_URL, _NOT_SHOWN]
"""Such an address whose path or password gives access, as those of webhooks do."""


class Declared(NamedTuple):
    """What a declaration says about one setting.

    Attributes:
        is_secret: Its value is not shown.
        is_http_url: It is the address of something that speaks HTTP.
        is_list: It has any number of values.
        is_table: It has any number of values by key.
        choices: The values it may have; empty where its type says all.
    """

    is_secret: bool
    is_http_url: bool
    is_list: bool
    is_table: bool
    choices: tuple[str, ...]


class OwnerSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings of one owner, resolved. Secrets are not shown."""

    @classmethod
    def complete(cls, values: dict[str, Any], sources: Mapping[str, str]) -> None:
        """Put in the defaults that depend on other settings or on the machine, before *values* are validated.

        Args:
            values: What was given so far, by name; changed in place.
            sources: Where each of them was given, for messages.

        Raises:
            ConfigError: A value of *values* cannot be used.
        """

    def __repr__(self) -> str:
        """Show the settings without what is secret in them."""
        about = declared(type(self))
        shown = [f"{name}={getattr(self, name)!r}" for name in about if not about[name].is_secret]
        hidden = [f"{name}={HIDDEN}" for name in about if about[name].is_secret]
        return f"{type(self).__name__}({', '.join([*shown, *hidden])})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Show the same to rich, which asks here first."""
        return [
            (name, HIDDEN if about.is_secret else getattr(self, name)) for name, about in declared(type(self)).items()
        ]


@cache
def declared(kind: type[OwnerSettings]) -> Mapping[str, Declared]:
    """Read the declarations of *kind*.

    Returns:
        What each declaration says, by name, in their order.
    """
    return {entry.name: _read(entry.type) for entry in fields(kind)}


def _read(annotation: Any) -> Declared:
    parts = list(_parts(annotation))
    marks = {
        mark for part in parts if get_origin(part) is Annotated for mark in get_args(part)[1:] if isinstance(mark, str)
    }
    choices = [get_args(inner) for part in parts for inner in (part, *get_args(part)) if get_origin(inner) is Literal]
    return Declared(
        is_secret=_NOT_SHOWN in marks,
        is_http_url=_HTTP_URL in marks,
        is_list=any(get_origin(part) is tuple for part in parts),
        is_table=any(get_origin(part) is dict for part in parts),
        choices=choices[0] if choices else (),
    )


def _parts(annotation: Any) -> Iterator[Any]:
    """Give *annotation* and what it consists of: the sides of a union, and what marks were put on."""
    yield annotation
    if get_origin(annotation) in {Union, UnionType}:
        for side in get_args(annotation):
            yield from _parts(side) if side is not NoneType else ()
    elif get_origin(annotation) is Annotated:
        yield from _parts(get_args(annotation)[0])


def problem(name: str, shown: str, sources: Mapping[str, str], what: str, hint: str = "") -> ConfigError:
    """Return the error that says which setting is wrong, its value as it may be shown, where it was given, and why."""
    return ConfigError(f"the setting {name} is {shown} (from {sources.get(name, 'the defaults')}): {what}", hint=hint)


def directory(name: str, value: object, sources: Mapping[str, str]) -> Path:
    """Read the path of a directory: ``~`` is the user's home, and a relative path counts from the working directory.

    Raises:
        ConfigError: It is no path, or the home of a user that is not known.
    """
    try:
        path = Path(value).expanduser().absolute()  # type: ignore[arg-type]  # the TypeError says what it is
    except (TypeError, RuntimeError) as error:
        raise problem(name, repr(value), sources, str(error)) from None
    if "\0" in str(path):
        raise problem(name, repr(value), sources, "a path cannot contain NUL")
    return path
