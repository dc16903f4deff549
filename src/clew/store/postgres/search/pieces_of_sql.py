"""The pieces of SQL that conditions are made of: parameters, lists, patterns, and paths into jsonb.

A path is followed by jsonpath in its lax mode: what is not there is no error, a list stands for its elements, and
values of different types compare to unknown. The path is itself a parameter, its keys quoted as JSON; the values it
is compared with are jsonpath variables.

Source:
    PostgreSQL, "The SQL/JSON Path Language".
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, LiteralString, cast

from msgspec import json
from psycopg.types.json import Jsonb

from clew.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clew.query.tree import Compare, Value

__all__ = ["Parameters", "any_of", "contains", "path_compares", "path_has", "quoted"]

LARGEST: Final = 1.7976931348623157e308

_NUMBER = re.compile(r"-?(?:0|[1-9]\d{0,30})(?:\.\d{1,30})?(?:e[+-]?\d{1,3})?", re.IGNORECASE)
_LIKE_SPECIAL = re.compile(r"([\\%_])")

_PRESENT: Final = "@ != null"
_FILLED: Final = (
    '@.type() == "number" || @.type() == "boolean" || @.type() == "string" && @ != ""'
    ' || @.type() == "object" && exists(@.*) || @.type() == "array" && exists(@[*])'
)


class Parameters:
    """The values of a statement, which get their names as they come.

    Attributes:
        values: The values by name.
    """

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}

    def add(self, value: Any) -> LiteralString:
        """Take a value; return what stands for it in the statement.

        Raises:
            UsageError: It is a text that is no Unicode, such as half of a surrogate pair.
        """
        for text in cast("list[Any]", value) if isinstance(value, list) else [value]:
            if isinstance(text, str):
                _check_unicode(text)
        name = f"q{len(self.values)}"
        self.values[name] = value
        return cast("LiteralString", f"%({name})s")  # a name we have just made, of one letter and a number


def any_of(column: LiteralString, operator: str, values: LiteralString) -> LiteralString:
    """Compare with each of an array: equal to one of them, or for ``!=`` to none."""
    return f"{column} <> ALL({values})" if operator == "!=" else f"{column} = ANY({values})"


def contains(text: str) -> str:
    r"""Write the pattern of LIKE for everything that holds *text*.

    Example:
        >>> contains("100%")
        '%100\\%%'
    """
    escaped = _LIKE_SPECIAL.sub(r"\\\1", text)
    return f"%{escaped}%"


def quoted(text: str) -> str:
    """Write *text* as a jsonpath string.

    Raises:
        UsageError: It is no Unicode.
    """
    _check_unicode(text)
    return json.encode(text).decode()


def path_compares(column: LiteralString, path: Sequence[str], leaf: Compare, parameters: Parameters) -> LiteralString:
    """Compare what stands in a jsonb column at *path*.

    Args:
        column: The column.
        path: The keys to follow.
        leaf: The operator, and the values to compare with.
        parameters: Where these go.
    """
    if leaf.operator in {"=", "!="}:
        variables: dict[str, Any] = {}
        tests: list[str] = []
        for value in leaf.values:
            if leaf.match == "piece":  # a pattern of jsonpath's cannot be a variable
                tests.append(f'@ like_regex {quoted(str(value))} flag "q"')
                continue
            for same in [value] if leaf.match == "prefix" else _same(value):
                tests.append(f"@ {'starts with' if leaf.match == 'prefix' else '=='} $v{len(variables)}")
                variables[f"v{len(variables)}"] = same
        found = _path_exists(column, path, _of_one(" || ".join(tests)), variables, parameters)
        if leaf.operator == "=":
            return found
        return f"({_path_exists(column, path, _of_one(_PRESENT), {}, parameters)} AND NOT {found})"
    bound = max(-LARGEST, min(LARGEST, float(cast("float", leaf.values[0]))))
    return _path_exists(column, path, _of_one(f"@ {leaf.operator} $v0"), {"v0": bound}, parameters)


def path_has(column: LiteralString, path: Sequence[str], parameters: Parameters) -> LiteralString:
    """Ask whether there is something at *path*, neither null nor empty."""
    return _path_exists(column, path, _FILLED, {}, parameters)


def _path_exists(
    column: LiteralString, path: Sequence[str], test: str, variables: dict[str, Any], parameters: Parameters
) -> LiteralString:
    parameter = parameters.add(Jsonb(variables))
    ways = [path] if len(path) < 2 else [path, [".".join(path)]]
    parts: list[LiteralString] = []
    for way in ways:
        text = "".join(["$", *(f".{quoted(key)}" for key in way), f" ? ({test})"])
        parts.append(f"jsonb_path_exists({column}, {parameters.add(text)}::jsonpath, {parameter}, true)")
    return parts[0] if len(parts) == 1 else f"({' OR '.join(parts)})"


def _of_one(test: str) -> str:
    """Hold a test of a value from lists inside of lists, which jsonpath would look into once more."""
    return f'@.type() != "array" && ({test})'


def _same(value: Value) -> list[Any]:
    """List the JSON values that are written like *value*."""
    if not isinstance(value, str):
        return [max(-LARGEST, min(LARGEST, float(cast("float", value))))]
    if value in {"true", "false"}:
        return [value, value == "true"]
    if _NUMBER.fullmatch(value):
        number = int(value) if value.lstrip("-").isdecimal() else float(value)
        return [value, number] if abs(number) <= LARGEST else [value]
    return [value]


def _check_unicode(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UsageError(
            f"{ascii(text)[:60]} is not valid Unicode", hint="check the encoding of the terminal"
        ) from None
