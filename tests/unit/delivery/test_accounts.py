"""Every event is accounted for, at any moment and over restarts."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from msgspec import json

from clew import config
from clew.agent.supervisor import Supervisor
from clew.cli.main import run
from clew.delivery.accounts import read_account
from clew.delivery.dead_letters import DeadLetter, DeadLetters
from clew.delivery.ledger import Ledger, Share
from clew.errors import SpoolError
from clew.sinks.base import Batch, Delivered, Outcome, Rejected, Retry
from clew.spool.writer import Writer
from support.recording_sink import RecordingSink

if TYPE_CHECKING:
    from pathlib import Path

    from clew.config import Settings

SMALL = 64 * 1024


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Give settings whose data directory is temporary."""
    return config.load(data_dir=tmp_path, service="accounts-test")


def ship(settings: Settings, *sinks: RecordingSink) -> None:
    """Run an agent until all logs without a living writer are shipped."""
    supervisor = Supervisor(settings, sinks=list(sinks), report=lambda _: None)
    supervisor.start()
    try:
        assert supervisor.drain(20.0)
    finally:
        supervisor.stop()


def emit(settings: Settings, count: int, *, oversize: int = 0) -> None:
    """Let a producer of its own emit, and end."""
    writer = Writer(settings.spool_dir, service="rag-api", segment_bytes=SMALL)
    for i in range(count):
        writer.append(b'{"kind":"log","i":%d}' % i)
    for _ in range(oversize):
        writer.append(b"x" * SMALL)
    writer.close()


def refuse_multiples_of_seven(batch: Batch) -> Outcome:
    """Refuse some events, each by its index."""
    numbers = [json.decode(payload).get("i", 1) for _, payload in batch.events]
    bad = tuple(index for index, number in enumerate(numbers) if number % 7 == 0)
    return Rejected(bad, "seven") if bad else Delivered()


def test_what_waits_is_pending(settings: Settings) -> None:
    """Before any agent came, the log is there, whole, and no sink knows of it."""
    emit(settings, 5)

    (log,) = read_account(settings.spool_dir).logs

    assert (log.accepted, log.is_alive, log.sinks) == (5, False, [])


@pytest.mark.parametrize("odd", ["spool", ""], ids=["spool", "data"])
def test_a_spool_that_is_no_directory_is_said_in_one_sentence(tmp_path: Path, odd: str) -> None:
    """There are no accounts then; the error names the place and what looks for the cause."""
    data = tmp_path / "data"
    (data / odd).parent.mkdir(exist_ok=True)
    (data / odd).touch()

    with pytest.raises(SpoolError, match=f"cannot read {data / 'spool'}: Not a directory; `clew doctor`"):
        read_account(data / "spool")


def test_the_sums_outlive_the_logs(settings: Settings) -> None:
    """Delivered, quarantined and dropped events stay in the accounts when their logs are gone."""
    sink = RecordingSink("picky", refuse_multiples_of_seven)
    emit(settings, 20, oversize=3)
    ship(settings, sink)
    emit(settings, 10)
    ship(settings, RecordingSink("picky"))

    account = read_account(settings.spool_dir)

    totals = account.sinks["picky"]  # one more than was emitted: the event that tells of the losses
    assert account.logs == []
    assert account.dropped == {"oversize": 3}
    assert (totals.emitted, totals.delivered, totals.quarantined, totals.dropped, totals.pending) == (34, 28, 3, 3, 0)
    assert totals.is_balanced


def test_a_sink_that_is_down_has_everything_pending(settings: Settings) -> None:
    """The identity holds for each sink by itself, while one delivers and the other does not."""
    fast, down = RecordingSink("fast"), RecordingSink("down", lambda _: Retry("down", after_s=0.01))
    writer = Writer(settings.spool_dir, service="rag-api", segment_bytes=SMALL)
    supervisor = Supervisor(settings, sinks=[fast, down], report=lambda _: None)
    supervisor.start()
    for i in range(3000):
        writer.append(b'{"kind":"log","i":%d}' % i)
    assert fast.wait(lambda s: len(s.taken) == 3000)
    assert down.wait(lambda s: s.attempts > 2)
    supervisor.stop()
    writer.close()

    sinks = read_account(settings.spool_dir).sinks

    assert all(totals.is_balanced for totals in sinks.values())
    assert (sinks["fast"].delivered, sinks["fast"].pending) == (3000, 0)
    assert (sinks["down"].delivered, sinks["down"].pending) == (0, 3000)


def test_a_log_is_entered_once_however_often_its_agent_dies(settings: Settings) -> None:
    """Entering a producer twice, as after a death between entry and removal, changes nothing."""
    ledger = Ledger(settings.spool_dir)
    for _ in range(2):
        ledger.add("p-1", dropped={"oversize": 1}, sinks={"s": Share(5, 4, 0, 1)})

    totals = ledger.read()

    assert totals.sinks == {"s": Share(5, 4, 0, 1)}
    assert totals.dropped == {"oversize": 1}


