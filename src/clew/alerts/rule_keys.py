"""What may be written in a rule: each key with its values, what they mean, and what JSON schema says of them.

The reader of files (``rules_file``), the JSON schema that editors use, and the reference page are made of the one table
``KEYS``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from difflib import get_close_matches
from math import isnan
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from clew.alerts.signals import SIGNALS
from clew.alerts.statistics import Calibration

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "COMMON_KEYS",
    "KEYS",
    "NAME",
    "NOT_IN_OVERRIDES",
    "VERSION",
    "RuleKey",
    "UnreadableValueError",
    "json_schema",
    "nearest",
]

VERSION: Final = 1
"""Version of the format."""

SCHEMA_ID: Final = "https://json-schema.org/draft/2020-12/schema"

RECEIVERS: Final = ("slack", "mail", "webhook", "apprise")
"""Who can be notified; of several of a kind, such as URLs of Apprise, all."""

NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,62}")
"""What a rule may be called."""

_DURATION: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(ms|s|m|h|d)")
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PERCENT: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*%")
_MONEY: Final = re.compile(r"\$\s*([0-9]+(?:\.[0-9]+)?)")


class UnreadableValueError(Exception):
    """A value that means nothing; its text says what to write."""


Reader = Callable[[Any, str], Any]
"""Takes a plain value and the unit of the rule's signal; returns what the rule holds."""


class RuleKey(NamedTuple):
    """Something that may be written in a rule.

    Attributes:
        field: The field of ``Rule`` that it sets.
        read: Reads its value.
        schema: What JSON schema says of it.
        description: What it is, for the schema and the reference page.
    """

    field: str
    read: Reader
    schema: dict[str, Any]
    description: str


def json_schema() -> dict[str, Any]:
    """Return the JSON schema of a file of rules, for editors."""
    keys = {key: {**entry.schema, "description": entry.description} for key, entry in KEYS.items()}
    override = {key: value for key, value in keys.items() if key not in NOT_IN_OVERRIDES}
    override |= {"service": keys["service"], "environment": keys["environment"]}
    overrides = {"type": "array", "items": {"type": "object", "properties": override, "additionalProperties": False}}
    rule = {
        "type": ["object", "null"],
        "properties": keys | {"overrides": {**overrides, "description": "What is different for some services."}},
        "additionalProperties": False,
    }
    common = {key: keys[key] for key in COMMON_KEYS}
    return {
        "$schema": SCHEMA_ID,
        "title": "clew alert rules",
        "type": "object",
        "properties": {
            "version": {"const": VERSION, "description": "Version of the format."},
            "common": {
                "type": "object",
                "properties": common,
                "additionalProperties": False,
                "description": "For all rules.",
            },
            "rules": {
                "type": "object",
                "propertyNames": {"pattern": f"^{NAME.pattern}$"},
                "additionalProperties": rule,
                "description": "Rules by name; the name of a default rule changes it.",
            },
        },
        "additionalProperties": False,
    }


