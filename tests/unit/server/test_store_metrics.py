"""What /metrics tells of the store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.parser import text_string_to_metric_families

from clew.store.postgres.upkeep.slow import FILE

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

    from support.fix_server import AskServer


def _samples(answer: httpx.Response) -> dict[str, float]:
    families = text_string_to_metric_families(answer.text)
    samples = [sample for family in families for sample in family.samples if sample.name.startswith("clew_store_")]
    return {sample.name + "".join(sample.labels.values()): sample.value for sample in samples}


def test_the_store_is_measured(ask_server: AskServer, postgres: str) -> None:
    """What is not known, such as the growth of a store of today, is left out."""
    told = _samples(ask_server(postgres, "/metrics", store_max_bytes=10**12))

    assert told["clew_store_up"] == 1
    assert told["clew_store_size_bytes"] > 0
    assert told["clew_store_events"] == 0
    assert told["clew_store_dead_bytes"] >= 0
    assert told["clew_store_disk_free_bytes"] + told["clew_store_size_bytes"] == 10**12
    assert "clew_store_growth_bytes_per_day" not in told
    assert "clew_store_days_until_full" not in told


def test_a_store_that_is_down_is_told_as_such(ask_server: AskServer) -> None:
    """And keeps nobody from the other metrics."""
    answer = ask_server("postgresql://127.0.0.1:1/none", "/metrics")

    assert answer.status_code == 200
    assert _samples(answer) == {"clew_store_up": 0}
    assert "clew_server_requests_total" in answer.text


def test_slow_statements_are_told_by_name(ask_server: AskServer, postgres: str, tmp_path: Path) -> None:
    """Those of before the start as well: here they are all there are."""
    (tmp_path / FILE).write_text(
        '[{"name": "trace_events", "calls": 2, "mean_ms": 500, "max_ms": 700, "total_ms": 1000}]'
    )

    told = _samples(ask_server(postgres, "/metrics"))

    assert told["clew_store_slow_statements_totaltrace_events"] == 2
    assert told["clew_store_slow_statement_seconds_totaltrace_events"] == 1.0
