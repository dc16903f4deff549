"""Cases for ``promtool test rules``: what the exported shares come to, with their own thresholds and windows.

Of each rule: one bad unit of four in a quiet hour raises nothing; nor do shares below the threshold, also close to it; a
share far above it fires within the time that the windows allow, and is over when it has been well for long enough.
"""

from __future__ import annotations

from math import ceil
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

from clew.alerts.export.promql import duration, number
from clew.alerts.export.shares import RECENT_S, steps
from clew.alerts.signals import SIGNALS, ShareSignal
from clew.alerts.statistics import corrected_share, wilson

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from clew.alerts.export.scopes import ScopedRule
    from clew.alerts.rules import Rule

__all__ = ["write_cases"]

HEAD: Final = """\
# Written by `clew alerts export prometheus`: what its rules come to. `promtool test rules {name}` checks it.
rule_files: [{rules}]
evaluation_interval: 1m

tests:
"""

_CALLS: Final = (
    'gen_ai_client_operation_duration_seconds_count{service_name="SERVICE",gen_ai_request_model="m",error_type="KIND"}'
)
_FAILED: Final = 'clew_errors_total{service="SERVICE",stage="STAGE",error_type="KIND"}'
_REQUESTS: Final = 'clew_requests_total{service="SERVICE",status="KIND"}'
_LOOK_UPS: Final = 'clew_cache_requests_total{service="SERVICE",cache_hit="KIND"}'

SERIES: Final[Mapping[str, tuple[tuple[str, str], ...]]] = MappingProxyType(
    {
        "error_rate": (("good", _REQUESTS.replace("KIND", "ok")), ("bad", _REQUESTS.replace("KIND", "error"))),
        "latency": (
            ("all", 'clew_request_duration_seconds_count{service="SERVICE"}'),
            ("good", 'clew_request_duration_seconds_bucket{service="SERVICE",le="LIMIT"}'),
        ),
        "unsupported_answers": (
            ("all", 'clew_answers_total{service="SERVICE",quality_tier="t"}'),
            ("bad", 'clew_issues_total{service="SERVICE",issue="unsupported_claim"}'),
        ),
        "cache_miss": (("good", _LOOK_UPS.replace("KIND", "true")), ("bad", _LOOK_UPS.replace("KIND", "false"))),
        "provider_outage": (("good", _CALLS.replace("KIND", "")), ("bad", _CALLS.replace("KIND", "TimeoutError"))),
        "rate_limit": (
            ("good", _CALLS.replace("KIND", "")),
            ("bad", _FAILED.replace("STAGE", "generation").replace("KIND", "RateLimitError")),
        ),
        "zero_hits": (
            ("all", 'clew_retrieval_hit_count_count{service="SERVICE"}'),
            ("bad", 'clew_retrieval_hit_count_bucket{service="SERVICE",le="0.0"}'),
        ),
        "judge_failing": (
            ("good", 'clew_answers_total{service="SERVICE",quality_tier="t"}'),
            ("bad", _FAILED.replace("STAGE", "evaluation").replace("KIND", "TimeoutError")),
        ),
    }
)
"""Of each share, series that hold its good, its bad or all units."""


class Phase(NamedTuple):
    """Some minutes of traffic.

    Attributes:
        minutes: How many.
        good: Good units a minute.
        bad: Bad units a minute.
    """

    minutes: int
    good: float
    bad: float


class Check(NamedTuple):
    """What is expected.

    Attributes:
        minute: When.
        is_firing: Whether the alert fires then.
    """

    minute: int
    is_firing: bool


class Case(NamedTuple):
    """Traffic, and what is expected of it.

    Attributes:
        name: What it is, in words.
        phases: The traffic.
        checks: What is expected.
    """

    name: str
    phases: tuple[Phase, ...]
    checks: tuple[Check, ...]


def write_cases(shares: Sequence[Sequence[ScopedRule]], rules_file: str, windows: Sequence[float] = ()) -> str:
    """Write the cases of some shares.

    Args:
        shares: Each rule of a share, for all services that it holds for.
        rules_file: Name of the file of rules.
        windows: Windows of all shares, in seconds; empty for those of the rules.
    """
    parts = [HEAD.format(name=rules_file.replace(".yml", ".test.yml"), rules=rules_file)]
    for rule in shares:
        for scoped in rule:
            used = tuple(windows) or steps(scoped.rule)
            signal = SIGNALS[scoped.rule.signal]
            # Promtool's clock goes by the minute; windows for a trial are shorter, and a burn looks back for three days.
            if isinstance(signal, ShareSignal) and not signal.is_burn and used[0] >= 60:
                parts += _tests(scoped, used)
    return "".join(parts) if len(parts) > 1 else parts[0].replace("tests:\n", "tests: []\n")


def _tests(scoped: ScopedRule, windows: Sequence[float]) -> Iterator[str]:
    """Write the tests of a rule: quiet cases together, each as a service of its own, where the rule is for several."""
    quiet, fault = _quiet(scoped.rule, windows), _fault(scoped.rule, windows)
    if scoped.services.only:
        yield from (_test(scoped, {scoped.services.only: case}) for case in [*quiet, *fault])
        return
    yield _test(scoped, {f"rag-{place}": case for place, case in enumerate(quiet, 1)})
    yield from (_test(scoped, {"rag": case}) for case in fault)


