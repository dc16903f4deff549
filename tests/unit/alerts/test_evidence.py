"""What is found about an alert in a real store: who is affected, which traces to look at, the cause so far, what changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from clew import clock
from clew.alerts.evidence import suggestion
from clew.alerts.notice import first_line
from clew.alerts.rules_file import default_rules, parse_rules
from clew.store.postgres.alerts.evidence import ErrorGroup, SlowStep
from clew.store.postgres.connect import connect
from clew.testing import FakeClock
from support.alert_bench import BEGIN, AlertBench, Box, drain
from support.metrics import log, span

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from clew.alerts.notice import Notice


@pytest.fixture
def bench(postgres: str, tmp_path: Path) -> Iterator[AlertBench]:
    """Give a store to evaluate."""
    with connect(postgres) as connection, FakeClock(BEGIN) as time:
        made = AlertBench(postgres, connection, tmp_path, time)
        yield made
        made.sink.close()


def only(rule: str, text: str = "") -> Any:
    """Return rules of which one is evaluated."""
    off = "".join(f"  {name}: {{enabled: false}}\n" for name in default_rules().rules if name != rule)
    return parse_rules(f"rules:\n  {rule}: {{{text}}}\n{off}", source="test", base=default_rules())


def said(bench: AlertBench) -> list[Notice]:
    """Evaluate; return what is notified."""
    box = Box("slack")
    bench.evaluate()
    drain(bench.connection, box)
    return [notice for notice, _ in box.notices]


def of_request(at: float, took_ms: float, **more: Any) -> list[bytes]:
    """Make a request with a search and a call to a model in it, of which *more* is reported."""
    trace, root, search, call = (str(uuid4()) for _ in range(4))
    common: dict[str, Any] = {"trace_id": trace, "user_id": f"user-{trace[:1]}", "environment": "prod"}
    common |= {key: more.pop(key) for key in ("version", "session_id", "service") if key in more}
    failed = {key: more.pop(key) for key in ("status", "error") if key in more}
    context = {"model": "gpt-4o", "provider": "openai", **more}
    model = {"run_type": "llm", "stage": "generation", "message": "answer", "context": context}
    retriever = {"run_type": "retriever", "stage": "retrieval", "message": "search_index"}
    return [
        span(search, root, at, metrics={"duration_ms": took_ms * 0.8}, **retriever, **common),
        span(call, root, at, metrics={"duration_ms": took_ms * 0.1}, **model, **common, **failed),
        span(root, None, at, metrics={"duration_ms": took_ms}, **common, **failed),
    ]


def minutes(bench: AlertBench, number: int, make: Any, a_minute: int = 20) -> None:
    """Let minutes pass in which *make* makes the events of each request by its moment and place."""
    for _ in range(number):
        begin = clock.now().timestamp()
        bench.deliver([event for place in range(a_minute) for event in make(begin + 60 * place / a_minute, place)])
        bench.wait(minutes=1)


def test_the_slow_step_the_worst_a_typical_and_a_good_trace_are_named(bench: AlertBench) -> None:
    """Latency: the step that makes slow traces slow, with the time it takes in others."""
    bench.rules = only("latency")
    minutes(bench, 6, lambda at, _: of_request(at, 500.0))
    minutes(bench, 5, lambda at, place: of_request(at, 9000.0 if place == 7 else 4000.0 if place % 2 else 500.0))

    [notice] = said(bench)

    by_role = {example.role: example.text for example in notice.examples}
    assert notice.examples[0].role == "worst"
    assert by_role == {"worst": "9.00 s", "typical": "4.00 s", "good": "0.50 s"}
    assert notice.cause == "search_index 0.40 s → 3.60 s"
    assert any("search_index in retrieval makes up 89%" in line for line in notice.evidence)
    assert "Look at search_index in retrieval" in notice.action


def test_the_end_says_what_is_usual_too(bench: AlertBench) -> None:
    """Whoever reads only that one compares as well."""
    bench.rules = only("error_rate")
    bench.requests(20)
    bench.requests(4, failing=0.5)
    bench.evaluate()
    for _ in range(30):
        bench.requests(1)
        bench.evaluate()

    notices = said(bench)

    assert [notice.kind for notice in notices] == ["firing", "resolved"]
    assert [notice.baseline for notice in notices] == [0.0, 0.0]


def test_the_provider_of_a_model_that_fails_is_named(bench: AlertBench) -> None:
    """In the first line, and in the evidence beside its model."""
    bench.rules = only("provider_outage")
    failed = {"status": "error", "error": {"type": "InternalServerError", "message": "503"}}
    minutes(bench, 10, lambda at, _: of_request(at, 500.0))
    minutes(bench, 5, lambda at, place: of_request(at, 500.0, **(failed if place % 2 else {})))

    [notice] = said(bench)

    assert (notice.subject, notice.severity) == ("gpt-4o", "critical")
    assert notice.cause.startswith("openai InternalServerError ")
    assert "openai InternalServerError" in first_line(notice)
    assert any("(gpt-4o at openai)" in line for line in notice.evidence)


def test_a_change_of_the_version_before_it_began_is_named(bench: AlertBench) -> None:
    """With how long before; one that nobody changed is not."""
    bench.rules = only("error_rate")
    bench.requests(20, version="v1")
    bench.requests(3, version="v2")
    bench.requests(5, version="v2", failing=0.5)

    [notice] = said(bench)

    assert notice.deploy.startswith("version v2 at 21:20, ")
    assert notice.deploy.endswith(("2 min before", "3 min before"))


def test_users_and_sessions_that_are_affected_are_counted(bench: AlertBench) -> None:
    """One user with most of it is named."""
    bench.rules = only("error_rate")
    failed = {"status": "error", "error": {"type": "TimeoutError", "message": "no answer"}}
    bench.requests(10)
    minutes(
        bench,
        4,
        lambda at, place: of_request(at, 500.0, session_id=f"s{place}", **(failed if place in {1, 2, 3} else {})),
    )

    [notice] = said(bench)

    assert notice.affected_sessions == 3
    assert notice.affected_users is not None
    assert notice.affected_users > 1


def test_scores_of_a_judge_raise_an_alert_of_unsupported_answers(bench: AlertBench) -> None:
    """Where answers are scored and no issues are reported, as by LangSmith; the judge is said to be uncalibrated."""
    bench.rules = only("unsupported_answers")

    def scored(at: float, place: int) -> list[bytes]:
        events = of_request(at, 500.0)
        trace = str(uuid4())
        context = {"metric_name": "faithfulness"}
        more = {"trace_id": trace, "environment": "prod", "user_id": f"user-{place}", "stage": "evaluation"}
        score = {"score": 0.1 if place % 2 else 0.9}
        return [*events, log("score_computed", at, context=context, metrics=score, **more)]

    minutes(bench, 20, scored)
    bench.evaluate()
    minutes(bench, 2, scored)

    [notice] = said(bench)

    assert notice.rule == "unsupported_answers"
    assert notice.value == pytest.approx(0.5, abs=0.05)
    assert any("uncalibrated judge" in text for text in notice.quality)
    assert notice.examples


def test_a_calibrated_judge_is_corrected_and_nothing_is_said_of_it(bench: AlertBench) -> None:
    """With sensitivity 0.9 and specificity 0.7 half of the answers being called unsupported means a third."""
    judge = "calibration: {sensitivity: 0.9, specificity: 0.7, positives: 2000, negatives: 2000}"
    bench.rules = only("unsupported_answers", judge)

    def scored(at: float, place: int) -> list[bytes]:
        more = {"trace_id": str(uuid4()), "environment": "prod", "user_id": f"user-{place}", "stage": "evaluation"}
        context = {"metric_name": "faithfulness"}
        return [log("score_computed", at, context=context, metrics={"score": 0.1 if place % 2 else 0.9}, **more)]

    minutes(bench, 30, scored)
    bench.evaluate()
    minutes(bench, 2, scored)

    [notice] = said(bench)

    assert notice.value == pytest.approx((0.5 + 0.7 - 1) / (0.9 + 0.7 - 1), abs=0.01)
    assert not any("uncalibrated" in text for text in notice.quality)


def test_a_new_error_of_one_session_is_not_said_and_one_of_two_is(bench: AlertBench) -> None:
    """One client that sends nonsense makes errors that nobody has seen, and no alert."""
    bench.rules = only("new_error")
    minutes(bench, 5, lambda at, _: of_request(at, 500.0))
    bench.wait(minutes=120)

    def failing(kind: str, sessions: int) -> Any:
        error = {"type": kind, "message": "what is that"}
        return lambda at, place: of_request(
            at,
            500.0,
            **({"session_id": f"s{place % sessions}", "status": "error", "error": error} if place < 6 else {}),
        )

    minutes(bench, 3, failing("StrangeError", 1))
    assert said(bench) == []
    minutes(bench, 3, failing('it\'s "odd" 💥', 2))

    [notice] = said(bench)

    assert notice.subject == 'it\'s "odd" 💥 in generation'
    assert notice.affected_sessions == 2
    assert len(notice.examples) >= 2


def test_errors_of_the_first_hour_of_a_service_are_not_new_when_it_is_over(bench: AlertBench) -> None:
    """To a service that is new every error is: an hour later that is still so of those that it began with."""
    bench.rules = only("new_error")
    bench.requests(20)
    bench.requests(3, failing=0.5)
    bench.requests(39)
    for _ in range(10):
        bench.requests(1)
        bench.evaluate()

    assert bench.alerts().alerts == []


def test_sums_without_events_raise_an_alert_all_the_same(bench: AlertBench) -> None:
    """Events may be erased, or kept for less long than sums: nobody can say then that it is one session only."""
    bench.rules = only("error_rate")
    bench.requests(10)
    bench.requests(4, failing=0.5)
    bench.connection.execute("DELETE FROM events")

    [notice] = said(bench)

    assert (notice.rule, notice.examples) == ("error_rate", ())
    assert notice.command == "clew logs 'service:\"rag-api\"' --since 1h"


@pytest.mark.parametrize(
    ("kind", "message", "word"),
    [
        ("RateLimitError", "429", "concurrency"),
        ("APIError", "You exceeded your current quota: insufficient_quota", "Top up"),
        ("AuthenticationError", "401", "key"),
        ("ReadTimeout", "", "timeout"),
        ("ConnectError", "name resolution failed: dns", "reach"),
        ("InternalServerError", "overloaded", "another model"),
        ("BadRequestError", "maximum context length is 8192", "prompt is too long"),
        ("JSONDecodeError", "Expecting value", "form of the answer"),
        ("ZeroDivisionError", "", "newest trace"),
    ],
)
def test_what_is_suggested_fits_the_error(kind: str, message: str, word: str) -> None:
    """By its type and its message."""
    assert word in suggestion([ErrorGroup(kind, "generation", 3, message, None)], None, "error_rate")


def test_what_is_suggested_without_an_error() -> None:
    """The slow step; else the traces; nothing where there are none."""
    step = SlowStep("retrieval", "search", 900.0, 100.0, 0.9)

    assert "search in retrieval" in suggestion([], step, "latency")
    assert suggestion([], None, "cache_miss") == "Look at the traces below"
    assert suggestion([], None, "store_full") == ""
