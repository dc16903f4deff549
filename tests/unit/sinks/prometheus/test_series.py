"""Series: bounded, saved as they are, and told as Prometheus asks."""

from __future__ import annotations

import pytest
from msgspec import json

from clew.catalog.series import METRICS
from clew.sinks.prometheus.series import MAX_SERIES, Exemplar, SavedMetric, SeriesSet
from clew.sinks.prometheus.text import expose
from support.metrics import samples

TOKENS = "clew_llm_tokens_input_total"
LATENCY = "clew_request_duration_seconds"
TRACE = "550e8400e29b41d4a716446655440000"


def exemplar(value: float = 1.0, at: float = 1_795_000_000.0, trace: str = TRACE) -> Exemplar:
    """Make an exemplar."""
    return Exemplar(trace, "00f067aa0ba902b7", value, at)


def test_beyond_the_bound_open_labels_become_other() -> None:
    """Nothing is lost: the sum stays right, and what could not be told apart is counted."""
    series = SeriesSet()

    for number in range(MAX_SERIES + 20):
        series.add(TOKENS, ("rag-api", f"model-{number}"), 2)
    series.add(TOKENS, ("rag-api", "model-0"), 2)

    told = samples(series.families())
    assert told[f"{TOKENS}{{other,other}}"] == 40
    assert told[f"{TOKENS}{{rag-api,model-0}}"] == 4
    assert told[f"clew_metric_overflow_total{{{TOKENS}}}"] == 20
    assert sum(name.startswith(TOKENS) for name in told) == MAX_SERIES + 1


def test_labels_of_known_values_keep_them_beyond_the_bound() -> None:
    """An error is still told from a success when there are too many services."""
    series = SeriesSet()

    for number in range(MAX_SERIES):
        series.add("clew_requests_total", (f"service-{number}", "ok"), 1)
    series.add("clew_requests_total", ("one-more", "error"), 1)

    assert samples(series.families())["clew_requests_total{other,error}"] == 1


@pytest.mark.parametrize(("seconds", "edge"), [(2.0, "2.0"), (2.0001, "5.0"), (61.0, "+Inf"), (0.0, "0.005")])
def test_an_edge_belongs_to_its_bucket(seconds: float, edge: str) -> None:
    """Exactly two seconds are not more than two seconds, which is what is alerted on."""
    series = SeriesSet()

    series.add(LATENCY, ("rag-api",), seconds)

    told = samples(series.families())
    edges = [*map(str, METRICS[LATENCY].buckets), "+Inf"]
    first = next(e for e in edges if told[f"{LATENCY}_bucket{{rag-api,{e}}}"] == 1)
    assert first == edge


def test_a_negative_value_lowers_no_sum() -> None:
    """A score may be negative; a sum that falls would look like a restart."""
    series = SeriesSet()

    series.add("clew_retrieval_top_score", ("rag-api",), 0.5)
    series.add("clew_retrieval_top_score", ("rag-api",), -3.0)

    told = samples(series.families())
    assert told["clew_retrieval_top_score_sum{rag-api}"] == 0.5
    assert told["clew_retrieval_top_score_count{rag-api}"] == 2


def test_huge_values_make_no_sum_infinite() -> None:
    """Such a sum could not be written down, and would take all other counters with it at the next start."""
    series = SeriesSet()

    for _ in range(3):
        series.add("clew_cost_usd_total", ("rag-api", "generation", "generation", "m"), 1.7e308)

    assert samples(series.families())["clew_cost_usd_total{rag-api,generation,generation,m}"] == 3e15


def test_the_newest_exemplar_of_a_bucket_stays() -> None:
    """Prometheus refuses one that is older than what it has."""
    series = SeriesSet()
    newer, older = exemplar(0.003, 200.0, TRACE), exemplar(0.004, 100.0, "0" * 31 + "1")

    series.add(LATENCY, ("rag-api",), 0.003, newer)
    series.add(LATENCY, ("rag-api",), 0.004, older)

    text = expose(series.families(), "application/openmetrics-text").body.decode()
    line = next(line for line in text.splitlines() if 'le="0.005"' in line)
    assert line.endswith(f' 2.0 # {{span_id="00f067aa0ba902b7",trace_id="{TRACE}"}} 0.003 200.0')


def test_exemplars_are_told_in_openmetrics_only() -> None:
    """The older format has no place for them, and a scraper that asks for it still gets its numbers."""
    series = SeriesSet()
    series.add("clew_errors_total", ("rag-api", "retrieval", "TimeoutError"), 1, exemplar())

    plain, open_metrics = (expose(series.families(), accept).body for accept in (None, "application/openmetrics-text"))

    assert TRACE.encode() not in plain
    assert TRACE.encode() in open_metrics


def test_labels_are_safe_and_short() -> None:
    """A model's name comes from an application; whatever it is, the answer can be read."""
    series = SeriesSet()

    series.add(TOKENS, ("rag-api", 'a"b\n\\\ud800' + "x" * 1000), 1)
    series.add(TOKENS, ("rag-api", 'a"b\n\\\ud800' + "x" * 1000), 1)

    (line,) = [line for line in expose(series.families(), None).body.decode().splitlines() if not line.startswith("#")]
    assert line.startswith('clew_llm_tokens_input_total{model="a\\"b\\n\\\\?xxx')
    assert line.endswith('",service="rag-api"} 2.0')
    assert len(line) < 250


def test_what_was_saved_goes_on() -> None:
    """Values, buckets and exemplars are the same after a restart."""
    before, after = SeriesSet(), SeriesSet()
    before.add(LATENCY, ("rag-api",), 1.5, exemplar(1.5))
    before.add(TOKENS, ("rag-api", "gpt-x"), 100, exemplar(100))

    lost = after.restore(json.decode(json.encode(before.save()), type=dict[str, SavedMetric]))

    texts = [expose(each.families(), "application/openmetrics-text").body for each in (before, after)]
    assert lost == []
    assert texts[0] == texts[1]


def test_a_metric_that_is_declared_differently_begins_anew() -> None:
    """Its numbers mean something else now; the others go on."""
    before, after = SeriesSet(), SeriesSet()
    before.add(LATENCY, ("rag-api",), 1.5)
    before.add(TOKENS, ("rag-api", "gpt-x"), 100)
    saved = before.save()
    saved[LATENCY].buckets = (1.0, 2.0)
    saved["clew_gone_total"] = saved[TOKENS]

    lost = after.restore(saved)

    assert lost == [LATENCY, "clew_gone_total"]
    assert samples(after.families()) == {f"{TOKENS}{{rag-api,gpt-x}}": 100}
