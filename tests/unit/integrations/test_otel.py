"""Spans of the real OpenTelemetry SDK as spans of clew, nested both ways."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry import propagate, trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import Link, SpanContext, SpanKind, TraceFlags

import clew
from clew.integrations import otel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.fix_events import Emitted

pytest_plugins = ["support.fix_events"]

log = clew.get_logger()


@pytest.fixture(params=["their ids", "our ids"])
def tracer(request: pytest.FixtureRequest) -> Iterator[trace.Tracer]:
    """Give a tracer of a provider of its own, which is nowhere global, with either kind of ids."""
    provider = TracerProvider(id_generator=otel.ids() if request.param == "our ids" else None)
    provider.add_span_processor(otel.ClewSpanProcessor())
    yield provider.get_tracer("openinference.maze")
    provider.shutdown()


def test_a_span_is_told_whole(emitted: Emitted, tracer: trace.Tracer) -> None:
    """Attributes of a dialect become fields, events become logs, and ids are OpenTelemetry's."""
    attributes: dict[str, Any] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "acme-1",
        "gen_ai.usage.input_tokens": 7,
        "user.id": "u1",
    }
    with tracer.start_as_current_span("chat acme-1", kind=SpanKind.CLIENT, attributes=attributes) as span:
        span.add_event("cache checked", {"rag.cache.hit": True})
    context = span.get_span_context()

    told, inner, start = emitted.span("chat acme-1"), emitted.log("cache checked"), emitted("span_start")[0]

    assert told["trace_id"].replace("-", "") == f"{context.trace_id:032x}"
    assert told["span_id"].replace("-", "") == f"{context.span_id:032x}"
    assert (told["run_type"], told["stage"], told["status"], told["user_id"]) == ("llm", "generation", "ok", "u1")
    assert (told["context"]["model"], told["metrics"]["tokens_in"]) == ("acme-1", 7)
    assert told["metrics"]["duration_ms"] >= 0
    assert (told["logger"], start["span_id"], start["status"]) == ("openinference.maze", told["span_id"], "running")
    assert (inner["span_id"], inner["context"]["cache_hit"]) == (told["span_id"], True)


def test_children_stand_below_their_parents(emitted: Emitted, tracer: trace.Tracer) -> None:
    """The tree is OpenTelemetry's, whatever thread a span ends in."""
    with tracer.start_as_current_span("outer"):
        child = tracer.start_span("inner")
    thread = threading.Thread(target=child.end)
    thread.start()
    thread.join()

    outer, inner = emitted.span("outer"), emitted.span("inner")

    assert (inner["parent_span_id"], inner["trace_id"]) == (outer["span_id"], outer["trace_id"])
    assert "parent_span_id" not in outer


def test_a_span_inside_a_clew_span_is_its_child(emitted: Emitted, tracer: trace.Tracer) -> None:
    """Whatever trace id the SDK minted, all of it belongs to the clew trace that it began in."""
    with clew.trace_context(user_id="u1"), clew.span("answer") as above, tracer.start_as_current_span("chain"):
        child = tracer.start_span("call")
    child.end()

    answer, chain, call = (emitted.span(name) for name in ("answer", "chain", "call"))

    assert {span["trace_id"] for span in (answer, chain, call)} == {above.trace_id}
    assert (chain["parent_span_id"], call["parent_span_id"]) == (answer["span_id"], chain["span_id"])
    assert chain["user_id"] == "u1"


def test_with_our_ids_the_trace_id_is_the_same_on_both_sides(emitted: Emitted) -> None:
    """Headers that OpenTelemetry writes then lead back to the clew trace."""
    tracer = TracerProvider(id_generator=otel.ids()).get_tracer("t")
    with clew.span("answer") as above, tracer.start_as_current_span("call"):
        headers: dict[str, str] = {}
        propagate.inject(headers)

    assert above.trace_id is not None
    assert headers["traceparent"].split("-")[1] == above.trace_id.replace("-", "")
    assert emitted.span("answer")["trace_id"] == above.trace_id


def test_what_clew_emits_inside_belongs_to_their_span(emitted: Emitted, tracer: trace.Tracer) -> None:
    """Logs and spans in the block are below OpenTelemetry's current span; after it nothing is in force."""
    with tracer.start_as_current_span("chain"), otel.inside():
        log.info("index_checked")
        with clew.span("rank"):
            pass
    log.info("afterwards")

    chain = emitted.span("chain")

    assert emitted.log("index_checked")["span_id"] == chain["span_id"]
    assert emitted.span("rank")["parent_span_id"] == chain["span_id"]
    assert emitted.span("rank")["trace_id"] == chain["trace_id"]
    assert emitted.log("afterwards")["trace_id"] is None


def test_nesting_holds_through_all_layers(emitted: Emitted, tracer: trace.Tracer) -> None:
    """clew, OpenTelemetry, clew, OpenTelemetry: each is the child of the one around it, in one trace."""
    with clew.span("a"), tracer.start_as_current_span("b"), otel.inside(), clew.span("c"), otel.outside():
        tracer.start_span("d").end()

    a, b, c, d = (emitted.span(name) for name in "abcd")

    assert [one.get("parent_span_id") for one in (a, b, c, d)] == [None, a["span_id"], b["span_id"], c["span_id"]]
    assert len({one["trace_id"] for one in (a, b, c, d)}) == 1


