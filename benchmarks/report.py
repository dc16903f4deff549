"""Turn what was found into Markdown, and put it between the markers of the page."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks.peers import PEERS
from benchmarks.scenarios import SCENARIOS
from benchmarks.statistics import median_of, ratio

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["emit_page", "install_page", "put_between"]

Results = dict[str, dict[str, list[dict[str, Any]]]]


class Budget(NamedTuple):
    """One line of the table of budgets.

    Attributes:
        operation: What is limited.
        specification: The specification's limit, as text.
        goal: Ours, as text.
        measured: What was found, as text.
    """

    operation: str
    specification: str
    goal: str
    measured: str


def emit_page(found: dict[str, Any]) -> str:
    """Write the tables of ``bench_emit.run``: machine, budgets, one table for each scenario."""
    results: Results = found["results"]
    parts = [_machine(found), _table(("operation", "specification", "goal", "measured"), _emit_budgets(results))]
    for name, scenario in SCENARIOS.items():
        if results.get(name):
            parts.append(f"### {scenario.title}\n\n{scenario.about}\n\n{_scenario_table(name, results[name])}")
    return "\n\n".join(parts)


def install_page(found: dict[str, Any]) -> str:
    """Write the tables of ``bench_install.run``."""
    goals = (
        ("`pip install clew[agent,server]` into a fresh venv", "≤ 30 s", found.get("install_s"), "s"),
        ("size of what it installs", "–", found.get("size_mb"), "MB"),
        ("`clew up` on an empty directory until ready", "≤ 5 s", found.get("first_start_s"), "s"),
        ("`clew up` again until ready", "≤ 5 s", found.get("second_start_s"), "s"),
        ("resident memory without PostgreSQL", "≤ 250 MB", found.get("clew_mb"), "MB"),
        ("memory of PostgreSQL (proportional, all its processes)", "–", found.get("postgres_mb"), "MB"),
    )
    rows = [
        (what, goal, "not measured" if value is None else f"{value:,.1f} {unit}") for what, goal, value, unit in goals
    ]
    return f"{_machine(found)}\n\n{_table(('operation', 'goal', 'measured'), rows)}"


def put_between(page: str, name: str, content: str) -> str:
    """Replace what stands between ``<!-- NAME:begin -->`` and ``<!-- NAME:end -->``.

    Raises:
        ValueError: The page has no such markers.

    Example:
        >>> put_between("<!-- x:begin -->old<!-- x:end -->", "x", "new").split()
        ['<!--', 'x:begin', '-->', 'new', '<!--', 'x:end', '-->']
    """
    pattern = re.compile(rf"(<!-- {re.escape(name)}:begin -->).*?(<!-- {re.escape(name)}:end -->)", re.DOTALL)
    if not pattern.search(page):
        raise ValueError(f"the page has no markers <!-- {name}:begin --> … <!-- {name}:end -->")
    return pattern.sub(lambda match: f"{match[1]}\n\n{content}\n\n{match[2]}", page, count=1)


def _machine(found: dict[str, Any]) -> str:
    machine = found["machine"]
    packages = ", ".join(f"{name} {number}" for name, number in machine["packages"].items())
    text = (
        f"Measured on {machine['day']} at commit `{machine['commit']}`: {machine['processor']}, {machine['cores']} cores, "
        f"{machine['memory_gib']} GiB, {machine['file_system']}, {machine['system']}, {machine['python']}; {packages}."
    )
    if "rounds" in found:
        before, after = found["load"]
        length = "" if found["scale"] == 1 else f" at {found['scale']:g} × the usual length"
        text += (
            f" Medians of {found['rounds']} interleaved round{'s' if found['rounds'] > 1 else ''}{length};"
            f" load average {before:g} before, {after:g} after."
        )
    return text


def _emit_budgets(results: Results) -> list[Budget]:
    def of(scenario: str, key: str, peer: str = "clew") -> float | None:
        return median_of(results.get(scenario, {}).get(peer, []), key)

    lag, idle = of("loop", "p99_us"), of("loop", "p99_us", "nothing")
    added_ms = None if lag is None or idle is None else (lag - idle) / 1e3
    request = of("request", "cpu_us")
    return [
        *(
            Budget(f"{what}: caller CPU", "–", "≤ structlog's", _beside(of(name, key), of(name, key, "structlog")))
            for name, what, key in (
                ("retrieval", "a retrieval event", "caller_cpu_us"),
                ("link", "an event with a URL and a mail address", "caller_cpu_us"),
            )
        ),
        Budget("create JSON and enqueue, durable: p50", "< 110 µs", "≤ 5 µs", _us(of("paced", "p50_us"))),
        Budget("the same: p99", "< 110 µs", "≤ 30 µs", _us(of("paced", "p99_us"))),
        Budget("beside two CPU-bound threads: p99", "–", "≤ 80 µs", _us(of("busy", "p99_us"))),
        Budget("while the disk answers no flush and no agent runs: p50", "–", "≤ 5 µs", _us(of("stuck", "p50_us"))),
        Budget("the same: p99", "–", "≤ 30 µs", _us(of("stuck", "p99_us"))),
        Budget(
            "a request, 25 events and 8 spans: CPU",
            "< 0.5 ms",
            "≤ 0.12 ms",
            "–" if request is None else f"{request / 1e3:.3f} ms",
        ),
        Budget(
            "event loop lag added at 5,000 events/s: p99",
            "–",
            "≤ 0.15 ms",
            "–" if added_ms is None else f"{added_ms:+.3f} ms",
        ),
        Budget("an event with a traceback: p50", "–", "≤ 15 µs", _us(of("error", "p50_us"))),
    ]


def _scenario_table(name: str, by_peer: dict[str, list[dict[str, Any]]]) -> str:
    scenario = SCENARIOS[name]
    subject = "lag" if scenario.is_lag else "caller"
    head = ["contestant"]
    if scenario.has_latency:
        head += [f"{subject} p50", "× clew", f"{subject} p99", "× clew", f"{subject} p99.9"]
    if scenario.calls:
        head += ["caller CPU", "× clew"]
    if scenario.has_cpu:
        head += ["CPU", "× clew"]
    head += ["bytes a record", "records lost"]
    rows: list[list[str]] = []
    for peer, entry in PEERS.items():
        rounds = by_peer.get(peer)
        if rounds:
            shown = entry.title
            if scenario.what == "request" and not entry.has_spans and not entry.is_baseline:
                shown += " (no spans)"
            rows.append([shown, *_figures(name, rounds, by_peer.get("clew", []))])
    return _table(head, rows)


def _figures(name: str, rounds: list[dict[str, Any]], base: list[dict[str, Any]]) -> list[str]:
    scenario = SCENARIOS[name]
    cells: list[str] = []
    keys = ["p50_us", "p99_us", "p999_us"] if scenario.has_latency else []
    keys += (["caller_cpu_us"] if scenario.calls else []) + (["cpu_us"] if scenario.has_cpu else [])
    for key in keys:
        value = median_of(rounds, key)
        cells.append(_us(value))
        if key != "p999_us":
            cells.append(_times(ratio(value, median_of(base, key))))
    wanted, kept = (sum(found[key] for found in rounds) for key in ("wanted", "kept"))
    size = median_of(rounds, "record_bytes")
    cells.append(f"{size:.0f}" if size else "–")
    cells.append(f"{wanted - kept:,} of {wanted:,}" if wanted else "–")
    return cells


def _beside(mine: float | None, theirs: float | None) -> str:
    return f"{_us(mine)} (structlog {_us(theirs)})"


def _us(value: float | None) -> str:
    """Write a time in µs with three digits at most, in ms from a thousand µs on."""
    if value is None:
        return "–"
    if value >= 1000:
        return f"{value / 1000:.1f} ms"
    return f"{value:.0f} µs" if value >= 100 else f"{value:.1f} µs" if value >= 10 else f"{value:.2f} µs"


def _times(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f} ×" if value >= 10 else f"{value:.1f} ×"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
