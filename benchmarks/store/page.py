"""What was measured of the store, as the tables of the page."""

from __future__ import annotations

from typing import Any

from benchmarks.store.queries import questions

__all__ = ["store_page"]

LABELS = {"DuckDB": "DuckDB", "ClickHouse": "ClickHouse (chdb)", "SQLite": "SQLite FTS5"}
UNLIKE = frozenset({"a day's errors by hour"})
"""What the engines were not asked in the same way."""

BYTES_GOAL = 850
INGEST_GOAL = 25_000
RATIO_GOAL = 0.60


def store_page(found: dict[str, Any], smaller: dict[str, Any] | None = None) -> str:
    """Write the tables.

    Args:
        found: What was measured.
        smaller: The same of a store with fewer events, by which to tell of one with more; None to tell nothing.
    """
    beyond = [] if smaller is None else [_extrapolated(smaller, found)]
    return "\n\n".join(
        [
            _head(found),
            _ingest(found["build"]),
            _queries(found),
            *beyond,
            *([_peers(found)] if found.get("peers") else []),
        ]
    )


def _head(found: dict[str, Any]) -> str:
    machine, build = found["machine"], found["build"]
    return (
        f"Measured on {machine['day']} at commit `{machine['commit']}`: {machine['processor']}, {machine['cores']} cores, "
        f"{machine['memory_gib']} GiB, {machine['file_system']}, {machine['system']}. {build['stored']:,} events over 30 days; "
        f"load average {found['load_before']} before, {found['load_after']} after."
    )


def _ingest(build: dict[str, Any]) -> str:
    whole = build["heap_bytes"] + build["toast_bytes"] + build["index_bytes"]
    texts = sum(size for name, size in build["indexes"].items() if "texts" in name)
    rows = [
        (
            f"the last day through the agent, {build['ingest_events']:,} events, all indexes that grow along",
            f"≥ {INGEST_GOAL:,} events/s",
            f"{build['ingest_agent_events_s']:,.0f} events/s",
        ),
        (
            "bare binary COPY of the same rows into the same table",
            "–",
            f"{build['ingest_copy_events_s']:,.0f} events/s",
        ),
        ("the agent's share of that", f"≥ {RATIO_GOAL:.0%}", f"{build['ingest_ratio']:.0%}"),
        (
            "index of texts, made when a day is over",
            "–",
            f"{build['index_seconds'] / build['indexed'] * 1e6:.0f} µs an event",
        ),
        ("an event on the disk, everything included", f"≤ {BYTES_GOAL} B", f"{whole:.0f} B"),
        ("– the row, and what is stored apart from it", "–", f"{build['heap_bytes'] + build['toast_bytes']:.0f} B"),
        ("– indexes that grow along", "–", f"{build['index_bytes'] - texts:.0f} B"),
        ("– the index of texts, made late", "–", f"{texts:.0f} B"),
    ]
    return "\n".join(
        ["| storing | goal | measured |", "|---|---:|---:|", *(f"| {a} | {b} | {c} |" for a, b, c in rows)]
    )


def _queries(found: dict[str, Any]) -> str:
    lines = [
        "| question | specification | goal, p95 | SQL p50 | SQL p95 | reached | first, cold | HTTP p95 | command p50 |",
        "|---|---:|---:|---:|---:|---|---:|---:|---:|",
    ]
    for question in questions():
        told = found["sql"][question.name]
        reached = "" if question.goal is None else "yes" if told["p95"] <= question.goal else "no"
        http, command = found["http"].get(question.name), found["cli"].get(question.name)
        lines.append(
            f"| {question.name} | {_ms(question.specification)} | {_ms(question.goal, '≤ ')} | {_ms(told['p50'])} "
            f"| {_ms(told['p95'])} | {reached} | {_ms(found['cold'][question.name]['p50'])} "
            f"| {_ms(http and http['p95'])} | {_ms(command and command['p50'])} |"
        )
    cold = (
        "restarted, and the kernel's cache dropped"
        if found["is_kernel_cache_dropped"]
        else "restarted; the kernel's cache was warm"
    )
    return "\n".join(
        [
            *lines,
            "",
            f"*First, cold*: asked once each after PostgreSQL was {cold}. A command includes the start of Python.",
        ]
    )


def _extrapolated(smaller: dict[str, Any], found: dict[str, Any]) -> str:
    """Tell of a store as many times larger as *found* is than *smaller*, by a power law through the two."""
    factor = found["build"]["events"] / smaller["build"]["events"]
    beyond = found["build"]["events"] * factor
    small, large = smaller["build"]["events"], found["build"]["events"]
    lines = [
        (
            f"Two measured sizes, and what a power law through them says of {beyond:,.0f} events on the same machine (p95 by SQL, warm; "
            "what falls is taken to stay, and that less of the data fits into memory is not in it):"
        ),
        "",
        f"| question | {small:,} | {large:,} | {beyond:,.0f}, extrapolated |",
        "|---|---:|---:|---:|",
    ]
    for question in questions():
        before, now = (told["sql"][question.name]["p95"] for told in (smaller, found))
        lines.append(f"| {question.name} | {_ms(before)} | {_ms(now)} | {_ms(now * max(1.0, now / before))} |")
    size = sum(found["build"][name] for name in ("heap_bytes", "toast_bytes", "index_bytes"))
    lines.append(f"| on the disk | {_gb(smaller)} | {_gb(found)} | {size * beyond / 1e9:.0f} GB |")
    return "\n".join(lines)


def _gb(found: dict[str, Any]) -> str:
    build = found["build"]
    return f"{(build['heap_bytes'] + build['toast_bytes'] + build['index_bytes']) * build['stored'] / 1e9:.2g} GB"


def _peers(found: dict[str, Any]) -> str:
    peers = found["peers"]
    names = list(next(iter(peers.values()))["p50_ms"])
    events = next(iter(peers.values()))["events"]
    titles = " | ".join(f"{LABELS[name]} {told['version']}" for name, told in peers.items())
    lines = [
        f"The newest {events:,} of these events in other engines, each in its own process, medians; clew's column is the store of all events:",
        "",
        f"| | clew | {titles} |",
        f"|---|---:|{'---:|' * len(peers)}",
        f"| loading, events/s | {found['build']['ingest_copy_events_s']:,.0f} | "
        + " | ".join(f"{told['load_events_s']:,.0f}" for told in peers.values())
        + " |",
        f"| bytes an event | {sum(found['build'][name] for name in ('heap_bytes', 'toast_bytes', 'index_bytes')):.0f} | "
        + " | ".join(f"{told['bytes']:.0f}" for told in peers.values())
        + " |",
    ]
    for name in names:
        if name in UNLIKE:
            continue
        ours = found["sql"].get(name)
        lines.append(
            f"| {name} | {_ms(ours and ours['p50'])} | "
            + " | ".join(_ms(told["p50_ms"][name]) for told in peers.values())
            + " |"
        )
    return "\n".join(lines)


def _ms(value: float | None, mark: str = "") -> str:
    if value is None:
        return "–"
    return f"{mark}{value:.3g} ms" if value < 1000 else f"{mark}{value:,.0f} ms"