def test_headers_written_outside_lead_to_the_clew_span(emitted: Emitted) -> None:
    """OpenTelemetry's propagator writes the ids of clew's current span, which clew reads again."""
    headers: dict[str, str] = {}
    with clew.span("answer") as span, otel.outside():
        propagate.inject(headers)
    propagated = dict(headers)
    propagate.inject(headers := {})

    assert span.trace_id is not None
    assert span.span_id is not None
    assert propagated["traceparent"] == f"00-{span.trace_id.replace('-', '')}-{span.span_id.replace('-', '')[16:]}-01"
    assert headers == {}
    assert emitted.span("answer")["status"] == "ok"


def test_a_failure_is_told_with_its_stack(emitted: Emitted, tracer: trace.Tracer) -> None:
    """What the SDK recorded of an exception is the span's error; one that was survived is a log."""
    with pytest.raises(KeyError), tracer.start_as_current_span("fails"):
        raise KeyError("a")
    with tracer.start_as_current_span("survives") as span:
        span.record_exception(ValueError("b"))
    with tracer.start_as_current_span("told") as span:
        span.set_status(trace.Status(trace.StatusCode.ERROR, "quota"))

    fails, survives, told = (emitted.span(name) for name in ("fails", "survives", "told"))

    assert (fails["status"], fails["level"], fails["error"]["type"]) == ("error", "ERROR", "KeyError")
    assert "test_otel.py" in fails["error"]["stack"]
    assert (survives["status"], survives.get("error"), emitted.log("ValueError")["level"]) == ("ok", None, "WARNING")
    assert (told["error"]["type"], told["error"]["message"]) == ("exception", "quota")


def test_links_and_remote_parents_are_kept(emitted: Emitted, tracer: trace.Tracer) -> None:
    """A caller's trace goes on here, and what a span is linked to stays with it."""
    remote = SpanContext(int("4bf92f3577b34da6a3ce929d0e0e4736", 16), 7, is_remote=True, trace_flags=TraceFlags(1))
    above = trace.set_span_in_context(trace.NonRecordingSpan(remote))
    tracer.start_span("served", context=above, links=[Link(remote)]).end()

    served = emitted.span("served")

    assert served["trace_id"] == "4bf92f35-77b3-4da6-a3ce-929d0e0e4736"
    assert served["parent_span_id"] == "00000000-0000-0000-0000-000000000007"
    assert served["context"]["links"][0]["trace_id"] == served["trace_id"]


def test_nothing_raises_into_the_application(emitted: Emitted) -> None:
    """A span that is not as the SDK promises is counted as lost, and the call goes through."""
    processor = otel.ClewSpanProcessor()

    processor.on_start(object())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    processor.on_end(object())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

    assert emitted("span") == []
    assert not processor.force_flush()  # not everything that was to be recorded is on the disk


def test_the_global_provider_stays_as_it_is() -> None:
    """Importing and using the bridge sets nothing global and imports OpenTelemetry only where it is used."""
    code = (
        "import sys; from clew.integrations import otel; otel.ClewSpanProcessor()\n"
        "assert 'opentelemetry' not in sys.modules\n"
        "from opentelemetry import trace\n"
        "from opentelemetry.sdk.trace import TracerProvider\n"
        "TracerProvider(id_generator=otel.ids()).add_span_processor(otel.ClewSpanProcessor())\n"
        "assert type(trace.get_tracer_provider()).__name__ == 'ProxyTracerProvider'\n"
    )

    ran = subprocess.run([sys.executable, "-c", code], env=os.environ, check=False, capture_output=True, text=True)

    assert ran.returncode == 0, ran.stderr


def test_a_span_that_was_not_sampled_tears_no_trace_apart(emitted: Emitted) -> None:
    """The sampler of OpenTelemetry decides about its spans; clew's logs and spans stay where they are."""
    provider = TracerProvider(sampler=ALWAYS_OFF)
    provider.add_span_processor(otel.ClewSpanProcessor())

    with clew.span("ask") as ask, provider.get_tracer("maze").start_as_current_span("left_out"), otel.inside():
        log.info("checked")
        with clew.span("search"):
            pass

    search, checked = emitted.span("search"), emitted.log("checked")

    assert (search["trace_id"], search["parent_span_id"]) == (ask.trace_id, ask.span_id)
    assert (checked["trace_id"], checked["span_id"]) == (ask.trace_id, ask.span_id)
    assert not emitted("span", "left_out")


def test_without_a_current_span_nothing_changes(emitted: Emitted) -> None:
    """``inside`` keeps what is in force, ``outside`` does nothing outside of a trace."""
    with clew.span("answer"), otel.inside():
        log.info("within")
    with otel.outside():
        assert not trace.get_current_span().get_span_context().is_valid

    assert emitted.log("within")["span_id"] == emitted.span("answer")["span_id"]