def nearest(word: str, known: Mapping[str, Any] | tuple[str, ...]) -> str:
    """Return a question that names what was probably meant; empty where nothing is near.

    Example:
        >>> nearest("latncy", ("latency", "cost"))
        '; did you mean latency?'
    """
    close = get_close_matches(word[:80], list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else ""


def _text(value: Any, _unit: str) -> str:
    if not isinstance(value, str) or "\x00" in value or len(value) > 1000:
        raise UnreadableValueError("write a text of at most 1,000 characters")
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise UnreadableValueError("write whole characters: there is half of one in it")
    return value


def _url(value: Any, unit: str) -> str:
    text = _text(value, unit)
    if not re.match(r"https?://[^\s/]", text):
        raise UnreadableValueError("write a URL that begins with https://")
    return text


def _boolean(value: Any, _unit: str) -> bool:
    if not isinstance(value, bool):
        raise UnreadableValueError("write true or false")
    return value


def _choice(*known: str) -> Reader:
    def read(value: Any, _unit: str) -> str:
        if value not in known:
            raise UnreadableValueError(f"write {' or '.join(known)}{nearest(str(value), known)}")
        return str(value)

    return read


def _whole(low: int, high: int) -> Reader:
    def read(value: Any, _unit: str) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise UnreadableValueError(f"write a whole number from {low:,} to {high:,}")
        return value

    return read


def _duration(low: float, high: float) -> Reader:
    def read(value: Any, _unit: str) -> float:
        seconds = _seconds(value)
        if not low <= seconds <= high:
            raise UnreadableValueError(f"write a time from {low:g} s to {high / 3600:g} h, such as 10m")
        return seconds

    return read


def _seconds(value: Any) -> float:
    match = _DURATION.fullmatch(str(value).strip())
    if isinstance(value, bool) or match is None:
        if value == 0 and not isinstance(value, bool):
            return 0.0
        raise UnreadableValueError("write a time with its unit, such as 500ms, 30s, 10m, 6h or 3d")
    return float(match[1]) * _SECONDS[match[2]]


def _quantity(value: Any, unit: str) -> float:
    """Read a value of the rule's signal."""
    text = str(value).strip()
    if unit == "ratio" or (unit == "count" and "%" in text):
        return _ratio(value)
    if unit == "seconds":
        return _seconds(value)
    match = _MONEY.fullmatch(text)
    number = float(match[1]) if match else value
    if isinstance(number, bool) or not isinstance(number, int | float) or not 0 <= number <= 1e15:
        raise UnreadableValueError("write a number that is not negative")
    return float(number)


def _ratio(value: Any, _unit: str = "") -> float:
    match = _PERCENT.fullmatch(str(value).strip())
    number = float(match[1]) / 100 if match else value
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise UnreadableValueError("write a share, such as 5 % or 0.05")
    if number < 0 or isnan(number):
        raise UnreadableValueError("a share is not negative: write one such as 5 %")
    if number > 1:
        raise UnreadableValueError(f"a share is at most 100 %; did you mean {number:g} %?")
    return float(number)


def _objective(value: Any, unit: str) -> float:
    share = _ratio(value, unit)
    if not 0 < share < 1:
        raise UnreadableValueError("write a share below 100 %, such as 99.5 %: of 100 % nothing may ever fail")
    return share


def _receivers(value: Any, unit: str) -> tuple[str, ...]:
    names = _names(value, unit)
    for name in names:
        if name not in RECEIVERS:
            raise UnreadableValueError(
                f"there is no receiver {name!r}{nearest(name, RECEIVERS)}; write {', '.join(RECEIVERS)}"
            )
    return names


def _names(value: Any, _unit: str) -> tuple[str, ...]:
    items = cast("list[Any]", value) if isinstance(value, list) else [value]
    if not all(isinstance(item, str) and NAME.fullmatch(item) for item in items):
        raise UnreadableValueError("write a list of names, such as [slack, mail]")
    return tuple(dict.fromkeys(items))


def _calibration(value: Any, unit: str) -> Calibration:
    keys = ("sensitivity", "specificity", "positives", "negatives")
    if not isinstance(value, dict) or set(cast("dict[str, Any]", value)) != set(keys):
        raise UnreadableValueError(f"write {', '.join(keys)}")
    whole = _whole(10, 1_000_000)
    judge = Calibration(
        _ratio(value["sensitivity"]),
        _ratio(value["specificity"]),
        whole(value["positives"], unit),
        whole(value["negatives"], unit),
    )
    if judge.sensitivity + judge.specificity <= 1:
        raise UnreadableValueError("a judge whose sensitivity and specificity add up to 1 or less decides by chance")
    return judge


_TEXT: Final = {"type": "string", "maxLength": 1000}
_TIME: Final = {"anyOf": [{"type": "string", "pattern": rf"^{_DURATION.pattern}$"}, {"const": 0}]}
_SHARE: Final = {
    "anyOf": [{"type": "number", "minimum": 0, "maximum": 1}, {"type": "string", "pattern": rf"^{_PERCENT.pattern}$"}]
}
_VALUE: Final = {"type": ["number", "string"]}
_LIST: Final = {"anyOf": [_TEXT, {"type": "array", "items": {"type": "string", "pattern": f"^{NAME.pattern}$"}}]}

KEYS: Final[Mapping[str, RuleKey]] = MappingProxyType(
    {
        "signal": RuleKey("signal", _text, {"enum": list(SIGNALS)}, "What is measured."),
        "enabled": RuleKey("enabled", _boolean, {"type": "boolean"}, "Whether it is evaluated."),
        "threshold": RuleKey("threshold", _quantity, _VALUE, "What the value is compared with, with its unit: 5 %, 2m, $1, 3."),
        "critical_at": RuleKey("critical_at", _quantity, _VALUE, "From which value on the alert is critical."),
        "limit": RuleKey("limit", _duration(0.001, 86_400), _TIME, "From when on a request is slow, or a span hangs."),
        "severity": RuleKey("severity", _choice("critical", "warning", "info"), {"enum": ["critical", "warning", "info"]},
                            "How bad it is above the threshold."),
        "min_units": RuleKey("min_units", _whole(1, 1_000_000), {"type": "integer", "minimum": 1}, "How many units a window is to hold."),
        "min_bad": RuleKey("min_bad", _whole(1, 1_000_000), {"type": "integer", "minimum": 1}, "How many bad units it takes at least."),
        "min_sessions": RuleKey("min_sessions", _whole(1, 100), {"type": "integer", "minimum": 1, "maximum": 100},
                                "How many sessions have to be affected at least."),
        "window": RuleKey("window_s", _duration(60, 86_400), _TIME, "Shortest window."),
        "max_window": RuleKey("max_window_s", _duration(60, 86_400), _TIME, "Longest window, for little traffic."),
        "for": RuleKey("for_s", _duration(0, 86_400), _TIME, "How long the condition has to hold before it fires."),
        "resolve_after": RuleKey("resolve_after_s", _duration(0, 86_400), _TIME, "How long it has to be well before it is resolved."),
        "repeat": RuleKey("repeat_s", _duration(60, 30 * 86_400), _TIME, "How often an alert that nobody acknowledged is notified again."),
        "floor": RuleKey("floor", _quantity, _VALUE, "Least value at which it fires, for signals that compare with the usual."),
        "objective": RuleKey("objective", _objective, _SHARE, "Share of good requests that was promised, for slo_burn."),
        "calibration": RuleKey("calibration", _calibration, {"type": "object"},
                               "How well the judge does: sensitivity, specificity, and the positives and negatives it was tried on."),
        "inhibited_by": RuleKey("inhibited_by", _names, _LIST, "Rules whose firing alert explains this one."),
        "receivers": RuleKey("receivers", _receivers, {"anyOf": [{"enum": list(RECEIVERS)}, {"type": "array", "items": {"enum": list(RECEIVERS)}}]}, "Who is notified: slack, mail, webhook, apprise; all without it."),
        "owner": RuleKey("owner", _text, _TEXT, "Who looks after it."),
        "runbook": RuleKey("runbook", _url, {"type": "string", "format": "uri"}, "URL of what to do."),
        "action": RuleKey("action", _text, _TEXT, "What to do, in one sentence."),
        "service": RuleKey("service", _text, _TEXT, "For this service only."),
        "environment": RuleKey("environment", _text, _TEXT, "In this environment only."),
    }
)  # fmt: skip
"""Everything that may be written in a rule, beside ``overrides``."""

COMMON_KEYS: Final = ("owner", "runbook", "receivers", "repeat", "min_sessions", "resolve_after")
NOT_IN_OVERRIDES: Final = frozenset({"signal", "inhibited_by", "service", "environment"})
