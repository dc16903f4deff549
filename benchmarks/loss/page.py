"""The table, as Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["loss_page"]

Cell = dict[str, Any]


def loss_page(found: dict[str, Any]) -> str:
    """Write the table of a run, with where it ran and what has to be known to read it."""
    results: dict[str, dict[str, Cell]] = found["results"]
    columns = [name for name in results if "," not in name or not name.startswith("clew")]
    versions = found["versions"]
    short, long = found["outage_s"]
    lines = [["", *(f"{name} {versions[name]}" for name in columns)], ["---"] + ["---:"] * len(columns)]
    for title, row, cell in LINES:
        if any(row in results[name] for name in columns):
            text = title.format(short=f"{short:g}", long=f"{long:g}")
            lines.append([text, *(_cell(results[name].get(row), cell) for name in columns)])
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    missing = "".join(f"\n* {name} is missing: {why}" for name, why in found["not_installed"].items())
    return "\n\n".join(
        part for part in (_machine(found), table, missing.strip(), _threads(results), _refused(results)) if part
    )


def _machine(found: dict[str, Any]) -> str:
    machine = found["machine"]
    before, after = found["load"]
    return (
        f"Measured on {machine['day']} at commit `{machine['commit']}` with `{found['command']}`, which took "
        f"{found['took_s'] / 60:.0f} minutes: {machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} "
        f"GiB, {machine['file_system']}, {machine['system']}, {machine['python']}; load average {before:g} before, "
        f"{after:g} after."
    )


def _threads(results: dict[str, dict[str, Cell]]) -> str:
    cell = results.get("clew, propagate threads", {}).get("context")
    if not cell or "failed" in cell:
        return ""
    return (
        f'With `propagate=("executors", "threads")` clew carries the context into bare threads too: '
        f"{cell['thread']}/{cell['of']}."
    )


def _refused(results: dict[str, dict[str, Cell]]) -> str:
    """Tell who tried to leave the machine, and was refused."""
    tried = {
        name: {host for cell in cells.values() for host in cell.get("refused", ())} for name, cells in results.items()
    }
    lines = [
        f"* {name} tried to reach {', '.join(sorted(hosts))}, and was refused."
        for name, hosts in tried.items()
        if hosts
    ]
    return "\n".join(lines)


def _cell(cell: Cell | None, show: Callable[[Cell], str]) -> str:
    if cell is None:
        return "–"
    if "failed" in cell:
        return f"not measured: {cell['failed']}"
    unread = cell.get("unread")
    return f"{show(cell)} ({'; '.join(unread)})" if unread else show(cell)


def _arrived(cell: Cell) -> str:
    rounds = cell.get("rounds", [cell["arrived"]])
    span = f"{min(rounds):,}" if min(rounds) == max(rounds) else f"{min(rounds):,}–{max(rounds):,}"
    text = f"{span}/{cell['of']:,}"
    text = text if cell["arrived"] == cell["of"] else f"**{text}**"
    slowest = cell.get("slowest_call_s", 0)
    return f"{text} (slowest call {slowest:.1f} s)" if slowest >= 1 else text


def _burst(cell: Cell) -> str:
    return f"{_arrived(cell)} (calls took {cell['took_s']:.1f} s)"


def _exit(cell: Cell) -> str:
    return f"> {cell['exit_limit_s']:.0f} s, killed" if cell["exit_s"] is None else f"{cell['exit_s']:.1f} s"


def _time(cell: Cell) -> str:
    return f"{cell['p50_us']:,.0f} / {cell['p99_us']:,.0f} µs"


def _place(place: str) -> Callable[[Cell], str]:
    def show(cell: Cell) -> str:
        text = f"{cell[place]}/{cell['of']}"
        return text if cell[place] == cell["of"] else f"**{text}**"

    return show


LINES: Final[tuple[tuple[str, str, Callable[[Cell], str]], ...]] = (
    ("`kill -9` after 1,000 calls", "kill", _arrived),
    ("backend refused {short} s, process lives", "refused", _arrived),
    ("HTTP 500 for {short} s, process lives", "error", _arrived),
    ("backend hangs {short} s, process lives", "hang", _arrived),
    ("backend refused {long} s, process lives", "refused-long", _arrived),
    ("exit during an outage, a new process later", "leave", _arrived),
    ("time to exit during the outage", "leave", _exit),
    ("burst of 10,000 calls", "burst", _burst),
    ("time per call, p50 / p99", "latency", _time),
    ("child in a thread pool stands below its caller", "context", _place("pool")),
    ("child in a bare thread", "context", _place("thread")),
    ("child inside a generator's body stands below the generator", "context", _place("inside")),
    ("child of its consumer, between two items, stands below the consumer", "context", _place("outside")),
)
