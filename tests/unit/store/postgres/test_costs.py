"""Costs out of the store: each counted once, by the same rule as in a trace."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import count
from random import Random
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import psycopg
import pytest

from clew.catalog.bill import COST_LINES
from clew.catalog.events import EVENTS
from clew.store.postgres.costs import KEYS, CostFilter, Costs, Key, fetch_costs
from clew.store.postgres.load import migrations, query
from clew.store.postgres.reading import read
from clew.store.postgres.traces import fetch_trace
from clew.store.postgres.upkeep.compaction import compact_ledger
from clew.store.postgres.upkeep.migrate import migrate
from clew.store.postgres.upkeep.recount import recount
from clew.store.postgres.upkeep.retention import Policy, enforce
from clew.store.trace_tree import AMOUNTS, Summary
from support.stored import make_event, store_events, store_open_span

if TYPE_CHECKING:
    from collections.abc import Iterable

NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)
DAY = CostFilter(since=NOON - timedelta(hours=1), until=NOON + timedelta(hours=1))


def ask(dsn: str, wanted: CostFilter = DAY, *, by: Key = "line", limit: int = 1000) -> Costs:
    """Ask the store for costs."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        return read(connection, fetch_costs(wanted, by=by, limit=limit))


def summary(dsn: str, trace_id: UUID) -> Summary:
    """Sum a trace up in the way of the trace page."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        return read(connection, fetch_trace(str(trace_id))).summary


class Story:
    """The events of one trace, told one after the other."""

    def __init__(self, at: datetime = NOON) -> None:
        self.trace_id = uuid4()
        self.events: list[dict[str, Any]] = []
        self._at = at
        self._seconds = count()

    def span(self, parent: UUID | None = None, *, metrics: dict[str, Any] | None = None, **values: Any) -> UUID:
        """Tell a span; return its id."""
        span_id = values.pop("span_id", None) or uuid4()
        self._tell(kind="span", span_id=span_id, parent_span_id=parent, status="ok", metrics=metrics or {}, **values)
        return span_id

    def log(self, message: str, span_id: UUID | None = None, **values: Any) -> None:
        """Tell a log; fields that are amounts are its metrics."""
        metrics = {name: values.pop(name) for name in AMOUNTS if name in values}
        stage = EVENTS[message].stage if message in EVENTS else "other"
        self._tell(message=message, span_id=span_id, metrics=metrics, **{"stage": stage, **values})

    def _tell(self, **values: Any) -> None:
        at = values.pop("at", self._at + timedelta(seconds=next(self._seconds)))
        self.events.append(make_event(at, trace_id=self.trace_id, **values))


def costs(parts: Iterable[Any]) -> dict[str, float | None]:
    """Return the cost of each part by its key, to the hundred millionth."""
    return {part.key: None if part.cost_usd is None else round(part.cost_usd, 8) for part in parts}


def request(user: str | None = "ann", *, model: str = "gpt-4o", cost: float = 0.02, at: datetime = NOON) -> Story:
    """Tell a request as an application with a span for each step tells it."""
    story = Story(at)
    root = story.span(user_id=user)
    search = story.span(root, stage="retrieval", run_type="retriever")
    story.log("hybrid_search_complete", search, context={"index_name": "docs"}, cost_usd=0.001, user_id=user)
    story.log("reranking_complete", search, context={"reranker": "rerank-v4"}, cost_usd=0.002, user_id=user)
    call = story.span(root, stage="generation", run_type="llm")
    used = {"tokens_in": 1000, "tokens_out": 200, "cost_usd": cost}
    story.log("token_usage_recorded", call, context={"model": model}, **used)
    story.log("generation_complete", call, context={"model": model}, **used)
    judged = story.span(root, stage="evaluation")
    for _ in range(3):
        story.log("score_computed", judged, context={"judge": "gpt-4o-mini"}, cost_usd=0.003)
    story.log("metrics_evaluated", judged, context={"judge": "gpt-4o-mini"}, cost_usd=0.009)
    return story


def test_each_cost_stands_on_one_line(postgres: str) -> None:
    """Search and reranking in one span are two costs; what repeats another event is none."""
    store_events(postgres, *request().events)

    found = ask(postgres)

    assert costs(found.costs) == {"generation": 0.02, "judge": 0.009, "reranking": 0.002, "vector_store": 0.001}
    assert costs([found.total]) == {"": 0.032}
    assert found.unpriced == []


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        ("stage", {"retrieval": 0.006, "generation": 0.06, "evaluation": 0.018}),
        ("model", {"gpt-4o": 0.02, "gpt-5": 0.04, "gpt-4o-mini": 0.018, "rerank-v4": 0.004, "docs": 0.002}),
        ("user", {"ann": 0.032, "": 0.052}),
        ("service", {"rag-api": 0.084}),
        ("day", {"2026-07-01": 0.084}),
        ("hour", {"2026-07-01T12:00Z": 0.084}),
    ],
)
def test_costs_are_told_by_what_is_asked_for(postgres: str, by: Key, expected: dict[str, float]) -> None:
    """An event that names no user belongs to the one that its trace names."""
    store_events(postgres, *request().events, *request(None, model="gpt-5", cost=0.04).events)

    found = ask(postgres, by=by)

    assert costs(found.costs) == expected
    assert (found.total.requests, found.total.calls) == (2, 12)  # of equal amounts the scores count, not their sum
    assert (found.total.tokens_in, found.total.tokens_out) == (2000, 400)


def test_days_and_hours_are_in_the_order_of_time(postgres: str) -> None:
    """A bill is read from its beginning."""
    for hours, cost in ((2, 0.01), (0, 0.02), (1, 0.03)):
        store_events(postgres, *request(cost=cost, at=NOON + timedelta(hours=hours)).events)
    wanted = CostFilter(since=NOON, until=NOON + timedelta(hours=4))

    found = ask(postgres, wanted, by="hour")
    newest = ask(postgres, wanted, by="hour", limit=2)

    assert [part.key for part in found.costs] == ["2026-07-01T12:00Z", "2026-07-01T13:00Z", "2026-07-01T14:00Z"]
    assert [part.key for part in newest.costs] == ["2026-07-01T13:00Z", "2026-07-01T14:00Z"]
    assert newest.total == found.total


def test_costs_of_one_user_or_service(postgres: str) -> None:
    """What does not belong to them is neither listed nor in the total."""
    other = request("bob", cost=0.5)
    for event in other.events:
        event["service"] = "billing"
    store_events(postgres, *request().events, *other.events)

    of_ann = ask(postgres, CostFilter(since=DAY.since, until=DAY.until, user_id="ann"))
    of_billing = ask(postgres, CostFilter(since=DAY.since, until=DAY.until, service="billing"))

    assert costs([of_ann.total]) == {"": 0.032}
    assert costs([of_billing.total]) == {"": 0.512}


def test_a_price_that_is_unknown_is_counted_not_zero(postgres: str) -> None:
    """By model: how many calls have no price, and what they used."""
    story = Story()
    for model in ("llama-of-ours", "llama-of-ours", "other"):
        call = story.span(stage="generation", run_type="llm")
        context = {"model": model, "price_source": "unknown"}
        story.log("token_usage_recorded", call, context=context, tokens_in=100, tokens_out=10)
    store_events(postgres, *story.events)

    found = ask(postgres)

    assert [(part.key, part.calls, part.tokens_in, part.cost_usd) for part in found.unpriced] == [
        ("llama-of-ours", 2, 200, None),
        ("other", 1, 100, None),
    ]
    assert (found.total.cost_usd, found.total.unpriced_calls) == (None, 3)


@pytest.mark.parametrize("days", [0, 2])
def test_tokens_in_a_span_and_their_cost_in_its_log_have_a_price(postgres: str, days: int) -> None:
    """The span names no model and so has no price; the log has it. By events and by the ledger nothing is without a price."""
    story = Story(NOON)
    unknown = {"price_source": "unknown"}
    call = story.span(run_type="llm", metrics={"tokens_in": 100, "tokens_out": 20}, context=unknown)
    story.log("token_usage_recorded", call, cost_usd=0.02)
    story.span(run_type="llm", metrics={"tokens_in": 7}, context=unknown)  # of this one nobody knows the price
    store_events(postgres, *story.events)

    found = ask(postgres, CostFilter(since=NOON - timedelta(days=days), until=NOON + timedelta(days=days, hours=1)))

    assert (found.total.cost_usd, found.total.tokens_in, found.total.tokens_out) == (0.02, 107, 20)
    assert found.total.unpriced_calls == 1


def test_each_part_of_a_trace_counts_where_it_stands(postgres: str) -> None:
    """The log of the use counts in its hour, the remainder of the span around it in the hour that this began in."""
    story = Story(NOON - timedelta(minutes=5))
    root = story.span(metrics={"cost_usd": 1.0}, run_type="chain")
    story.log("token_usage_recorded", root, cost_usd=0.9, at=NOON + timedelta(minutes=5))
    store_events(postgres, *story.events)

    late = ask(postgres, CostFilter(since=NOON, until=NOON + timedelta(hours=1)))
    whole = ask(postgres)

    assert (late.total.cost_usd, whole.total.cost_usd) == (0.9, 1.0)
    assert costs(whole.costs) == {"generation": 0.9, "other": 0.1}


def test_an_event_without_a_trace_counts_by_itself(postgres: str) -> None:
    """A batch job that nobody traced costs money too."""
    events = [
        make_event(NOON, message="embedding_complete", stage="ingestion", metrics={"cost_usd": 0.5, "tokens_in": 7})
        for _ in range(2)
    ]
    store_events(postgres, *events)

    found = ask(postgres)

    assert costs(found.costs) == {"embedding": 1.0}
    assert (found.total.calls, found.total.requests, found.total.tokens_in) == (2, 0, 14)


def test_a_month_costs_the_same_before_and_after_retention(postgres: str) -> None:
    """Whole days come from the ledger: what is thinned out or added up changes no sum."""
    now = datetime.now(UTC)
    for days in (1, 9, 12, 20):
        for number in range(4):
            at = now.replace(hour=12) - timedelta(days=days)
            store_events(postgres, *request(f"user-{number}", cost=0.01 * number, at=at).events)
    month = CostFilter(since=now - timedelta(days=30), until=now)
    keys: tuple[Key, ...] = ("line", "model", "user", "day", "version")
    before = {by: ask(postgres, month, by=by) for by in keys}

    with psycopg.connect(postgres, autocommit=True) as connection:
        list(compact_ledger(connection, now))
        list(enforce(connection, Policy(sample=0.0), now))
        left = connection.execute("SELECT count(*) FROM events WHERE kind = 'log'").fetchall()
    after = {by: ask(postgres, month, by=by) for by in before}

    assert left == [(4 * 8,)]  # of yesterday
    for by, costs_before in before.items():
        assert costs(after[by].costs) == costs(costs_before.costs), by
        assert after[by].total.requests == costs_before.total.requests == 16
    assert costs([before["day"].total]) == {"": round(16 * 0.012 + 4 * 0.06, 8)}


@pytest.mark.parametrize("is_added_up", [False, True], ids=["as it came", "added up"])
def test_a_line_that_two_models_used_is_of_one_request(postgres: str, *, is_added_up: bool) -> None:
    """By model each counts the request, by line and by user it counts once, of a user by model as well."""
    story = Story()
    root = story.span(user_id="ann")
    for model in ("gpt-4o", "gpt-5", None):
        story.log("token_usage_recorded", root, context={"model": model}, user_id="ann", cost_usd=0.01, tokens_in=7)
    store_events(postgres, *story.events, *request("ann").events, *request("bob").events)
    days = CostFilter(since=NOON - timedelta(days=2), until=NOON + timedelta(days=2))
    ann = CostFilter(since=days.since, until=days.until, user_id="ann")
    if is_added_up:
        with psycopg.connect(postgres, autocommit=True) as connection:
            list(compact_ledger(connection))

    def requests(wanted: CostFilter, by: Key) -> dict[str, int]:
        found = ask(postgres, wanted, by=by)
        return {"total": found.total.requests, **{part.key: part.requests for part in found.costs}}

    judged = {"judge": 2, "reranking": 2, "vector_store": 2}
    assert requests(days, "line") == {"total": 3, "generation": 3, **judged}
    assert requests(days, "user") == {"total": 3, "ann": 2, "bob": 1}
    assert requests(ann, "line") == {"total": 2, "generation": 2, **dict.fromkeys(judged, 1)}
    assert requests(ann, "model") == {
        "total": 2, "gpt-4o": 2, "gpt-5": 1, "": 1, "gpt-4o-mini": 1, "rerank-v4": 1, "docs": 1
    }  # fmt: skip


def test_a_ledger_of_before_keeps_its_numbers(empty_postgres: str) -> None:
    """Requests of a day, a user or a line with one model stay; where models share a line, the greatest number counts."""
    of_before = [("", "", "", 0, 5), ("generation", "generation", "a", 5, 4), ("generation", "generation", "b", 3, 3)]
    with psycopg.connect(empty_postgres, autocommit=True) as connection:
        connection.execute(query("migrations_create"))
        for step in migrations()[:14]:
            connection.execute(step.sql)
            connection.execute(query("migrations_record"), [step.name])
        for user in ("ann", "bob"):
            connection.cursor().executemany(
                "INSERT INTO ledger (day, service, environment, version, user_id, is_unpriced, cost_usd, is_whole,"
                " stage, line, model, calls, requests)"
                " VALUES ('2026-07-01', 'rag-api', '', '', %s, false, 0.5, true, %s, %s, %s, %s, %s)",
                [(user, *row) for row in of_before],
            )
    migrate(empty_postgres)

    whole = CostFilter(since=NOON - timedelta(days=2), until=NOON + timedelta(days=2))
    parts = {by: ask(empty_postgres, whole, by=by).costs for by in ("user", "model", "line")}

    found = {by: {part.key: part.requests for part in some} for by, some in parts.items()}
    assert found == {"user": {"ann": 5, "bob": 5}, "model": {"a": 8, "b": 6}, "line": {"generation": 8}}
    assert ask(empty_postgres, whole).total.requests == 10


def test_what_was_stored_before_is_counted_by_a_job(postgres: str) -> None:
    """Events without a verdict get one, and the ledger their sums; who is interrupted goes on, and none counts twice."""
    odd = {"text": 'C:\\new "day"\n\té \\x'}
    error = {"type": "E", "message": 'a "b"', "stack": 'File "C:\\srv\\rag.py", line 1\n'}
    loose = make_event(NOON, message="told", metrics={"cost_usd": 0.5}, context=odd, error=error)
    story = request()
    story.span(context=odd, error=error)
    store_events(postgres, *story.events, loose)
    wanted = CostFilter(since=NOON.replace(hour=0), until=NOON.replace(hour=0) + timedelta(days=1))
    rows, days = ask(postgres), ask(postgres, wanted)
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(
            "UPDATE events SET counted_cost_usd = NULL, counted_tokens_in = NULL, counted_tokens_out = NULL,"
            " paid_stage = NULL, paid_line = NULL, paid_model = NULL, is_request = NULL, is_failure = NULL"
        )
        connection.execute("TRUNCATE ledger")
        connection.execute("INSERT INTO recounts (day) VALUES (%s)", [NOON.date()])
        next(iter(recount(connection)))
        list(recount(connection))
        assert list(recount(connection)) == []

    assert ask(postgres) == rows
    assert ask(postgres, wanted) == days
    assert costs([days.total]) == {"": 0.532}


def test_nothing_was_spent(postgres: str) -> None:
    """An empty range has a total: of nothing known."""
    found = ask(postgres)

    assert (found.costs, found.unpriced) == ([], [])
    assert (found.total.cost_usd, found.total.calls) == (None, 0)


@pytest.mark.parametrize("seed", range(4))
def test_any_trace_comes_to_what_its_own_page_says(postgres: str, seed: int) -> None:
    """Trees of any shape, with costs told anywhere and any number of times, running and lost parents among them."""
    rng = Random(seed)
    stories = [random_story(rng, postgres) for _ in range(60)]
    store_events(postgres, *(event for story in stories for event in story.events))

    found = {part.key: part for part in ask(postgres, by="trace").costs}
    total = ask(postgres).total

    sums = dict.fromkeys(AMOUNTS, 0.0)
    for story in stories:
        expected, part = summary(postgres, story.trace_id), found.get(str(story.trace_id))
        for amount in AMOUNTS:
            told = getattr(expected, amount)
            assert getattr(part, amount, None) == (None if told is None else pytest.approx(told)), (amount, expected)
            sums[amount] += told or 0
    assert sums == pytest.approx({amount: getattr(total, amount) for amount in AMOUNTS})


@pytest.mark.parametrize("by", KEYS)
def test_the_parts_come_to_the_total(postgres: str, by: Key) -> None:
    """However costs are told apart, nothing is left out."""
    rng = Random(by)
    store_events(postgres, *(event for _ in range(40) for event in random_story(rng, postgres).events))

    found = ask(postgres, by=by)

    assert sum(part.cost_usd or 0 for part in found.costs) == pytest.approx(found.total.cost_usd)
    assert sum(part.tokens_in or 0 for part in found.costs) == pytest.approx(found.total.tokens_in)
    assert sum(part.calls for part in found.costs) == found.total.calls
    if by == "line":
        assert {part.key for part in found.costs} <= set(COST_LINES)


def random_story(rng: Random, dsn: str) -> Story:
    """Make up a trace."""
    story, spans = Story(), [uuid4() for _ in range(rng.randint(0, 8))]
    stages = ["ingestion", "retrieval", "generation", "evaluation", "other"]
    messages = [*EVENTS, "made_up", "summed_up"]
    story.log("query_received")

    def amounts(chance: float) -> dict[str, Any]:
        return {
            name: rng.choice([0, 1, 2, 3, 5, 8]) * (0.001 if name == "cost_usd" else 1)
            for name in AMOUNTS
            if rng.random() < chance
        }

    for number, span_id in enumerate(spans):
        parent = rng.choice([None, uuid4(), *spans[:number], *spans[:number], *spans[:number]])
        if rng.random() < 0.1:
            at = NOON + timedelta(milliseconds=number)
            store_open_span(dsn, make_event(at, trace_id=str(story.trace_id), span_id=str(span_id)) | _parent(parent))
            continue
        values: dict[str, Any] = {"stage": rng.choice(stages), "run_type": rng.choice(["chain", "llm", "retriever"])}
        for _ in range(1 if rng.random() < 0.95 else 2):
            story.span(parent, span_id=span_id, metrics=amounts(0.15), user_id=rng.choice([None, "ann"]), **values)
    for _ in range(rng.randint(0, 12)):
        message, values = rng.choice(messages), {"stage": rng.choice(stages)} if rng.random() < 0.3 else {}
        story.log(message, rng.choice([None, uuid4(), *spans]), context={"model": "m"}, **values, **amounts(0.7))
    return story


def _parent(parent: UUID | None) -> dict[str, Any]:
    return {} if parent is None else {"parent_span_id": str(parent)}


def test_spans_that_name_each_other_in_a_circle_count_once(postgres: str) -> None:
    """Damaged ids neither hang the question nor lose the cost: the oldest span is around the others."""
    story = Story()
    first, second = uuid4(), uuid4()
    story.span(second, span_id=first, metrics={"cost_usd": 2.0})
    story.span(first, span_id=second, metrics={"cost_usd": 1.0})
    store_events(postgres, *story.events)

    found = ask(postgres)

    assert found.total.cost_usd == summary(postgres, story.trace_id).cost_usd == 2.0
