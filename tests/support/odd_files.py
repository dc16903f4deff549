"""What may be where a file should be."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["ODD_KINDS", "make_odd"]

ODD_KINDS: Final = ("directory", "fifo", "socket", "loop")


def make_odd(path: Path, kind: str) -> None:
    """Put something odd at *path*, in the place of whatever file is there."""
    path.unlink(missing_ok=True)
    match kind:
        case "directory":
            path.mkdir()
            (path / "inside").touch()
        case "fifo":
            os.mkfifo(path)
        case "socket":
            here = os.open(path.parent, os.O_RDONLY)  # by a short name: those of sockets are bounded
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(f"/proc/self/fd/{here}/{path.name}")
            os.close(here)
        case _:
            path.symlink_to(path.name)
