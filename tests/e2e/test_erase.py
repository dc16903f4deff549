"""A person is erased from a store and a spool that are in use, and no byte of theirs is found in any file."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from msgspec import json

from e2e.test_backends import environment, up
from support.commands import CLEW

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path
    from typing import Any

__all__ = ["up"]

GONE, STAYS = "user-theseus-4711", "user-ariadne-4712"
EMIT = f"""
import clew
log = clew.get_logger()
for number in range(40):
    with clew.trace_context(user_id="{GONE}"), clew.span("answer", inputs={{"question": "secret-labyrinth"}}):
        log.info("query_received", query="secret-labyrinth %d" % number)
    with clew.trace_context(user_id="{STAYS}"), clew.span("answer"):
        log.info("query_received", query="common-question")
log.warning("user_blocked", who="{GONE}")
"""


def holding(root: Path, text: bytes) -> Iterable[Path]:
    """Find the files that hold a text; a server may be removing some of them."""
    for path in sorted(root.rglob("*")):
        with suppress(OSError):
            if path.is_file() and text in path.read_bytes():
                yield path


@pytest.mark.slow
def test_no_byte_of_an_erased_user_is_left(tmp_path: Path, up: Callable[..., dict[str, Any]]) -> None:
    """Rows, open tables' files, the log of changes, segments of the spool: the id and the questions are nowhere."""
    started = up("home")
    home = environment(tmp_path / "home")
    subprocess.run([sys.executable, "-c", EMIT], env=home, check=True)
    clew = [*CLEW, "store", "erase", "--user", GONE]
    asked = [*CLEW, "logs", "--user", STAYS, "--limit", "200", "--json", "--dsn", started["dsn"]]

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*clew, *arguments], env=home, capture_output=True, check=False, text=True, timeout=120)

    for _ in range(200):
        previewed = json.decode(run("--dry-run", "--json").stdout)
        if sum(previewed["before"]["partitions"].values()) == 80 and not previewed["spool"]["waiting"]:
            break
    named = run("--yes", "--json")
    done = run("--yes", "--mentions", "--json")
    left = subprocess.run(asked, env=home, capture_output=True, check=True, text=True, timeout=60).stdout

    assert len(previewed["before"]["mentions"]) == 1
    assert (named.returncode, json.decode(named.stdout)["is_complete"]) == (1, False)
    assert (done.returncode, json.decode(done.stdout)["is_complete"]) == (0, True), done.stdout + done.stderr
    assert left.count(STAYS) >= 80
    os.sync()
    for text in (GONE.encode(), b"secret-labyrinth"):
        assert [str(path) for path in holding(tmp_path / "home", text)] == []
