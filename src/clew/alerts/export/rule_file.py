"""Rules as Prometheus reads them: what a rule is, and how a file of them is written.

Files are written by hand, not by a YAML library, so that expressions stay as they are laid out and a comment says
what a group is for. Every other value is written as JSON, which is YAML.
"""

from __future__ import annotations

from textwrap import indent
from typing import TYPE_CHECKING

from msgspec import Struct, json

from clew.alerts.export.promql import duration

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["AlertingRule", "RecordingRule", "RuleGroup", "write_groups"]


class RecordingRule(Struct, frozen=True, kw_only=True):
    """A series that Prometheus computes.

    Attributes:
        record: Its name, ``level:metric:operation``.
        expr: What it is computed of.
        labels: Labels that it gets besides.
    """

    record: str
    expr: str
    labels: dict[str, str] = {}


class AlertingRule(Struct, frozen=True, kw_only=True):
    """An alert that Prometheus raises.

    Attributes:
        alert: Its name.
        expr: Each series of it is an alert.
        for_s: How long it has to be there, in seconds.
        keep_firing_s: For how long it fires after the last series has gone, in seconds.
        labels: Labels that it gets besides.
        annotations: What is said of it, as templates.
    """

    alert: str
    expr: str
    for_s: float = 0.0
    keep_firing_s: float = 0.0
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class RuleGroup(Struct, frozen=True):
    """Rules that are evaluated one after the other, at the same moment.

    Attributes:
        name: Its name.
        rules: Its rules; later ones may use earlier ones.
        comment: What it is for, in a line or some.
    """

    name: str
    rules: tuple[RecordingRule | AlertingRule, ...]
    comment: str = ""


def write_groups(groups: Sequence[RuleGroup], comment: str) -> str:
    """Write a file of rules.

    Args:
        groups: Its groups.
        comment: What it begins with.

    Example:
        >>> print(write_groups([RuleGroup("g", (RecordingRule(record="a:b:sum", expr="sum(b)"),))], "Rules."))
        # Rules.
        groups:
          - name: g
            rules:
              - record: a:b:sum
                expr: |
                  sum(b)
        <BLANKLINE>
    """
    parts = [_comment(comment), "groups:\n"]
    for group in groups:
        if group.comment:
            parts.append(indent(_comment(group.comment), "  "))
        parts.append(f"  - name: {group.name}\n    rules:\n")
        parts += [indent("".join(_lines(rule)), "      ") for rule in group.rules]
    return "".join(parts)


def _lines(rule: RecordingRule | AlertingRule) -> Iterator[str]:
    if isinstance(rule, RecordingRule):
        yield f"- record: {rule.record}\n"
    else:
        yield f"- alert: {rule.alert}\n"
    yield f"  expr: |\n{indent(rule.expr.strip(), '    ')}\n"
    if isinstance(rule, AlertingRule):
        if rule.for_s:
            yield f"  for: {duration(rule.for_s)}\n"
        if rule.keep_firing_s:
            yield f"  keep_firing_for: {duration(rule.keep_firing_s)}\n"
    yield from _texts("labels", rule.labels)
    if isinstance(rule, AlertingRule):
        yield from _texts("annotations", rule.annotations)


def _texts(name: str, texts: Mapping[str, str]) -> Iterator[str]:
    if texts:
        yield f"  {name}:\n"
        yield from (f"    {key}: {json.encode(text).decode()}\n" for key, text in texts.items())


def _comment(text: str) -> str:
    return "".join(f"# {line}".rstrip() + "\n" for line in text.splitlines())