def _quiet(rule: Rule, windows: Sequence[float]) -> list[Case]:
    length = 2 * ceil(windows[0] / 60)
    rate = _rate(rule, windows)
    checks = Check(length - 1, False), Check(length, False)
    cases = [
        Case(f"{share:.4g} of the units", (Phase(length, rate * (1 - share), rate * share),), checks)
        for share in levels_below(rule.threshold)
    ]
    if rule.min_units > 4:
        cases.append(Case("1 of 4 at night", (Phase(length - 3, 0, 0), Phase(1, 3, 1), Phase(2, 0, 0)), checks))
    return cases


def _fault(rule: Rule, windows: Sequence[float]) -> list[Case]:
    """Return a fault that is found and passes, with as much traffic as that takes; none where no traffic is enough."""
    before = 2 * ceil(windows[0] / 60)
    low = levels_below(rule.threshold)[0]
    share = min(5 * rule.threshold, rule.threshold + 0.8 * (1 - rule.threshold))
    rates = [times * _rate(rule, windows) for times in (1, 2, 4, 8)]
    rate = next((each for each in rates if minutes_to_fire(rule, windows, each, low, share) is not None), rates[0])
    found = minutes_to_fire(rule, windows, rate, low, share)
    if found is None:
        return []
    end = before + found + 3
    over = ceil((max(windows[0], min(RECENT_S, windows[-1])) + rule.resolve_after_s) / 60) + 2
    well = rate * (1 - low), rate * low
    phases = (
        Phase(before, *well), Phase(end - before, rate * (1 - share), rate * share), Phase(over, *well)
    )  # fmt: skip
    checks = Check(before, False), Check(before + found + 1, True), Check(end + 1, True), Check(end + over, False)
    return [Case(f"{share:.4g} of the units, found after {found} minutes, and then fewer", phases, checks)]


def _rate(rule: Rule, windows: Sequence[float]) -> float:
    """Return units a minute of which the shortest window holds enough."""
    return 1.2 * rule.min_units / (windows[0] / 60)


def levels_below(threshold: float) -> tuple[float, float]:
    """Return a share that is well below a threshold, and one that is close to it.

    Example:
        >>> [round(share, 4) for share in (*levels_below(0.05), *levels_below(0.8))]
        [0.02, 0.04, 0.4, 0.77]
    """
    if threshold < 0.5:
        return 0.4 * threshold, 0.8 * threshold
    return 0.5 * threshold, threshold - 0.15 * (1 - threshold)


def minutes_to_fire(rule: Rule, windows: Sequence[float], rate: float, before: float, share: float) -> int | None:
    """Return how many minutes after its beginning a steady fault is found; None for not within two hours.

    Args:
        rule: The rule.
        windows: Its windows, in seconds.
        rate: Units a minute; the shortest window holds enough of them.
        before: Share of bad units before.
        share: Share of bad units since.

    Example:
        >>> from clew.alerts.rules import Rule
        >>> minutes_to_fire(Rule(name="e", signal="error_rate", threshold=0.05), [300], 12, 0.02, 0.25)
        3
    """
    signal = SIGNALS[rule.signal]
    judge = rule.calibration if isinstance(signal, ShareSignal) and signal.is_judged else None
    length = windows[0] / 60
    for minute in range(1, 121):
        since = min(minute, length)
        n, bad = round(rate * length), int(rate * (since * share + (length - since) * before))
        low = wilson(bad, n).low if judge is None else corrected_share(bad, n, judge).low
        if bad >= rule.min_bad and low > rule.threshold:
            return minute + ceil(rule.for_s / 60)
    return None


def _test(scoped: ScopedRule, cases: Mapping[str, Case]) -> str:
    """Write a test of one or several services."""
    lines = [f"  # {scoped.rule.name}: {'; '.join(f'{service}: {case.name}' for service, case in cases.items())}\n"]
    lines.append("  - interval: 1m\n    input_series:\n")
    limit = str(float(scoped.rule.limit or 0))
    for service, case in cases.items():
        for kind, template in SERIES[scoped.rule.signal]:
            series = template.replace("SERVICE", service).replace("LIMIT", limit)
            lines.append(f"      - {{series: '{series}', values: \"{_values(kind, case.phases)}\"}}\n")
    lines.append("    promql_expr_test:\n")
    for service, case in cases.items():
        firing = f'ALERTS{{alertname="{scoped.alert}",service="{service}",alertstate="firing"}}'
        expr = f"count(count by (service) ({firing})) or vector(0)"
        for check in case.checks:
            when = duration(check.minute * 60)
            expected = f"exp_samples: [{{labels: '{{}}', value: {int(check.is_firing)}}}]"
            lines.append(f"      - {{expr: '{expr}', eval_time: {when}, {expected}}}\n")
    return "".join(lines)


def _values(kind: str, phases: Sequence[Phase]) -> str:
    """Write the values of a counter, a phase after the other."""
    total, parts = 0.0, ["0"]
    for phase in phases:
        grows = {"good": phase.good, "bad": phase.bad, "all": phase.good + phase.bad}[kind]
        if not phase.minutes:
            continue
        parts.append(f"{number(total + grows)}+{number(grows)}x{phase.minutes - 1}")
        total += grows * phase.minutes
    return " ".join(parts)
