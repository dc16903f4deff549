"""Disks that are full, refuse, or give back something else than was written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from zlib import crc32

import psycopg
import pytest
from msgspec import json

from clew import config
from clew.agent.supervisor import Supervisor
from clew.delivery.accounts import read_account
from clew.spool.directory import segment_name, segment_numbers
from clew.spool.format import HEADER_BYTES, MAGIC
from clew.spool.writer import Writer
from clew.store.postgres.sink import PostgresSink
from support.accounting import assert_accounted, drops_told, returned_emits, wait_for
from support.agents import agent_process, drain_with_agent, filling_producer
from support.fix_disk import fill

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from faults.conftest import Place

SMALL = 64 * 1024
TMPFS_BYTES = 2 * 1024 * 1024


@pytest.fixture
def small_disk(place: Place, mount_disk: Callable[[Path, int], Path]) -> Path:
    """Mount a disk of two megabytes where the application keeps its data."""
    return mount_disk(place.data, TMPFS_BYTES)


def test_a_full_disk_drops_and_counts_and_is_emptied_again(
    place: Place, environment: dict[str, str], postgres: str, small_disk: Path
) -> None:
    """The application goes on; what found no room is told, by reason and number; then there is room again."""
    environment |= {"CLEW_SEGMENT_BYTES": str(SMALL), "CLEW_SPOOL_KEEP_FREE_BYTES": "0"}

    with filling_producer(environment, place.counters) as producer:
        full = producer.ask("info 5000 1000")
        with agent_process(environment, postgres):
            wait_for(lambda: producer.ask("info 1 0") == producer.ask("info 1 0"), "room")
        after = producer.ask("info 100 100")
        lost = producer.ask("info 0 0")
    drain_with_agent(environment, postgres)

    assert 1000 < full["disk_full"] < 5000
    assert after == lost
    assert drops_told(postgres) == lost
    assert_accounted(place.data, postgres, place.counters, dropped=sum(lost.values()))


@pytest.mark.faults
def test_a_disk_filled_by_others_is_emptied_all_the_same(
    place: Place, environment: dict[str, str], postgres: str, small_disk: Path
) -> None:
    """With not one byte left, the agent still ships what is there and makes room."""
    environment |= {"CLEW_SEGMENT_BYTES": str(SMALL), "CLEW_SPOOL_KEEP_FREE_BYTES": "0"}

    with filling_producer(environment, place.counters) as producer:
        lost = producer.ask("info 3000 1000")
        fill(small_disk / "filler")
    drain_with_agent(environment, postgres)

    assert drops_told(postgres) == lost
    assert_accounted(place.data, postgres, place.counters, dropped=sum(lost.values()))


def test_a_spool_at_its_bound_gives_up_the_least_important_first(
    place: Place, environment: dict[str, str], postgres: str
) -> None:
    """From 80 % on debug is dropped, from 95 % on what is ordinary, errors last; each drop is told."""
    environment |= {"CLEW_SEGMENT_BYTES": str(SMALL), "CLEW_SPOOL_MAX_BYTES": str(10 * SMALL)}

    with filling_producer(environment, place.counters) as producer:
        producer.ask("info 400 900")  # eight or nine of ten segments
        debug = producer.ask("await-refusal debug")
        still_taken = producer.ask("info 1 0")
        producer.ask("error 80 900")
        at_the_end = producer.ask("error 2000 900")
    drain_with_agent(environment, postgres)

    assert debug == still_taken == {"low_priority": 1}
    assert at_the_end["spool_full"] > 1000
    assert drops_told(postgres) == at_the_end
    assert_accounted(place.data, postgres, place.counters, dropped=sum(at_the_end.values()))


def test_a_disk_that_refuses_to_sync_is_told_and_survived(
    place: Place, environment: dict[str, str], postgres: str
) -> None:
    """While ``fdatasync`` fails ``flush`` says so, emitting goes on, and nothing is lost with the process."""
    with filling_producer(environment, place.counters) as producer:
        producer.ask("info 100 100")
        producer.ask("break-sync")
        producer.ask("info 100 100")
        refused = producer.ask("flush")
        producer.ask("info 100 100")
        producer.ask("mend-sync")
        mended = producer.ask("flush")
    drain_with_agent(environment, postgres)

    assert (refused, mended) == (False, True)
    assert assert_accounted(place.data, postgres, place.counters) == 300


def count_events(connection: psycopg.Connection[tuple[Any, ...]]) -> int:
    """Count what is stored."""
    return int((connection.execute("SELECT count(*) FROM events").fetchone() or (0,))[0])


def event(lane: str, n: int) -> bytes:
    """Make an event by hand."""
    told: dict[str, Any] = {"timestamp": "2026-01-01T00:00:00Z", "kind": "log", "level": "INFO", "message": "told"}
    told |= {"service": "damaged", "stage": "other", "context": {"lane": lane, "n": n, "pad": "x" * 60}, "metrics": {}}
    return json.encode(told)


def write_log(spool: Path, lane: str, events: int) -> Path:
    """Write a log of its own; return its directory."""
    writer = Writer(spool, service="damaged", segment_bytes=SMALL)
    for n in range(events):
        writer.append(event(lane, n))
    writer.close()
    return writer.directory


def flip_bits(raw: bytearray) -> None:
    """Flip one bit in each of three records."""
    for offset in (HEADER_BYTES + 30, len(raw) // 3, len(raw) // 2):
        raw[offset] ^= 0x10


def cut_short(raw: bytearray) -> None:
    """Cut the file in the middle of a record."""
    del raw[20_001:]


def zero_tail(raw: bytearray) -> None:
    """Zero what a power failure kept from the disk."""
    raw[20_001:] = bytes(len(raw) - 20_001)


def spoil_header(raw: bytearray) -> None:
    """Spoil the checksum of the header."""
    raw[HEADER_BYTES - 1] ^= 1


@pytest.mark.parametrize("damage", [flip_bits, cut_short, zero_tail, spoil_header])
def test_damage_costs_what_it_hit_and_nothing_else(
    damage: Callable[[bytearray], None], place: Place, postgres: str
) -> None:
    """One segment of three is damaged: every other event arrives, once, and the torn bytes are counted."""
    settings = config.load(data_dir=place.data)
    directory, events = write_log(settings.spool_dir, "hit", 700), 700
    write_log(settings.spool_dir, "sound", 50)
    path = directory / segment_name(segment_numbers(directory)[1])
    whole, raw = path.read_bytes(), bytearray(path.read_bytes())
    damage(raw)
    path.write_bytes(raw)
    first = json.decode(whole[HEADER_BYTES + 12 : whole.index(MAGIC, HEADER_BYTES + 1)])["context"]["n"]
    last = json.decode(whole[whole.rindex(MAGIC) + 12 :].rstrip(b"\0"))["context"]["n"]

    supervisor = Supervisor(settings, sinks=[PostgresSink(postgres)], report=lambda _: None)
    supervisor.start()
    try:
        assert supervisor.drain(30)
        torn = supervisor.healths()[0].damaged_bytes
    finally:
        supervisor.stop()

    with psycopg.connect(postgres) as connection:
        rows = connection.execute("SELECT context->>'lane', (context->>'n')::int FROM events ORDER BY 2").fetchall()
    hit, sound = ([n for lane, n in rows if lane == name] for name in ("hit", "sound"))
    missing = set(range(events)) - set(hit)
    assert sound == list(range(50))
    assert len(hit) == len(set(hit))
    assert missing <= set(range(first, last + 1))
    assert len(missing) == {flip_bits: 3, spoil_header: 0}.get(damage, len(missing))
    assert bool(torn) == (damage in {flip_bits, cut_short, zero_tail})
    assert read_account(settings.spool_dir).sinks["postgres"].is_balanced


def test_a_log_from_the_future_is_left_alone_and_the_others_go_on(place: Place, postgres: str) -> None:
    """A newer clew wrote there: its log stays as it is, is told of once, and delays nobody."""
    settings = config.load(data_dir=place.data)
    future = write_log(settings.spool_dir, "future", 10) / segment_name(1)
    raw = bytearray(future.read_bytes())
    raw[8:10] = (2).to_bytes(2, "little")
    raw[HEADER_BYTES - 4 : HEADER_BYTES] = crc32(raw[: HEADER_BYTES - 4]).to_bytes(4, "little")
    future.write_bytes(raw)
    writer, said = Writer(settings.spool_dir, service="damaged", segment_bytes=SMALL), list[str]()
    supervisor = Supervisor(settings, sinks=[PostgresSink(postgres)], report=said.append)
    supervisor.start()

    try:
        with psycopg.connect(postgres, autocommit=True) as connection:
            for n in range(30):
                writer.append(event("present", n))
                wait_for(lambda n=n: count_events(connection) == n + 1, "the event")  # type: ignore[misc]
        (health,) = supervisor.healths()
    finally:
        supervisor.stop()
        writer.close()

    assert future.read_bytes() == raw
    assert [line for line in said if "format 2" not in line] == []
    assert len(said) == 1
    assert health.breaker == "closed"
    assert returned_emits(place.counters) == {}
