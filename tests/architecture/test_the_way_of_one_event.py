"""Six hops from the call to the store: logger, record, writer, reader, worker, sink."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import psycopg

import clew
from clew import config
from clew.agent.log import ProducerLog
from clew.agent.pricing.enrich import Enricher
from clew.agent.pricing.prices import Prices
from clew.agent.worker import Worker
from clew.spool.writer import Writer
from clew.store.postgres.sink import PostgresSink
from support.ways import documented_hops, walk_through

if TYPE_CHECKING:
    from pathlib import Path

HOPS = documented_hops()
EVENT = (
    b'{"timestamp":"2026-11-23T10:15:30Z","kind":"log","level":"INFO","message":"chunks_created","trace_id":null,'
    b'"span_id":null,"user_id":null,"service":"rag-api","stage":"ingestion","context":{},"metrics":{}}'
)


def test_an_ordinary_event_stays_on_the_documented_path(tmp_path: Path) -> None:
    """From the call to the disk an event passes the documented modules and no others."""
    clew.configure(service="hops", data_dir=tmp_path, agent="external")
    log = clew.get_logger()
    log.info("chunks_created", chunk_count=41)

    way = walk_through(lambda: log.info("chunks_created", chunk_count=42))
    clew.shutdown()

    assert way.first_entries(HOPS[:3]) == HOPS[:3]
    assert way.returns() == []
    assert set(way.modules) <= {
        "clew.emit.logger",
        "clew.emit.context",
        "clew.emit.record",
        "clew.emit.redact.redactor",  # asked by record whether the event may hold a secret
        "clew.emit.values",  # asked by record for the texts in a value
        "clew.emit.process",
        "clew.spool.writer",
    }
    assert (way.modules[0], way.modules[-1]) == (HOPS[0], HOPS[2])


def test_emitting_takes_few_calls(tmp_path: Path) -> None:
    """At most 25 Python calls in the caller; peers take 12 (structlog) to 469 (logfire)."""
    clew.configure(service="hops", data_dir=tmp_path, agent="external")
    log = clew.get_logger()
    log.info("chunks_created", chunk_count=41, document_id="d-0", duration_ms=12.5)
    calls: list[Any] = []

    sys.setprofile(lambda frame, event, _: calls.append(frame.f_code.co_qualname) if event == "call" else None)
    log.info("chunks_created", chunk_count=42, document_id="d-1", duration_ms=12.5)
    sys.setprofile(None)
    clew.shutdown()

    assert len(calls) <= 25, calls


def test_the_agents_side_passes_reader_worker_and_sink(tmp_path: Path, postgres: str) -> None:
    """From the disk to the store an event passes the reader, the worker and the sink, and what they stand on."""
    settings = config.load(data_dir=tmp_path)
    writer = Writer(settings.spool_dir, service="hops")
    writer.append(EVENT)
    log = ProducerLog(writer.directory)
    assert log.take()
    worker = Worker(
        PostgresSink(postgres),
        logs=lambda: [log],
        spool=settings.spool_dir,
        report=lambda _: None,
        enrich=Enricher(Prices()),
    )

    way = walk_through(lambda: worker._ship(log))
    log.release()
    writer.close()

    reader, driver, sink = HOPS[3:]
    assert way.first_entries(HOPS) == [driver, reader, sink]  # the worker drives: it asks the one and tells the other
    assert way.returns() == []
    assert set(way.modules) <= {
        *HOPS[3:],
        "clew.agent.log",
        "clew.agent.breaker",
        "clew.agent.pricing.enrich",
        "clew.store.postgres.load",  # gives the statements by their names
        "clew.store.postgres.rows",
        "clew.measures.minutes",
        "clew.measures.observation",
        "clew.measures.bill",
        "clew.measures.ledger",
        "clew.measures.counting",
        "clew.measures.labels",
        "clew.catalog.bill",
        "clew.measures.buckets",
        "clew.spool.cursor",
        "clew.spool.files.descriptor",  # a cursor is moved in a file that is still its own
        "clew.spool.directory",
        "clew.spool.files.disk",
        "clew.spool.format",
        "clew.spool.files.regular",  # a segment is opened as what it should be
    }
    with psycopg.connect(postgres) as connection:
        assert connection.execute("SELECT message FROM events").fetchall() == [("chunks_created",)]


def test_each_hop_names_its_neighbours() -> None:
    """A reader who follows an event finds the way on in each module's docstring."""
    assert len(HOPS) == 6
    for name in HOPS:
        told = sys.modules[name].__doc__ or ""
        assert "Before:" in told, name
        assert "After:" in told, name
