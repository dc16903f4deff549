"""Dead letters: each event once, whoever writes them and whatever was torn."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from clew.delivery.dead_letters import DeadLetter, DeadLetters

if TYPE_CHECKING:
    from pathlib import Path


def letter(position: int, producer: str = "p-1") -> DeadLetter:
    """Make a letter."""
    return DeadLetter(datetime.now(UTC), producer, "rag-api", position, "refused", '{"kind":"log"}')


def test_only_what_is_new_is_read_of_the_file(tmp_path: Path) -> None:
    """An agent that adds letter after letter does not read those that it knows: there may be very many."""
    letters = DeadLetters(tmp_path, "picky")
    letters.add([letter(number) for number in range(100)])
    path = tmp_path / ".dead" / "picky.jsonl"
    letters.holds("p-1", 0)
    known = path.read_bytes()
    path.write_bytes(b"x" * (len(known) - 1) + b"\n")

    letters.add([letter(50), letter(100)])

    assert path.read_bytes().count(b'"position":50,') == 0
    assert path.read_bytes().count(b'"position":100,') == 1


def test_letters_out_of_order_and_of_several_producers_are_known(tmp_path: Path) -> None:
    """What is known does not depend on the order in which it was written."""
    one, other = DeadLetters(tmp_path, "picky"), DeadLetters(tmp_path, "picky")
    one.add([letter(9), letter(3)])
    other.add([letter(5), letter(3, "p-2")])

    assert all(one.holds("p-1", position) for position in (3, 5, 9))
    assert one.holds("p-2", 3)
    assert not one.holds("p-1", 4)
    assert not one.holds("p-2", 9)


def test_a_torn_line_hides_no_letter(tmp_path: Path) -> None:
    """A line that a crash has torn is left out; the letter is written again, whole."""
    letters = DeadLetters(tmp_path, "picky")
    letters.add([letter(1)])
    path = tmp_path / ".dead" / "picky.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + whole.replace(b'"position":1,', b'"position":2,')[:-20])

    later = DeadLetters(tmp_path, "picky")
    later.add([letter(2), letter(1)])

    assert [read.position for read in later.read()] == [1, 2]
    assert later.holds("p-1", 2)


def test_letters_that_were_taken_out_are_forgotten(tmp_path: Path) -> None:
    """After a purge the same event may die again."""
    letters = DeadLetters(tmp_path, "picky")
    letters.add([letter(1), letter(2)])
    with DeadLetters(tmp_path, "picky").taken():
        pass

    letters.add([letter(1)])

    assert [read.position for read in letters.read()] == [1]
