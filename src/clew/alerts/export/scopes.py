"""For which services a rule is written, and with which thresholds: overrides become rules of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from clew.alerts.export.promql import quoted
from clew.alerts.export.series import ServiceSet
from clew.alerts.rules import Rule, Target

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["ScopedRule", "scoped_rules"]


class ScopedRule(NamedTuple):
    """A rule as it holds for some services.

    Attributes:
        rule: The rule, its overrides applied.
        services: For which services.
        environment: In which environment; empty where that is not told apart.
    """

    rule: Rule
    services: ServiceSet
    environment: str

    @property
    def labels(self) -> dict[str, str]:
        """Labels that tell its series from those of other rules."""
        labels = {"rule": self.rule.name}
        return labels | ({"service": self.services.only} if self.services.only else {})

    @property
    def alert(self) -> str:
        """The name of its alert.

        Example:
            >>> ScopedRule(Rule(name="error_rate", signal="error_rate", threshold=0.05), ServiceSet(), "").alert
            'ClewErrorRate'
        """
        return "Clew" + "".join(part.capitalize() for part in self.rule.name.split("_"))

    def recorded(self, record: str, **labels: str) -> str:
        """Select recorded series of it.

        Example:
            >>> rule = ScopedRule(Rule(name="e", signal="error_rate", threshold=0.05), ServiceSet("batch"), "")
            >>> rule.recorded("clew_alert:units:increase", window="5m")
            'clew_alert:units:increase{rule="e",service="batch",window="5m"}'
        """
        matchers = [f'rule="{self.rule.name}"', self.services.matcher()]
        matchers += [f"{name}={quoted(text)}" for name, text in labels.items()]
        return f"{record}{{{','.join(matcher for matcher in matchers if matcher)}}}"


def scoped_rules(rule: Rule, environment: str, *, has_services: bool = True) -> Sequence[ScopedRule]:
    """Return a rule as it holds in an environment: for all services, and for those of which something is different.

    Args:
        rule: The rule, with its overrides.
        environment: The environment; empty for what holds where none is given.
        has_services: Whether what it measures belongs to a service.

    Example:
        >>> from clew.alerts.rules import Override
        >>> rule = Rule(name="e", signal="error_rate", threshold=0.05,
        ...     overrides=(Override(service="batch", changes={"threshold": 0.2}),))
        >>> [(each.rule.threshold, each.services) for each in scoped_rules(rule, "")]
        [(0.05, ServiceSet(only='', others=('batch',))), (0.2, ServiceSet(only='batch', others=()))]
    """
    usual = rule.for_target(Target("", environment))
    named = {rule.service, *(override.service for override in rule.overrides)} if has_services else set[str]()
    others: list[ScopedRule] = []
    for service in sorted(named - {""}):
        special = rule.for_target(Target(service, environment))
        if special != usual:
            others.append(ScopedRule(special or rule, ServiceSet(service), environment))
    excepted = ServiceSet("", tuple(each.services.only for each in others))
    kept = [each for each in others if rule.for_target(Target(each.services.only, environment)) is not None]
    return [*([ScopedRule(usual, excepted, environment)] if usual is not None else []), *kept]