def test_dead_letters_can_be_listed_shown_and_retried(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    """What was refused is told by the command line, and goes to its own sink alone when it is retried."""
    picky, other = RecordingSink("picky", refuse_multiples_of_seven), RecordingSink("other")
    emit(settings, 8)
    ship(settings, picky, other)
    data = ["--data", str(settings.data_dir)]

    codes = [run(["dead", "list", *data]), run(["dead", "show", "2", *data]), run(["dead", "show", "9", *data])]
    listed = capsys.readouterr()
    assert run(["dead", "retry", *data]) == 0
    mended = RecordingSink("picky")
    ship(settings, mended, other)

    assert codes == [0, 0, 1]
    assert listed.out.count("seven") == 3
    assert "there is no dead letter 9" in listed.err
    assert sorted(mended.payloads()) == [b'{"kind":"log","i":0}', b'{"kind":"log","i":7}']
    assert len(other.payloads()) == 8
    assert DeadLetters(settings.spool_dir, "picky").read() == []
    assert all(totals.is_balanced for totals in read_account(settings.spool_dir).sinks.values())


def test_a_dead_letter_larger_than_a_segment_is_now_is_retried_too(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was emitted under larger settings goes back on the spool whole, and is not dropped there."""
    large = b'{"kind":"log","text":"%s"}' % (b"x" * 2 * SMALL)
    letter = DeadLetter(datetime.now(UTC), "big", "p-1", 64, "rag-api", large.decode())
    DeadLetters(settings.spool_dir, "picky").add([letter])
    monkeypatch.setenv("CLEW_SEGMENT_BYTES", str(SMALL))

    code = run(["dead", "retry", "--data", str(settings.data_dir)])
    mended = RecordingSink("picky")
    ship(settings, mended)

    assert code == 0
    assert mended.payloads() == [large]
    assert read_account(settings.spool_dir).dropped == {}


def test_dead_letters_for_which_there_is_no_room_stay(settings: Settings) -> None:
    """A retry takes all letters or none: those of a second service find no room, so the first's stay as well."""
    letters = [
        DeadLetter(datetime.now(UTC), "refused", f"p-{n}", 64, service, '{"kind":"log"}')
        for n, service in enumerate(("a-service", "../a file where the directory should be"))
    ]
    kept = DeadLetters(settings.spool_dir, "picky")
    kept.add(letters)
    blocked = Writer(settings.spool_dir, service=letters[1].service, segment_bytes=SMALL)
    blocked.close()
    place = blocked.directory.parent
    shutil.rmtree(place)
    place.touch()

    code = run(["dead", "retry", "--data", str(settings.data_dir)])
    place.unlink()
    mended = RecordingSink("picky")
    ship(settings, mended)

    assert code == 1
    assert [letter.service for letter in kept.read()] == [letter.service for letter in letters]
    assert mended.payloads() == []


def test_purging_dead_letters_asks_to_be_meant(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is removed for good without being told twice."""
    emit(settings, 8)
    ship(settings, RecordingSink("picky", refuse_multiples_of_seven))
    data = ["--data", str(settings.data_dir)]

    unsure = run(["dead", "purge", *data])
    kept = len(DeadLetters(settings.spool_dir, "picky").read())
    sure = run(["dead", "purge", "--yes", *data])

    assert (unsure, kept, sure) == (2, 2, 0)
    assert "--yes" in capsys.readouterr().err
    assert DeadLetters(settings.spool_dir, "picky").read() == []


def test_a_sink_that_cannot_tell_which_event_is_poison_is_asked_again_with_halves(settings: Settings) -> None:
    """One poisoned event in a thousand is found without being named, and alone is put aside."""

    def refuse_all(batch: Batch) -> Outcome:
        if any(b'"i":613}' in payload for _, payload in batch.events):
            return Rejected(tuple(range(len(batch.events))), "one of these")
        return Delivered()

    sink = RecordingSink("blind", refuse_all)
    emit(settings, 1000)

    ship(settings, sink)

    assert len(sink.payloads()) == 999
    assert [letter.event for letter in DeadLetters(settings.spool_dir, "blind").read()] == ['{"kind":"log","i":613}']
    assert sink.attempts < 30


def test_a_letter_that_another_agent_wrote_is_not_written_again(settings: Settings) -> None:
    """An agent that takes over from one that was killed finds the letters of that one, though it began before."""
    first, second = DeadLetters(settings.spool_dir, "picky"), DeadLetters(settings.spool_dir, "picky")
    letter = DeadLetter(datetime.now(UTC), "p-1", "rag-api", 64, "seven", "{}")
    first.add([letter])

    second.add([letter])

    assert second.holds("p-1", 64)
    assert DeadLetters(settings.spool_dir, "picky").read() == [letter]
