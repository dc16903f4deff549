"""Rules: for whom they are, and what is different for some."""

from __future__ import annotations

from clew.alerts.rules import Override, Rule, Target

RULE = Rule(
    name="e",
    signal="error_rate",
    threshold=0.05,
    overrides=(
        Override(service="batch", changes={"threshold": 0.2, "min_units": 100}),
        Override(environment="test", changes={"enabled": False}),
        Override(service="batch", environment="test", changes={"enabled": True, "threshold": 0.5}),
    ),
)


def test_a_rule_holds_for_everything_it_finds() -> None:
    """Without an override it is itself."""
    assert RULE.for_target(Target("api", "prod")) is RULE


def test_an_override_changes_what_it_names() -> None:
    """And nothing else."""
    held = RULE.for_target(Target("batch", "prod"))

    assert held is not None
    assert (held.threshold, held.min_units, held.min_bad) == (0.2, 100, RULE.min_bad)


def test_of_several_overrides_the_later_one_wins() -> None:
    """An environment is disabled, and enabled again for one service."""
    held = RULE.for_target(Target("batch", "test"))

    assert RULE.for_target(Target("api", "test")) is None
    assert held is not None
    assert (held.threshold, held.min_units) == (0.5, 100)


def test_a_rule_of_one_service_does_not_hold_for_others() -> None:
    """The same goes for one environment."""
    rule = Rule(name="e", signal="error_rate", threshold=0.05, service="api", environment="prod")

    held = [
        rule.for_target(target) is not None
        for target in (Target("api", "prod"), Target("api", "prod", "model"), Target("api"), Target("batch", "prod"))
    ]

    assert held == [True, True, False, False]
