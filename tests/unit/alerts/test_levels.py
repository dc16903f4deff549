"""What is no share, measured over a real store and a real spool: traffic, cost, new errors, documents, open spans, the pipeline."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from clew import clock, config
from clew.alerts.levels import Levels
from clew.alerts.rules import RuleSet, Target
from clew.alerts.rules_file import parse_rules
from clew.store.postgres.connect import connect
from clew.testing import FakeClock
from support.alert_bench import BEGIN, AlertBench

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from clew.alerts.measure import Measurement

HERE = Target("rag-api", "prod")
DAY = timedelta(days=1)


class Store:
    """Sums of a past, written into the store directly, and what levels measure of them now."""

    def __init__(self, bench: AlertBench, data: Path) -> None:
        self._bench = bench
        self._settings = config.load(data_dir=data, dsn=bench.dsn)

    def add(
        self,
        metric: str,
        minutes: range,
        number: int,
        *,
        total: float = 0.0,
        ago: timedelta = timedelta(0),
        **more: str,
    ) -> None:
        """Add *number* units to each of the minutes before now less *ago*."""
        values = {"service": HERE.service, "environment": HERE.environment, "stage": "", "label": "", **more}
        begin = clock.now() - ago
        for minute in minutes:
            self._bench.connection.execute(
                'INSERT INTO rollups (metric, minute, service, environment, stage, model, version, label, "count", "sum")'
                " VALUES (%s, date_trunc('minute', %s::timestamptz), %s, %s, %s, '', '', %s, %s, %s)",
                (metric, begin - timedelta(minutes=minute), values["service"], values["environment"], values["stage"],
                 values["label"], number, total),
            )  # fmt: skip

    def open_spans(self, number: int, *, age_s: float) -> None:
        """Store spans that have begun so long ago, and not ended."""
        self._bench.open_spans(number, age_s=age_s)

    def measure(self, rule: str) -> dict[Target, Measurement]:
        """Measure the one level that a default or own rule is about."""
        rules = parse_rules(f"rules: {{{rule}}}", source="test")
        with self._bench.connection.transaction():
            measured = Levels(self._settings).measure(RuleSet(rules.rules), self._bench.connection, clock.now())
        assert measured.failed == {}
        return {target: level for (_, target), level in measured.found.items()}


@pytest.fixture
def store(postgres: str, tmp_path: Path) -> Iterator[Store]:
    """Give a store without anything in it."""
    with connect(postgres) as connection, FakeClock(BEGIN) as time:
        bench = AlertBench(postgres, connection, tmp_path, time)
        yield Store(bench, tmp_path)
        bench.sink.close()


NO_DATA = "x: {signal: no_data, threshold: 0.1 %}"
COST = "x: {signal: cost_per_hour, threshold: 3, floor: $1}"
NEW_ERROR = "x: {signal: new_error, threshold: 2}"
STALE = "x: {signal: ingest_stale, threshold: 36h}"
REQUESTS = "clew_requests_total"


@pytest.mark.parametrize(
    ("now", "a_minute", "every", "is_bad"),
    [(0, 1, 1, True), (3, 1, 1, False), (20, 20, 1, True), (0, 1, 5, False), (190, 20, 1, False)],
)
def test_traffic_is_compared_with_that_of_a_week_ago(
    store: Store, now: int, a_minute: int, every: int, is_bad: bool
) -> None:
    """None at night, where little is usual, is no fault; so is little less than usual."""
    store.add(REQUESTS, range(1), 1, ago=2 * DAY)
    store.add(REQUESTS, range(-30, 40, every), a_minute, ago=7 * DAY)
    for minute in range(10):
        store.add(REQUESTS, range(minute, minute + 1), now // 10 + (minute < now % 10))

    measured = store.measure(NO_DATA)[HERE]

    assert measured.value == now
    assert measured.is_bad == is_bad, measured
    assert measured.baseline == pytest.approx(10 * a_minute / every, rel=0.1)
    assert measured.baseline_text == "the same time 7 days ago"


def test_a_service_that_is_new_is_not_missed(store: Store) -> None:
    """Two days have to be known."""
    store.add(REQUESTS, range(40, 90), 100)

    assert store.measure(NO_DATA) == {}


def test_cost_is_compared_with_the_same_hour_of_other_days(store: Store) -> None:
    """Three times the median; below the floor it never fires, and without two days nothing is usual."""
    cost = "clew_cost_usd_total"
    store.add(cost, range(60), 1, total=0.2)
    assert store.measure(COST) == {}
    for days in (1, 2, 3):
        store.add(cost, range(60), 1, total=0.05 * days, ago=days * DAY)

    [measured] = store.measure(COST).values()
    assert measured.value == pytest.approx(12.0)
    assert measured.baseline == pytest.approx(6.0)
    assert not measured.is_bad
    store.add(cost, range(60), 1, total=0.2, stage="generation")
    [measured] = store.measure(COST).values()
    assert measured.is_bad
    [measured] = store.measure(COST.replace("$1", "$30")).values()
    assert not measured.is_bad


def test_an_error_is_new_that_was_not_seen_for_a_week(store: Store) -> None:
    """By type and stage; one that came last week, and every one of a service that is new, is not."""
    errors = "clew_errors_total"
    store.add(errors, range(3), 1, label="KeyError", stage="retrieval")
    assert store.measure(NEW_ERROR) == {}

    store.add(REQUESTS, range(100, 101), 1)
    store.add(errors, range(3), 5, label="TimeoutError", stage="generation")
    store.add(errors, range(1), 1, label="TimeoutError", stage="generation", ago=6 * DAY)
    store.add(errors, range(1), 1, label="OSError", stage="ingestion")
    found = store.measure(NEW_ERROR)

    assert {target.subject: measured.is_bad for target, measured in found.items()} == {
        "KeyError in retrieval": True,
        "OSError in ingestion": False,
    }
    assert found[HERE._replace(subject="KeyError in retrieval")].value == 3


def test_documents_are_missed_of_services_that_store_some_on_most_days(store: Store) -> None:
    """Five of the last seven days; who ingests once a month is not missed."""
    documents = "clew_documents_total"
    for days in (2, 3, 4, 5):
        store.add(documents, range(1), 1, ago=days * DAY)
        store.add(documents, range(1), 1, ago=2 * DAY, service="monthly")
    assert store.measure(STALE) == {}
    store.add(documents, range(1), 1, ago=6 * DAY)

    measured = store.measure(STALE)
    assert measured.keys() == {HERE}
    assert measured[HERE].is_bad
    assert measured[HERE].value == pytest.approx(2 * 86_400, abs=120)
    store.add(documents, range(1), 1)
    assert not store.measure(STALE)[HERE].is_bad


def test_spans_hang_that_are_open_for_longer_than_their_kind_ever_is(store: Store) -> None:
    """More than two of them, older than the limit; what takes long as a rule does not hang."""
    hanging = "x: {signal: hanging_spans, limit: 60s, threshold: 2}"
    assert store.measure(hanging) == {}
    store.open_spans(3, age_s=600.0)

    [(target, measured)] = store.measure(hanging).items()
    assert (target, measured.value, measured.is_bad) == (HERE, 3.0, True)
    assert measured.text == "call the model has been open for 10 min"
    assert len(measured.trace_ids) == 3
    store.add("clew_stage_duration_seconds", range(1), 0, label="llm")
    assert store.measure("x: {signal: hanging_spans, limit: 20m, threshold: 2}") == {}


def test_the_heartbeat_is_always_there(store: Store) -> None:
    """When it stops, alerts are not evaluated or do not arrive."""
    [(target, measured)] = store.measure("x: {signal: heartbeat}").items()

    assert (target, measured.is_bad, measured.value) == (Target(), True, 1.0)
