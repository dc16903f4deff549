"""The rules in force as files for Prometheus and Alertmanager.

==================  =====================================================================================
clew-rules.yml      recording rules for dashboards, and for each rule its recordings and alerts
clew-rules.test.yml what they come to: ``promtool test rules`` checks it
alertmanager.yml    a route to clew's webhook
==================  =====================================================================================

After: ``clew alerts export prometheus``; ``deploy/prometheus`` holds what it writes of the defaults.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct

from clew.alerts.export.cases import write_cases
from clew.alerts.export.dashboards import dashboard_groups
from clew.alerts.export.levels import LEVELS, level_group, watch_group
from clew.alerts.export.routing import write_routing
from clew.alerts.export.rule_file import write_groups
from clew.alerts.export.scopes import scoped_rules
from clew.alerts.export.series import NOT_EXPORTED, limit_edges
from clew.alerts.export.shares import share_group
from clew.alerts.signals import SIGNALS, ShareSignal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clew.alerts.export.rule_file import RuleGroup
    from clew.alerts.export.scopes import ScopedRule
    from clew.alerts.rules import Rule, RuleSet

__all__ = ["ExportOptions", "PrometheusExport", "export_prometheus"]

RULES_FILE: Final = "clew-rules.yml"
CASES_FILE: Final = "clew-rules.test.yml"
ROUTING_FILE: Final = "alertmanager.yml"

HEAD: Final = """\
Written by `clew alerts export prometheus`; write it anew rather than edit it. For Prometheus 2.42 and later.
Check it with `promtool check rules clew-rules.yml` and `promtool test rules clew-rules.test.yml`.

Counts of alerts are exact: of each counter, its value now less that at the beginning of the window; all of it where it
has begun since, while its agent was scraped; less its least value where the agent was not; increase() after a restart."""


class ExportOptions(Struct, frozen=True, kw_only=True):
    """What is not in the rules.

    Attributes:
        url: Where Alertmanager finds clew's server.
        token_file: File on Alertmanager's machine with a token of the scope ``ingest``; empty for none.
        environment: The rules as they hold in this environment, which alerts then name; empty for what holds anywhere.
        windows: Windows of all shares, in seconds; empty for those of the rules.
        group_wait_s: How long Alertmanager waits for other alerts of a service, in seconds.
    """

    url: str = "http://127.0.0.1:4319"
    token_file: str = ""
    environment: str = ""
    windows: tuple[float, ...] = ()
    group_wait_s: float = 30.0


class PrometheusExport(Struct, frozen=True):
    """What is exported.

    Attributes:
        files: Texts by the names of their files.
        exported: Names of the rules that are in them.
        left_out: Why the others are not, by name.
    """

    files: dict[str, str]
    exported: tuple[str, ...]
    left_out: dict[str, str]


def export_prometheus(rules: RuleSet, options: ExportOptions | None = None) -> PrometheusExport:
    """Write rules as files for Prometheus and Alertmanager.

    Args:
        rules: The rules in force.
        options: What is not in them.

    Example:
        >>> from clew.alerts.rules_file import default_rules
        >>> export = export_prometheus(default_rules())
        >>> sorted(export.files), "error_rate" in export.exported, export.left_out["hanging_spans"]
        (['alertmanager.yml', 'clew-rules.test.yml', 'clew-rules.yml'], True, 'Prometheus has no spans that are still open')
    """
    options = options or ExportOptions()
    groups = list(dashboard_groups())
    exported: list[Rule] = []
    left_out: dict[str, str] = {}
    shares: list[Sequence[ScopedRule]] = []
    for rule in rules.rules.values():
        scoped = _scoped(rule, options)
        reason = _reason(rule, scoped)
        group = None if reason else _group(scoped, options)
        if group is None:
            edges = ", ".join(f"{edge:g} s" for edge in limit_edges())
            left_out[rule.name] = reason or f"its limit is none of those that Prometheus counts: {edges}"
            continue
        groups.append(group)
        exported.append(rule)
        if isinstance(SIGNALS[rule.signal], ShareSignal):
            shares.append(scoped)
    groups.append(watch_group(options.environment))
    files = {
        RULES_FILE: write_groups(groups, HEAD),
        CASES_FILE: write_cases(shares, RULES_FILE, options.windows),
        ROUTING_FILE: write_routing(
            exported, url=options.url, token_file=options.token_file, group_wait_s=options.group_wait_s
        ),
    }
    return PrometheusExport(files, tuple(rule.name for rule in exported), left_out)


def _scoped(rule: Rule, options: ExportOptions) -> Sequence[ScopedRule]:
    level = LEVELS.get(rule.signal)
    has_services = level is None or "service" in level.by
    return scoped_rules(rule, options.environment, has_services=has_services)


def _reason(rule: Rule, scoped: Sequence[ScopedRule]) -> str:
    """Return why a rule cannot be exported; empty where nothing is against it."""
    if rule.signal in NOT_EXPORTED:
        return NOT_EXPORTED[rule.signal]
    return "" if scoped else "it is disabled, or not for this environment"


def _group(scoped: Sequence[ScopedRule], options: ExportOptions) -> RuleGroup | None:
    if scoped[0].rule.signal in LEVELS:
        return level_group(scoped)
    return share_group(scoped, options.windows)
