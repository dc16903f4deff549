"""Who holds a lock file, by process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from clew.spool.life.owner import RECORD_BYTES, Owner, maps_file_of, this_process

DESCRIBE = "import sys; from clew.spool.life.owner import this_process; print(this_process().encode().decode(), end='', flush=True); "


def start(program: str = "sys.stdin.read()") -> tuple[subprocess.Popen[str], Owner]:
    """Start a process that names itself, and then runs *program*."""
    process = subprocess.Popen(
        [sys.executable, "-c", DESCRIBE + program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    owner = Owner.decode(process.stdout.readline().encode())
    assert owner is not None
    return process, owner


def end(process: subprocess.Popen[str]) -> None:
    """Kill a process and see it gone."""
    process.kill()
    process.communicate()


def test_a_holder_reads_as_it_was_written() -> None:
    """In a record of a fixed length."""
    me = this_process()

    assert len(me.encode()) == RECORD_BYTES
    assert Owner.decode(me.encode()) == me
    assert Owner.decode(me._replace(is_over=True).encode()) == me._replace(is_over=True)


@pytest.mark.parametrize("raw", [b"", bytes(RECORD_BYTES), b"1 2 3", b"pid 1 b n 0", b"\xff" * RECORD_BYTES])
def test_what_names_nobody_is_no_holder(raw: bytes) -> None:
    """An older clew wrote nothing; damage is anything."""
    assert Owner.decode(raw) is None


def test_a_process_lives_until_it_is_killed() -> None:
    """Whether or not its parent has taken note of its death."""
    process, owner = start()

    assert owner.lives() is True
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert owner.lives() is False  # a zombie
    end(process)
    assert owner.lives() is False


def test_a_stopped_process_lives() -> None:
    """It may go on at any time."""
    process, owner = start()
    os.kill(process.pid, signal.SIGSTOP)

    assert owner.lives() is True
    end(process)


def test_a_process_whose_first_thread_has_ended_lives() -> None:
    """The kernel calls it a zombie, and its other threads run."""
    leave = "import ctypes, threading; t = threading.Thread(target=sys.stdin.read); t.start(); "
    process, owner = start(leave + "ctypes.CDLL(None).pthread_exit(None)")
    stat = Path(f"/proc/{process.pid}/stat")
    deadline = threading.Event()
    while b") Z " not in stat.read_bytes():
        assert not deadline.wait(0.01)

    assert owner.lives() is True
    end(process)


def test_a_process_id_that_was_given_to_another_is_not_the_holder() -> None:
    """The start time tells them apart."""
    process, owner = start()

    assert owner._replace(started=str(int(owner.started) - 1)).lives() is False
    end(process)


@pytest.mark.parametrize("field", ["boot", "namespace"])
@pytest.mark.parametrize("value", ["-", "another"])
def test_of_a_process_elsewhere_nothing_is_known(field: str, value: str) -> None:
    """Its id means nothing here: it is neither alive nor dead."""
    assert this_process()._replace(pid=1, **{field: value}).lives() is None


def test_maps_tell_what_a_process_was_replaced_by() -> None:
    """After ``exec`` the id and the start time are the same, and nothing is mapped any more."""
    program = (
        "import mmap, os, tempfile; "
        "file = tempfile.NamedTemporaryFile(suffix='-segment'); file.truncate(4096); "
        "pages = mmap.mmap(file.fileno(), 4096); print(file.name, flush=True); sys.stdin.readline(); "
        "os.execv(sys.executable, [sys.executable, '-c', \"print('new', flush=True); import sys; sys.stdin.read()\"])"
    )
    process, owner = start(program)
    assert process.stdin is not None
    assert process.stdout is not None
    name = process.stdout.readline().strip()

    assert maps_file_of(process.pid, name) is True
    process.stdin.write("\n")
    process.stdin.flush()
    assert process.stdout.readline() == "new\n"
    assert owner.lives() is True
    assert maps_file_of(process.pid, name) is False
    end(process)
    assert maps_file_of(process.pid, name) is None
    Path(name).unlink(missing_ok=True)
