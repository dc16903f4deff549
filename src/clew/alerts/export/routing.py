"""Alertmanager's configuration: everything goes to clew, grouped by service, with what explains what."""

from __future__ import annotations

from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from msgspec import json

from clew.alerts.export.promql import duration

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from clew.alerts.rules import Rule

__all__ = ["write_routing"]

REPEAT_S: Final = 14_400.0
HEARTBEAT_REPEAT_S: Final = 300.0

HEAD: Final = """\
# Where Alertmanager sends what Prometheus raises: to clew, which adds traces and causes and notifies.
# Check it with `amtool check-config alertmanager.yml`.
"""


def write_routing(rules: Sequence[Rule], *, url: str, token_file: str = "", group_wait_s: float = 30.0) -> str:
    """Write the configuration.

    Args:
        rules: The rules that are exported.
        url: Where clew's server is.
        token_file: File on Alertmanager's machine with a token of the scope ``ingest``; empty for a server without tokens.
        group_wait_s: How long to wait for other alerts of a service, in seconds.
    """
    parts = [
        HEAD,
        "route:\n",
        "  receiver: clew\n",
        "  group_by: [service]\n",
        f"  group_wait: {duration(group_wait_s)}\n",
        f"  group_interval: {duration(2 * group_wait_s)}\n",
        f"  repeat_interval: {duration(REPEAT_S)}\n",
        *_routes(rules),
        *_inhibition(rules),
        "receivers:\n",
        "  - name: clew\n",
        "    webhook_configs:\n",
        f"      - url: {_text(url.rstrip('/') + '/api/alertmanager')}\n",
        "        send_resolved: true\n",
    ]
    if token_file:
        parts.append(f"        http_config: {{authorization: {{credentials_file: {_text(token_file)}}}}}\n")
    return "".join(parts)


def _routes(rules: Sequence[Rule]) -> Iterator[str]:
    """Write what is repeated more or less often than every four hours."""
    beats = sorted(rule.name for rule in rules if rule.signal == "heartbeat")
    others = [rule for rule in rules if rule.signal != "heartbeat" and rule.repeat_s != REPEAT_S]
    if beats or others:
        yield "  routes:\n"
    if beats:
        yield f"    - matchers: [{_matcher('rule', beats)}]\n"
        yield "      group_wait: 0s\n"
        yield f"      repeat_interval: {duration(HEARTBEAT_REPEAT_S)}\n"
    for repeat_s, group in groupby(sorted(others, key=attrgetter("repeat_s")), key=attrgetter("repeat_s")):
        yield f"    - matchers: [{_matcher('rule', [rule.name for rule in group])}]\n"
        yield f"      repeat_interval: {duration(repeat_s)}\n"


def _inhibition(rules: Sequence[Rule]) -> Iterator[str]:
    yield "inhibit_rules:\n"
    yield "  # What is critical need not be said as a warning too.\n"
    yield "  - source_matchers: ['severity=\"critical\"']\n"
    yield "    target_matchers: ['severity=~\"warning|info\"']\n"
    yield "    equal: [rule, service, model, sink, environment]\n"
    causes = sorted({cause for rule in rules for cause in rule.inhibited_by} & {rule.name for rule in rules})
    if causes:
        yield "  # A cause explains its symptoms.\n"
    for cause in causes:
        yield f"  - source_matchers: [{_matcher('rule', [cause])}]\n"
        yield f"    target_matchers: [{_matcher('rule', [rule.name for rule in rules if cause in rule.inhibited_by])}]\n"
        yield "    equal: [service, environment]\n"


def _matcher(label: str, values: Sequence[str]) -> str:
    """Write a matcher; names of rules have only letters, digits and ``_``."""
    text = f'{label}="{values[0]}"' if len(values) == 1 else f'{label}=~"{"|".join(sorted(values))}"'
    return f"'{text}'"


def _text(value: str) -> str:
    return json.encode(value).decode()
