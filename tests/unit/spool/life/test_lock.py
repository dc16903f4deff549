"""Locks between processes, and between the threads of one."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from clew.errors import SpoolError
from clew.spool.life.lock import FileLock, is_locked

if TYPE_CHECKING:
    from pathlib import Path

ASK = "import sys; from pathlib import Path; from clew.spool.life.lock import is_locked; print(is_locked(Path(sys.argv[1])))"


def is_locked_for_others(path: Path) -> bool:
    """Ask in another process."""
    ran = subprocess.run([sys.executable, "-c", ASK, str(path)], capture_output=True, check=True, text=True)
    return ran.stdout == "True\n"


def test_asking_about_a_lock_of_our_own_leaves_it(tmp_path: Path) -> None:
    """An agent and a receiver live in one process; the one looks whether the other is there."""
    lock = FileLock(tmp_path / "lock")
    assert lock.acquire()

    told = is_locked(tmp_path / "lock"), FileLock(tmp_path / "lock").acquire()

    assert told == (True, False)
    assert is_locked_for_others(tmp_path / "lock")
    lock.release()
    assert not is_locked_for_others(tmp_path / "lock")
    assert not is_locked(tmp_path / "lock")


def test_a_lock_that_was_renamed_is_still_ours(tmp_path: Path) -> None:
    """It is the file that is locked, not its name."""
    lock = FileLock(tmp_path / "lock.new")
    assert lock.acquire()
    (tmp_path / "lock.new").rename(tmp_path / "lock")

    assert is_locked(tmp_path / "lock")
    assert is_locked_for_others(tmp_path / "lock")
    assert not is_locked(tmp_path / "lock.new")
    lock.release()


def test_threads_of_a_process_keep_each_other_away(tmp_path: Path) -> None:
    """No two of them are inside at once."""
    inside, most = 0, 0

    def work() -> None:
        nonlocal inside, most
        for _ in range(50):
            lock = FileLock(tmp_path / "lock")
            lock.wait()
            inside += 1
            most = max(most, inside)
            os.sched_yield()
            inside -= 1
            lock.release()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert most == 1


def test_a_forked_child_holds_nothing(tmp_path: Path) -> None:
    """It sees its parent's lock, and may take it when the parent has let go."""
    lock = FileLock(tmp_path / "lock")
    assert lock.acquire()
    ends = os.pipe()

    child = os.fork()
    if child == 0:
        seen = is_locked(tmp_path / "lock")
        lock.release()  # what it inherited
        os.write(ends[1], b"locked" if seen and is_locked(tmp_path / "lock") else b"free")
        os._exit(0)
    os.waitpid(child, 0)

    assert os.read(ends[0], 10) == b"locked"
    assert is_locked_for_others(tmp_path / "lock")
    lock.release()
    for end in ends:
        os.close(end)


def test_a_lock_that_cannot_be_made_says_where(tmp_path: Path) -> None:
    """Asked about, it is free."""
    nowhere = tmp_path / "none" / "lock"

    with pytest.raises(SpoolError, match="cannot open the lock"):
        FileLock(nowhere).acquire()
    assert not is_locked(nowhere)
