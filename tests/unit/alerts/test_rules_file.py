"""A file of rules: what it may say, and what is said of one that means nothing."""

from __future__ import annotations

import random
from importlib.resources import files
from typing import TYPE_CHECKING

import jsonschema_rs
import pytest
import yaml
from msgspec import json

from clew.alerts.rule_keys import KEYS, json_schema
from clew.alerts.rules import Target
from clew.alerts.rules_file import RuleFileError, default_rules, load_rules, parse_rules
from clew.alerts.signals import SIGNALS

if TYPE_CHECKING:
    from pathlib import Path

    from clew.alerts.rules_file import RuleProblem


def problems_of(text: str) -> list[RuleProblem]:
    """Return what is wrong with *text* as a change of the defaults."""
    with pytest.raises(RuleFileError) as caught:
        parse_rules(text, source="alerts.yaml", base=default_rules())
    return caught.value.problems


def test_the_four_alerts_of_the_specification_are_on_without_a_file() -> None:
    """Error rate > 5 %, latency > 2 s, hallucination > 10 %, cache miss > 80 %."""
    rules = default_rules().rules

    assert (rules["error_rate"].threshold, rules["unsupported_answers"].threshold) == (0.05, 0.1)
    assert (rules["latency"].limit, rules["latency"].threshold) == (2.0, 0.05)
    assert rules["cache_miss"].threshold == 0.8
    assert all(rule.enabled for rule in rules.values())


def test_every_signal_but_two_has_a_default_rule() -> None:
    """A burn rate needs an objective, and a heartbeat somebody who waits for it."""
    assert set(SIGNALS) - {rule.signal for rule in default_rules().rules.values()} == {"slo_burn", "heartbeat"}


def test_a_file_changes_a_rule_adds_one_and_switches_one_off() -> None:
    """What the file does not name stays as it is."""
    rules = parse_rules(
        """
        version: 1
        common: {owner: "@rag"}
        rules:
          error_rate:
            threshold: 3 %
            overrides:
              - {service: batch, threshold: 20 %}
              - {service: batch, environment: test, enabled: false}
          slow_api: {signal: latency, limit: 500ms, threshold: 0.1, service: api}
          cache_miss: {enabled: false}
        """,
        source="alerts.yaml",
        base=default_rules(),
    ).rules

    held = rules["error_rate"]
    assert (held.threshold, held.min_units, held.owner) == (0.03, 50, "@rag")
    batch = held.for_target(Target("batch", "prod"))
    assert batch is not None
    assert batch.threshold == 0.2
    assert held.for_target(Target("batch", "test")) is None
    assert rules["slow_api"].limit == 0.5
    assert rules["slow_api"].for_target(Target("other")) is None
    assert rules["cache_miss"].for_target(Target("api")) is None
    assert rules["latency"].threshold == 0.05


