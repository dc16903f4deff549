"""What is patched, exactly; that the trace gets through is told by ``test_context_propagation``."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from typing import TYPE_CHECKING

import pytest

from clew.emit import propagation

if TYPE_CHECKING:
    from collections.abc import Iterator

somebody_elses: ContextVar[str] = ContextVar("somebody_elses", default="")


@pytest.fixture(autouse=True)
def originals() -> Iterator[tuple[object, object]]:
    """Begin without patches, and give the functions that they replace; leave what was there before."""
    before = tuple(propagation._originals)
    propagation.uninstall()
    yield ThreadPoolExecutor.submit, threading.Thread.start
    propagation.install(before)


@pytest.mark.parametrize(
    ("targets", "submit", "start"),
    [
        ([], False, False),
        (["executors"], True, False),
        (["threads"], True, True),
        (["executors", "threads"], True, True),
        (["processes"], False, False),
    ],
)
@pytest.mark.parametrize("earlier", [[], ["executors"], ["threads"]])
def test_exactly_what_was_asked_for_last_is_patched(
    originals: tuple[object, object], earlier: list[str], targets: list[str], submit: bool, start: bool
) -> None:
    """Asking again widens or narrows what is patched; whatever was asked for before leaves no trace."""
    propagation.install(earlier)

    propagation.install(targets)

    assert (ThreadPoolExecutor.submit is not originals[0], threading.Thread.start is not originals[1]) == (
        submit,
        start,
    )


def test_asking_twice_patches_once(originals: tuple[object, object]) -> None:
    """A second request for the same finds it done, and undoing it once undoes it."""
    propagation.install(["threads"])
    patched = ThreadPoolExecutor.submit, threading.Thread.start

    propagation.install(["threads"])

    assert (ThreadPoolExecutor.submit, threading.Thread.start) == patched
    propagation.uninstall()
    assert (ThreadPoolExecutor.submit, threading.Thread.start) == originals


def test_the_variables_of_others_are_carried_too() -> None:
    """The whole context goes along, as with `asyncio.to_thread`, and changes to it stay in the thread."""
    propagation.install(["executors"])
    token = somebody_elses.set("theirs")

    with ThreadPoolExecutor(1) as pool:
        seen = pool.submit(somebody_elses.get).result()
        pool.submit(somebody_elses.set, "changed").result()
    here = somebody_elses.get()
    somebody_elses.reset(token)

    assert (seen, here) == ("theirs", "theirs")


def test_a_patched_executor_calls_as_an_unpatched_one() -> None:
    """Arguments, results and exceptions get through unchanged, whatever the arguments are called."""
    propagation.install(["executors"])

    with ThreadPoolExecutor(1) as pool:
        given = pool.submit(dict, [("a", 1)], self=2, fn=3).result()
        failure = pool.submit(int, "x").exception()

    assert given == {"a": 1, "self": 2, "fn": 3}
    assert isinstance(failure, ValueError)
