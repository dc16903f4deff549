"""What the minute roll-ups cost the PostgreSQL sink: ``python -m benchmarks.bench_rollup``.

The same events are delivered by the sink as it is, and by one that adds nothing up, in turns, into databases of their
own on one embedded PostgreSQL: traces of a RAG service, most of whose events are measured (the dearest there are). They
are read from the spool and priced first, as a worker of the agent does. In batches of a backlog, and in small ones such
as a living service leaves. Told are medians of the ratio of neighbours, which noise on the machine touches alike, and
the processor time of this process; that of the server comes on top.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import clew
from benchmarks.bench_search import make_database
from benchmarks.machine import SCRATCH, describe
from clew.agent.pricing.enrich import Enricher
from clew.agent.pricing.prices import Prices
from clew.sinks.base import Batch, Delivered, Producer
from clew.spool.directory import new_producer_id, producer_directories
from clew.spool.format import Position
from clew.spool.reader import Reader
from clew.store.postgres.server import embedded
from clew.store.postgres.sink import PostgresSink
from clew.store.postgres.upkeep.migrate import migrate

if TYPE_CHECKING:
    from collections.abc import Iterable

    from clew.measures.counting import Followed

__all__ = ["main", "run"]

TRACES: Final = 1000
ROUNDS: Final = 25
SIZES: Final = (5000, 50)
SMALL_EVENTS: Final = 5000
HITS: Final = [{"chunk_id": f"c-{i}", "document_id": f"d-{i}", "rank": i, "score": 0.9 - i / 10} for i in range(5)]


class Nothing:
    """Stands in for ``Rollups`` and its ``Tally``, and adds nothing up."""

    def begin(self, producer: Followed) -> Nothing:
        """Begin a batch."""
        del producer
        return self

    def add(self, payloads: Iterable[bytes]) -> None:
        """Look at nothing."""

    def rows(self) -> list[tuple[Any, ...]]:
        """Return no rows."""
        return []


def run(*, rounds: int = ROUNDS) -> dict[str, Any]:
    """Measure.

    Returns:
        ``machine``; by batch size ``ratio`` (time with roll-ups through time without), ``events_s`` with and
        ``events_s_without``, ``cpu_us`` an event with and ``cpu_us_without``.
    """
    SCRATCH.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = {"machine": describe()}
    with tempfile.TemporaryDirectory(dir=SCRATCH) as place, embedded.start(Path(place) / "postgres") as server:
        directory = _emit(Path(place) / "data")
        sinks = {
            name: PostgresSink(make_database(server.dsn, f"rollup_{name}"), prepare=migrate)
            for name in ("with", "without")
        }
        sinks["without"]._rollups = Nothing()  # pyright: ignore[reportAttributeAccessIssue, reportPrivateUsage]
        for size in SIZES:
            times: dict[str, list[tuple[float, float]]] = {name: [] for name in sinks}
            for number in range(rounds + 1):
                for name in sorted(sinks, reverse=bool(number % 2)):
                    taken = _ship(sinks[name], directory, size, most=SMALL_EVENTS if size < 1000 else None)
                    times[name] += [taken] if number else []
            found[str(size)] = _summary(times)
    return found


def main() -> None:
    """Print what was found."""
    found = run()
    print(found["machine"])
    for size in SIZES:
        told = found[str(size)]
        print(
            f"batches of {size}: {told['events_s']:,.0f} events/s, without roll-ups {told['events_s_without']:,.0f}; "
            f"ratio {told['ratio']:.3f} ({told['ratio_low']:.3f} to {told['ratio_high']:.3f}); "
            f"processor {told['cpu_us']:.1f} us an event, without {told['cpu_us_without']:.1f}",
            flush=True,
        )


def _emit(data: Path) -> Path:
    clew.configure(service="rag-api", environment="prod", version="1.4.2", data_dir=data, agent="external")
    log = clew.get_logger("rag")
    for number in range(TRACES):
        with clew.trace_context(user_id=f"user-{number % 500}"), clew.span("ask"):
            log.info("query_received", query="Why a spool?", query_chars=12, top_k=5)
            with clew.span("hybrid_search", run_type="retriever"):
                log.info("cache_checked", cache_hit=number % 3 == 0, duration_ms=0.5)
                log.info("hybrid_search_complete", index_name="docs", hit_count=5, hits=HITS, top_score=0.91,
                         duration_ms=3.5 + number % 50, cost_usd=0.0)  # fmt: skip
            with clew.span("generate_answer", run_type="llm"):
                log.info("prompt_assembled", prompt_name="answer", prompt_tokens=900, duration_ms=0.7)
                log.info("first_token_received", provider="openai", model="gpt-4o-mini", time_to_first_token_ms=250.0)
                log.info("token_usage_recorded", provider="openai", model="gpt-4o-mini", tokens_in=1000, tokens_out=200,
                         cost_usd=0.0002475)  # fmt: skip
                log.info("generation_complete", provider="openai", model="gpt-4o-mini", finish_reason="stop",
                         duration_ms=900.0 + number % 300)  # fmt: skip
            with clew.span("evaluate", stage="evaluation"):
                log.info("score_computed", metric_name="faithfulness", score=0.8, claim_count=5, unsupported_count=1)
            for step in range(8):
                log.info("something of the application's own", step=step, text="of some length " * 5)
    clew.shutdown()
    (directory,) = producer_directories(data / "spool")
    return directory


def _ship(sink: PostgresSink, directory: Path, size: int, *, most: int | None) -> tuple[float, float]:
    """Ship a log as a new producer's; return seconds and seconds of processor time an event."""
    producer = Producer(new_producer_id(time.time_ns()), "rag-api")
    enrich = Enricher(Prices())
    reader, shipped = Reader(directory, Position(0)), 0
    began, began_cpu = time.perf_counter(), time.process_time()
    while most is None or shipped < most:
        start = reader.position
        slice_ = reader.read(max_events=size, max_bytes=sink.max_bytes, is_writer_dead=True)
        if not slice_.events:
            break
        events = [(position, enrich(payload)) for position, payload in slice_.events]
        if sink.deliver(Batch(producer, events, start, slice_.end)) != Delivered():
            sys.exit("not delivered")
        shipped += len(events)
    taken = (time.perf_counter() - began) / shipped, (time.process_time() - began_cpu) / shipped
    reader.close()
    return taken


def _summary(times: dict[str, list[tuple[float, float]]]) -> dict[str, float]:
    pairs = zip(times["with"], times["without"], strict=True)
    ratios = statistics.quantiles([one[0] / other[0] for one, other in pairs], n=4)
    middle = {
        name: (statistics.median(taken for taken, _ in found), statistics.median(cpu for _, cpu in found))
        for name, found in times.items()
    }
    return {
        "ratio": ratios[1],
        "ratio_low": ratios[0],
        "ratio_high": ratios[2],
        "events_s": 1 / middle["with"][0],
        "events_s_without": 1 / middle["without"][0],
        "cpu_us": middle["with"][1] * 1e6,
        "cpu_us_without": middle["without"][1] * 1e6,
    }


if __name__ == "__main__":
    main()
