"""What is lost while there is no log: counted by reason, handed over once, each process its own."""

from __future__ import annotations

import os
import threading

from clew.emit.unopened import NOT_OPEN, Unopened
from clew.spool.losses import REASONS


def test_losses_are_counted_under_the_last_reason_or_their_own() -> None:
    """Each reason is one that the file of losses knows."""
    unopened = Unopened()
    unopened.add()
    unopened.reason = "permission"
    unopened.add()
    unopened.add("no_memory")

    assert unopened.pending() == {NOT_OPEN: 1, "permission": 1, "no_memory": 1}
    assert set(unopened.pending()) <= set(REASONS)


def test_what_was_handed_over_is_not_pending_any_more() -> None:
    """It stays in the total; what comes later is handed over by itself."""
    unopened, taken = Unopened(), list[dict[str, int]]()
    unopened.add()
    unopened.carry(taken.append)
    unopened.carry(taken.append)
    unopened.add()
    unopened.carry(taken.append)

    assert (taken, unopened.total, unopened.pending()) == ([{NOT_OPEN: 1}, {NOT_OPEN: 1}], 2, {})


def test_threads_lose_no_count() -> None:
    """Eight of them, which begin at once."""
    unopened, start = Unopened(), threading.Barrier(8)

    def work() -> None:
        start.wait()
        for _ in range(5000):
            unopened.add()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert unopened.total == 40_000


def test_a_forked_child_counts_from_nothing() -> None:
    """And its parent does not see what it counts."""
    unopened = Unopened()
    unopened.add()
    child = os.fork()
    if child == 0:
        before = unopened.total
        unopened.add()
        os._exit(10 * before + unopened.total)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
    assert unopened.total == 1
