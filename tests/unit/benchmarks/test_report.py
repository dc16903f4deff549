"""The Markdown of the benchmarks."""

from typing import Any

import pytest
from benchmarks.report import emit_page, install_page, put_between

MACHINE = {
    "processor": "a processor",
    "cores": 2,
    "memory_gib": 24,
    "file_system": "ext4",
    "system": "Linux 6",
    "python": "CPython 3.11.7",
    "packages": {"clew": "0.1.0"},
    "commit": "abc1234",
    "day": "2024-11-23",
}


def found_in_a_round(**figures: Any) -> dict[str, Any]:
    """Return what one round may find."""
    return {
        "p50_us": 2.0,
        "p99_us": 20.0,
        "p999_us": None,
        "caller_cpu_us": 2.5,
        "cpu_us": 3.0,
        "wanted": 100,
        "kept": 100,
        "record_bytes": 500,
    } | figures


def emitted(results: dict[str, Any]) -> dict[str, Any]:
    """Return what a whole run may find."""
    return {"machine": MACHINE, "rounds": 1, "scale": 1.0, "load": [0.0, 0.5], "results": results}


def test_a_table_compares_with_clew_and_tells_the_losses() -> None:
    """A contestant that is three times slower and loses ten records is shown so."""
    results = {"flood": {"clew": [found_in_a_round()], "otel": [found_in_a_round(p50_us=6.0, kept=90)]}}

    page = emit_page(emitted(results))

    assert (
        "| OpenTelemetry SDK | 6.00 µs | 3.0 × | 20.0 µs | 1.0 × | – | 2.50 µs | 1.0 × | 3.00 µs | 1.0 × | 500 | 10 of 100 |"
        in page
    )


def test_a_budget_that_was_not_measured_is_left_open() -> None:
    """No figure is made up for a scenario that did not run."""
    page = emit_page(emitted({"paced": {"clew": [found_in_a_round(p50_us=1500.0)]}}))

    assert "| create JSON and enqueue, durable: p50 | < 110 µs | ≤ 5 µs | 1.5 ms |" in page
    assert "| an event with a traceback: p50 | – | ≤ 15 µs | – |" in page


def test_the_lag_of_a_loop_is_told_as_what_is_added() -> None:
    """The lag of the empty loop is taken off."""
    results = {"loop": {"clew": [found_in_a_round(p99_us=300.0)], "nothing": [found_in_a_round(p99_us=250.0)]}}

    page = emit_page(emitted(results))

    assert "| event loop lag added at 5,000 events/s: p99 | – | ≤ 0.15 ms | +0.050 ms |" in page


def test_what_could_not_be_installed_is_not_measured() -> None:
    """Missing figures are said to be missing."""
    page = install_page({"machine": MACHINE, "first_start_s": 1.25})

    assert "| `clew up` on an empty directory until ready | ≤ 5 s | 1.2 s |" in page
    assert "| size of what it installs | – | not measured |" in page


def test_tables_go_between_their_markers_and_nowhere_else() -> None:
    """What stands outside of the markers, or between others, is kept."""
    page = "a\n<!-- emit:begin -->old<!-- emit:end -->\nb\n<!-- install:begin -->kept<!-- install:end -->"

    written = put_between(page, "emit", r"new \1")

    assert written == (
        "a\n<!-- emit:begin -->\n\nnew \\1\n\n<!-- emit:end -->\nb\n<!-- install:begin -->kept<!-- install:end -->"
    )
    assert put_between(written, "emit", r"new \1") == written


def test_a_page_without_markers_is_refused() -> None:
    """A page is never overwritten as a whole."""
    with pytest.raises(ValueError, match="no markers"):
        put_between("a page", "emit", "new")
