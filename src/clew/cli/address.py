"""Where the server of ``clew up`` listens, given by a file of its data directory to commands that print links.

Layout::

    <data>/up.lock   held by ``clew up`` for as long as it lives
    <data>/up.json   {"url": …}; means nothing unless the lock is held
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from msgspec import DecodeError, Struct, json

from clew.spool.files.regular import read_regular
from clew.spool.files.replace import replace_file
from clew.spool.life.lock import is_held

if TYPE_CHECKING:
    from pathlib import Path

    from clew.config import Settings

__all__ = ["UP_LOCK", "server_url", "write_address"]

UP_LOCK: Final = "up.lock"
UP_FILE: Final = "up.json"


class _Up(Struct):
    url: str


def write_address(data_dir: Path, url: str) -> None:
    """Write down where the server listens; links do without where that cannot be."""
    with contextlib.suppress(OSError):
        replace_file(data_dir / UP_FILE, json.encode(_Up(url)), is_durable=False)


def server_url(settings: Settings) -> str:
    """Return where the server is that shows the store of *settings*: the one that runs, else the one that would."""
    with contextlib.suppress(OSError, DecodeError):
        running = json.decode(read_regular(settings.data_dir / UP_FILE), type=_Up)
        if is_held(settings.data_dir / UP_LOCK):
            return running.url
    return f"http://{settings.host}:{settings.port}"
