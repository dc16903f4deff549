"""Services and environments that are called anything at all, and very many of them."""

from __future__ import annotations

import shlex
import time
from typing import TYPE_CHECKING

import pytest

from clew.alerts.notice import first_line
from clew.alerts.rules_file import default_rules, parse_rules
from clew.store.postgres.connect import connect
from clew.testing import FakeClock
from support.alert_bench import BEGIN, AlertBench, Box, drain

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAMES = (
    'it\'s "odd"',
    "'; DROP TABLE alerts; --",
    "$(reboot) `id` && rm -rf /",
    "%s %(service)s {0} {service}",
    "line\nBcc: all@example.org\r\nX: 1",
    "\u202eevil\u2066 Ⅷ 東京 👩\u200d🔬",
    "back\\slash\\",
    "*",
    "<script>alert(1)</script>|<!here>",
    "x" * 119,
)


@pytest.fixture
def bench(postgres: str, tmp_path: Path) -> Iterator[AlertBench]:
    """Give a store to evaluate, and one rule."""
    off = "".join(f"  {name}: {{enabled: false}}\n" for name in default_rules().rules if name != "error_rate")
    with connect(postgres) as connection, FakeClock(BEGIN) as moved:
        made = AlertBench(postgres, connection, tmp_path, moved)
        made.rules = parse_rules(f"rules:\n{off}", source="test", base=default_rules())
        yield made
        made.sink.close()


def test_whatever_a_service_is_called_its_fault_is_found_with_traces_and_a_command(bench: AlertBench) -> None:
    """Each by itself, once, in one line, with a command that a shell reads as words and nothing else."""
    box = Box("slack")
    for name in NAMES:
        bench.requests(4, failing=0.5, service=name, environment=name[::-1])
    bench.evaluate()
    drain(bench.connection, box)

    found = {notice.service: notice for notice, _ in box.notices}
    assert set(found) == set(NAMES)
    assert len(box.notices) == len(NAMES)
    for name, notice in found.items():
        assert notice.environment == name[::-1]
        assert len(notice.examples) >= 3
        assert "\n" not in first_line(notice)
        assert shlex.split(notice.command) == ["clew", "trace", notice.examples[0].trace_id]


def test_a_service_without_events_gets_a_command_that_a_shell_reads_as_one_query(bench: AlertBench) -> None:
    """What would end a quotation is left out of it."""
    box = Box("slack")
    for name in NAMES:
        bench.requests(4, failing=0.5, service=name)
    bench.connection.execute("DELETE FROM events")
    bench.evaluate()
    drain(bench.connection, box)

    assert len(box.notices) == len(NAMES)
    for notice, _ in box.notices:
        words = shlex.split(notice.command)
        assert words[:2] == ["clew", "logs"]
        assert words[3:] == ["--since", "1h"]
        assert words[2].count('"') == 2


def test_alerts_of_very_many_services_at_once_are_said_though_not_all_with_evidence(
    bench: AlertBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looking at events ends after a while, or a fault of everything would be reported when it is over."""
    monkeypatch.setattr("clew.alerts.evaluator.EVIDENCE_BUDGET_S", 0.0)
    box = Box("slack")
    for number in range(5):
        bench.requests(4, failing=0.5, service=f"service-{number}")
    bench.evaluate()
    drain(bench.connection, box)

    assert len(box.notices) == 5
    assert all("too long to give evidence" in notice.quality[-1] for notice, _ in box.notices)


@pytest.mark.timeout(240)
def test_ten_thousand_services_are_evaluated_within_an_interval(bench: AlertBench) -> None:
    """Of which one fails: it is found, and the others cost seconds, not minutes."""
    bench.connection.execute(
        """INSERT INTO rollups (minute, metric, service, environment, version, stage, model, label, "count", "sum")
        SELECT %(at)s::timestamptz - make_interval(mins => 1 + m), 'clew_requests_total', 'service-' || s, 'prod', '', '', '',
            CASE WHEN s = 4711 AND m < 6 THEN 'error' ELSE 'ok' END, 20, 20
        FROM generate_series(1, 10000) AS s, generate_series(0, 29) AS m""",
        {"at": BEGIN},
    )
    begun = time.monotonic()
    bench.evaluate()
    took = time.monotonic() - begun

    assert [alert.service for alert in bench.alerts().alerts] == ["service-4711"]
    assert took < 60, took
