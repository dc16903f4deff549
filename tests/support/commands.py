"""Run ``clew`` as a user does."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, Final

from msgspec import json

if TYPE_CHECKING:
    import subprocess

__all__ = ["CLEW", "WITHOUT_RIGHTS", "read_object"]

CLEW: Final = [sys.executable, "-m", "clew"]

WITHOUT_RIGHTS: Final = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
"""Runs a program that permissions bind, even if root runs it."""


def read_object(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    """Read a JSON object of several lines from the standard output of a process that goes on."""
    assert process.stdout is not None
    text = b""
    for line in process.stdout:
        text += line
        if line.rstrip() == b"}" or (text == line and line.startswith(b"{") and line.rstrip().endswith(b"}")):
            return json.decode(text)
    raise AssertionError(text)