@pytest.mark.parametrize(
    ("text", "line", "column", "words"),
    [
        ("rules:\n  error_rate:\n    treshold: 5 %", 3, 5, "did you mean threshold?"),
        ("rules:\n  error_rate:\n    threshold: 5", 3, 16, "did you mean 5 %?"),
        ("rules:\n  mine:\n    signal: eror_rate\n    threshold: 1 %", 3, 13, "did you mean error_rate?"),
        ("rules:\n  mine:\n    threshold: 1 %", 2, 3, "has no signal"),
        ("rules:\n  mine: {signal: latency, threshold: 1 %}", 2, 3, "has no limit"),
        ("rules:\n  mine: {signal: error_rate}", 2, 3, "has no threshold"),
        ("rules:\n  latency: {limit: 2}", 2, 20, "with its unit"),
        ("rules:\n  latency: {for: soon}", 2, 18, "with its unit"),
        ("rules:\n  latency: {severity: crit}", 2, 23, "did you mean critical?"),
        ("rules:\n  latency: {min_units: 0}", 2, 24, "a whole number from 1"),
        ("rules:\n  latency: {runbook: 'javascript:alert(1)'}", 2, 22, "https://"),
        ("rules:\n  latency: {window: 2h, max_window: 1h}", 2, 3, "longer than its max_window"),
        ("rules:\n  latency: {enabled: false, enabled: true}", 2, 29, "there twice"),
        ("rules:\n  latency:\n    overrides:\n      - threshold: 1 %", 4, 9, "names no service"),
        ("rules:\n  slo: {signal: slo_burn}", 2, 3, "has no objective"),
        ("rules:\n  Latency!: {enabled: true}", 2, 3, "cannot be called"),
        ("rules: [1, 2]", 1, 8, "rules is a list"),
        ("rule: {}", 1, 1, "did you mean rules?"),
        ("version: 2", 1, 10, "reads version 1"),
        ("- 1", 1, 1, "the file is a list"),
        ("rules: {a: [", 1, 13, "is no YAML"),
        ("rules:\n  latency: {inhibited_by: [nothing]}", 2, 28, "does not exist"),
        ("rules:\n  latency:\n    inhibited_by:\n      - provider_outage\n      - eror_rate", 5, 9, "did you mean error_rate?"),
        ("rules:\n  latency: {inhibited_by: eror_rate}", 2, 27, "did you mean error_rate?"),
        ("rules:\n  latency: {inhibited_by: [error_rate]}\n  error_rate: {inhibited_by: [latency]}", 3, 30, "inhibit each other"),
        ("rules:\n  latency: {inhibited_by: [error_rate]}\n  error_rate: {inhibited_by: [zero_hits]}\n  zero_hits: {inhibited_by: [latency]}", 4, 29, "inhibit each other"),
        ("rules:\n  latency: {inhibited_by: [latency]}", 2, 27, "inhibits itself"),
        ("rules:\n  latency: {receivers: [slack, mial]}", 2, 24, "did you mean mail?"),
        ("rules:\n  error_rate: {critical_at: 1 %}", 2, 29, "write a critical_at above it"),
        ("rules:\n  error_rate:\n    overrides:\n      - {service: a, critical_at: 3 %}", 4, 9, "write a critical_at above it"),
        ("rules:\n  latency:\n    overrides:\n      - service: a\n        window: 2h", 4, 9, "longer than its max_window"),
        ("rules:\n  slo: {signal: slo_burn, objective: 100 %}", 2, 38, "below 100 %"),
        ("rules:\n  error_rate: {threshold: .nan}", 2, 27, "is not negative"),
        ("rules:\n  error_rate: {threshold: -.inf}", 2, 27, "is not negative"),
        ("rules:\n  error_rate: {threshold: .inf}", 2, 27, "at most 100 %"),
        ("rules:\n  cost_per_hour: {floor: .nan}", 2, 26, "not negative"),
        ("rules:\n  latency: {for: ٣m}", 2, 18, "with its unit"),
        ('rules:\n  latency: {service: "\\ud800"}', 2, 22, "half of one"),
        ("rules:\n  unsupported_answers:\n    calibration: {sensitivity: 0.5}", 3, 18, "positives"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_line_and_column(text: str, line: int, column: int, words: str) -> None:
    """Whoever reads it need not look for the place."""
    problem = problems_of(text)[0]

    assert (problem.line, problem.column) == (line, column)
    assert words in problem.message


def test_all_problems_are_said_at_once() -> None:
    """Nobody mends one, and is told of the next."""
    assert len(problems_of("rules:\n  latency: {limit: x, for: y, foo: 1}\n  error_rate: {threshold: 7}")) == 4


def test_a_missing_file_is_no_fault_and_an_unreadable_one_is(tmp_path: Path) -> None:
    """The defaults hold without a file; a directory in its place is a mistake."""
    assert load_rules(tmp_path / "alerts.yaml").digest == default_rules().digest
    with pytest.raises(RuleFileError, match="cannot be read"):
        load_rules(tmp_path)


def test_a_file_that_is_empty_or_all_comments_changes_nothing(tmp_path: Path) -> None:
    """As when one has commented everything out."""
    file = tmp_path / "alerts.yaml"
    for text in ("", "# nothing\n", "rules:\n", "version: 1\n"):
        file.write_text(text, "utf-8")
        assert load_rules(file).digest == default_rules().digest


def test_hostile_yaml_is_refused_or_read_and_never_kills() -> None:
    """Aliases that multiply, that contain themselves, tags that would run code, deep nesting, no UTF-8."""
    bomb = "a: &a [x, x]\n" + "\n".join(
        f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join(f'*{chr(97 + i)}' for _ in range(9))}]" for i in range(9)
    )
    levels = "\n".join(f"      - &l{i} [{', '.join([f'*l{i - 1}'] * 10)}]" for i in range(1, 30))
    grows = f"rules:\n  latency:\n    receivers:\n      - &l0 [x]\n{levels}"
    itself = f"rules: {{latency: {{receivers: &x [{', '.join(['*x'] * 30)}]}}}}"
    for text in (
        bomb, grows, grows.replace("receivers", "threshold"), itself, "rules: &r {latency: *r}", "rules: {latency: {owner: !!python/object/apply:os.system [ls]}}", "[" * 5000, b"\xff\xfe\x00\x00", "\x00",
        "rules: {latency: {owner: &x [*x]}}", "? {a: b}\n: c", "rules: {? [1] : 2}", "rules: {latency: {limit: !!timestamp 'x'}}",
    ):  # fmt: skip
        with pytest.raises(RuleFileError):
            parse_rules(text, source="x", base=default_rules())


def test_random_damage_of_the_defaults_is_refused_or_read() -> None:
    """Nothing but the documented error comes out of a file, whatever is in it."""
    text = (files("clew.alerts") / "defaults.yaml").read_text("utf-8")
    random.seed(14)
    for _ in range(300):
        place = random.randrange(len(text))
        damaged = (
            text[:place]
            + random.choice(["", ":", "- ", "\t", "{", "&a ", "%", "!!", "\n", '"', "5", "é"])
            + text[place + random.randrange(4) :]
        )
        problems: list[RuleProblem] = []
        try:
            parse_rules(damaged, source="x")
        except RuleFileError as error:
            problems = error.problems

        assert all(problem.line >= 1 and problem.column >= 1 for problem in problems)


def test_the_schema_knows_every_key_and_accepts_the_defaults() -> None:
    """An editor that uses it does not mark what is right."""
    schema = json_schema()
    json.encode(schema)
    validator = jsonschema_rs.validator_for(schema)
    validator.validate(yaml.safe_load((files("clew.alerts") / "defaults.yaml").read_text("utf-8")))
    rule = schema["properties"]["rules"]["additionalProperties"]
    assert set(rule["properties"]) == {*KEYS, "overrides"}
    with pytest.raises(jsonschema_rs.ValidationError):
        validator.validate({"rules": {"latency": {"treshold": 1}}})
