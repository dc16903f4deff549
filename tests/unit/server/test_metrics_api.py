"""``/api/metrics``, over a store that the sink has filled."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from clew.catalog.series import ROLLUPS
from clew.ids import uuid7
from clew.measures.buckets import ERROR
from clew.sinks.base import Delivered
from clew.store.postgres.sink import PostgresSink
from support.metrics import NOW, batch, log, span, start

if TYPE_CHECKING:
    from support.fix_server import AskServer

MINUTE = NOW - NOW % 60
CALL = {"model": "gpt-x", "provider": "acme"}
TIMEOUT = {"type": "TimeoutError", "message": "no answer", "stack": ""}


def moment(seconds: float = 0.0) -> str:
    """Write a moment so many seconds after ``MINUTE``."""
    return (datetime.fromtimestamp(MINUTE, UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


SPAN = f"since={moment()}&until={moment(180)}"


def fill(dsn: str, *payloads: bytes) -> None:
    """Have the sink store events."""
    sink = PostgresSink(dsn)
    try:
        assert sink.deliver(batch(*payloads)) == Delivered()
    finally:
        sink.close()


def request(number: int, at: float = MINUTE, **told: Any) -> list[bytes]:
    """Tell a request."""
    id_ = uuid7(1_700_000_000_000_000_000 + number)
    return [start(id_, at=at), span(id_, at=at, **told)]


def series(answer: Any) -> dict[tuple[str, ...], list[dict[str, Any]]]:
    """Return the points of each series by its labels, without their moments."""
    assert answer.status_code == 200, answer.text
    return {
        tuple(one["labels"].values()): [{k: v for k, v in point.items() if k != "at"} for point in one["points"]]
        for one in answer.json()["series"]
    }


def test_requests_come_by_the_minute_with_those_that_failed(postgres: str, ask_server: AskServer) -> None:
    """Each step tells how many requests began in it, and which share of them failed."""
    events = [*request(1), *request(2, status="error", error=TIMEOUT), *request(3, MINUTE + 119)]
    fill(postgres, *events)

    answer = ask_server(postgres, f"/api/metrics/requests?{SPAN}")

    assert answer.json() == {
        "metric": "requests",
        "description": ROLLUPS["requests"].description,
        "since": moment(),
        "until": moment(180),
        "step_s": 60,
        "by": [],
        "quantile_error": None,
        "series": [
            {
                "labels": {},
                "points": [
                    {"at": moment(), "requests": 2, "errors": 1, "error_rate": 0.5},
                    {"at": moment(60), "requests": 1, "errors": 0, "error_rate": 0.0},
                ],
            }
        ],
        "left_out": 0,
    }


def test_steps_may_be_longer_than_a_minute(postgres: str, ask_server: AskServer) -> None:
    """The time range is widened to whole steps."""
    fill(postgres, *request(1), *request(2, MINUTE + 61))

    answer = ask_server(postgres, f"/api/metrics/requests?since={moment()}&until={moment(61)}&step=1d")

    assert series(answer) == {(): [{"requests": 2, "errors": 0, "error_rate": 0.0}]}
    assert answer.json()["since"].endswith("T00:00:00.000000Z")


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        ("service", {("rag-api",): 3, ("other-api",): 1}),
        ("version", {("1",): 2, ("2",): 1, ("",): 1}),
        ("service,version", {("rag-api", "1"): 2, ("rag-api", "2"): 1, ("other-api", ""): 1}),
        ("status", {("ok",): 3, ("error",): 1}),
    ],
)
def test_series_are_told_apart_by_what_is_asked_for(
    postgres: str, ask_server: AskServer, by: str, expected: dict[tuple[str, ...], int]
) -> None:
    """Dimensions, and the label that the metric has."""
    fill(
        postgres,
        *request(1, version="1"),
        *request(2, version="1"),
        *request(3, version="2"),
        *request(4, service="other-api", status="error", error=TIMEOUT),
    )

    answer = ask_server(postgres, f"/api/metrics/requests?{SPAN}&by={by}")

    assert {labels: points[0]["requests"] for labels, points in series(answer).items()} == expected


def test_only_what_is_asked_for_counts(postgres: str, ask_server: AskServer) -> None:
    """Dimensions can be fixed."""
    fill(postgres, *request(1, version="1"), *request(2, version="2"))

    answer = ask_server(postgres, f"/api/metrics/requests?{SPAN}&version=2&service=rag-api")

    assert series(answer)[()][0]["requests"] == 1
    assert series(ask_server(postgres, f"/api/metrics/requests?{SPAN}&version=3")) == {}


def test_latency_is_told_in_quantiles_that_are_off_by_the_stated_error(postgres: str, ask_server: AskServer) -> None:
    """Of a thousand requests of 1 to 1000 ms, over two agents, the quantiles are those of the numbers."""
    events = [payload for n in range(1, 1001) for payload in request(n, metrics={"duration_ms": float(n)})]
    fill(postgres, *events)

    answer = ask_server(postgres, f"/api/metrics/latency?{SPAN}")

    (point,) = series(answer)[()]
    assert answer.json()["quantile_error"] == round(ERROR, 4)
    assert point["count"] == 1000
    assert point["mean_s"] == pytest.approx(0.5005)
    for name, true in (("p50_s", 0.5), ("p90_s", 0.9), ("p95_s", 0.95), ("p99_s", 0.99)):
        assert point[name] == pytest.approx(true, rel=ERROR + 0.001)


def test_a_call_that_is_told_by_a_log_and_a_span_counts_once(postgres: str, ask_server: AskServer) -> None:
    """Tokens and cost are those of the bill, by model."""
    used = {"tokens_in": 1000, "tokens_out": 200, "cost_usd": 0.0125}
    id_ = uuid7(1_700_000_000_000_000_000)
    fill(
        postgres,
        start(id_, at=MINUTE),
        log("token_usage_recorded", at=MINUTE, span_id=id_, stage="generation", context=CALL, metrics=used),
        span(id_, at=MINUTE, run_type="llm", stage="generation", context=CALL, metrics=used),
    )

    tokens = ask_server(postgres, f"/api/metrics/tokens?{SPAN}&by=model")
    cost = ask_server(postgres, f"/api/metrics/cost?{SPAN}&by=model,line")

    assert series(tokens) == {("gpt-x",): [{"tokens_in": 1000, "tokens_out": 200}]}
    assert series(cost) == {("gpt-x", "generation"): [{"cost_usd": 0.0125, "count": 1}]}


def test_each_metric_has_its_own_way_of_telling(postgres: str, ask_server: AskServer) -> None:
    """Scores, the cache, claims, errors and the rest come with what means something of them."""
    fill(
        postgres,
        *(log("cache_checked", at=MINUTE, context={"cache_hit": number % 4 == 0}) for number in range(8)),
        *(
            log("score_computed", at=MINUTE, context={"metric_name": name}, metrics={"score": score})
            for name, score in (("faithfulness", 1.0), ("faithfulness", 0.5), ("answer_relevancy", 0.25))
        ),
        log("score_computed", at=MINUTE, context={"metric_name": "x", "claim_count": 5, "unsupported_count": 2}),
        log("search_failed", at=MINUTE, stage="retrieval", error=TIMEOUT),
        log("quality_tier_assigned", at=MINUTE, context={"quality_tier": "high"}),
        log("issue_detected", at=MINUTE, context={"issue": "off_topic"}),
        log("first_token_received", at=MINUTE, context=CALL, metrics={"time_to_first_token_ms": 1000}),
        log("generation_complete", at=MINUTE, context=CALL, metrics={"duration_ms": 2000}),
        log("parsing_complete", at=MINUTE, stage="ingestion", metrics={"duration_ms": 500}),
    )

    def ask(name: str, by: str = "") -> Any:
        return series(ask_server(postgres, f"/api/metrics/{name}?{SPAN}&by={by}"))

    assert ask("cache") == {(): [{"lookups": 8, "hits": 2, "hit_rate": 0.25}]}
    assert ask("hallucinations") == {(): [{"claims": 5, "unsupported": 2, "unsupported_rate": 0.4}]}
    assert ask("errors", "stage,error_type") == {("retrieval", "TimeoutError"): [{"errors": 1}]}
    assert ask("answers", "quality_tier") == {("high",): [{"answers": 1}]}
    assert ask("issues", "issue") == {("off_topic",): [{"issues": 1}]}
    assert ask("first_token", "model")["gpt-x",][0]["mean_s"] == 1.0
    assert ask("calls", "model")["gpt-x",][0]["mean_s"] == 2.0
    assert ask("steps", "message")["parsing_complete",][0]["count"] == 1
    assert ask("overflow") == {}
    scores = ask("scores")
    assert scores["faithfulness",][0]["mean"] == 0.75
    assert scores["faithfulness",][0]["p10"] == pytest.approx(0.5, rel=ERROR)
    assert set(scores) == {("faithfulness",), ("answer_relevancy",)}


def test_the_series_with_most_in_them_come_first(postgres: str, ask_server: AskServer) -> None:
    """What the limit leaves out is counted."""
    fill(postgres, *(payload for n in range(6) for payload in request(n, version=str(n // 2 % 2 + n // 4))))

    answer = ask_server(postgres, f"/api/metrics/requests?{SPAN}&by=version&limit=1")

    assert series(answer) == {("1",): [{"requests": 4, "errors": 0, "error_rate": 0.0}]}
    assert answer.json()["left_out"] == 1


@pytest.mark.parametrize(
    ("path", "status", "told"),
    [
        ("nonsense", 404, "there is no metric 'nonsense'"),
        ("requests?by=user", 400, "requests cannot be split by 'user'"),
        ("requests?step=90s", 400, "step is '90s', which is not whole minutes"),
        ("requests?step=0", 400, "step is '0'"),
        ("requests?step=x", 400, "step is 'x'"),
        ("requests?since=someday", 400, "since is 'someday'"),
        ("requests?since=1h&until=2h", 400, "since is not before until"),
        ("requests?since=7d", 400, "that would be 10,081 steps"),
        ("requests?since=24h&limit=100", 400, "points is the most"),
        ("requests?limit=0", 400, "limit is 0, which is out of range"),
        ("requests?limit=201", 400, "limit is 201, which is out of range"),
        ("requests?until=0001-01-01", 400, "until is 0001-01-01T00:00:00.000000Z, and nothing is before"),
        ("requests?since=9999-12-31T23:59:00Z&until=9999-12-31T23:59:59Z", 400, "beyond the years"),
        ("requests?service=%00", 400, "service contains a NUL character"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    postgres: str, ask_server: AskServer, path: str, status: int, told: str
) -> None:
    """Each mistake has its own words."""
    answer = ask_server(postgres, f"/api/metrics/{path}")

    assert answer.status_code == status
    assert told in answer.json()["error"]["message"]


def test_without_times_the_last_hour_is_meant(postgres: str, ask_server: AskServer) -> None:
    """The shortest question has an answer, as long as it is."""
    answer = ask_server(postgres, "/api/metrics/latency").json()

    hours = datetime.fromisoformat(answer["until"]) - datetime.fromisoformat(answer["since"])
    assert timedelta(minutes=60) <= hours <= timedelta(minutes=62)
    assert answer["series"] == []
