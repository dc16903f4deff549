"""How values look on a terminal.

Events hold what users and models wrote. Printed as it is, such text could move the cursor, recolour
the screen or rename the window; ``clean`` takes that power away.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, Final, cast

from msgspec import json
from rich.console import Console
from rich.measure import Measurement

from clew.questions.amounts import duration, money

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from rich.table import Table

__all__ = [
    "LEVEL_STYLES",
    "PIPED_TABLE_WIDTH",
    "STATUS_STYLES",
    "clean",
    "console",
    "duration",
    "fields",
    "money",
    "paged",
    "print_json",
    "print_table",
    "size",
]

LEVEL_STYLES: Final = {"DEBUG": "dim", "INFO": "", "WARNING": "yellow", "ERROR": "red", "CRITICAL": "bold red"}
STATUS_STYLES: Final = {"ok": "green", "running": "cyan", "error": "red", "aborted": "magenta", "cancelled": "yellow"}
PIPED_WIDTH = 160
PIPED_TABLE_WIDTH = 10_000

# C0 and C1 controls, and the characters that turn the direction of writing around.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")
_CONTROL_IN_LINES = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")

_BLANK_ENDS = re.compile(r" +$", re.MULTILINE)


def clean(value: object, *, is_multiline: bool = False) -> str:
    r"""Take out of a text whatever a terminal would obey.

    Args:
        value: Anything; its ``str`` is taken.
        is_multiline: Keep line ends and tabs.

    Example:
        >>> clean("a\x1b[31mb\nc")
        'a [31mb c'
    """
    return (_CONTROL_IN_LINES if is_multiline else _CONTROL).sub(" ", str(value))


def console() -> Console:
    """Return a console on stdout: coloured on a terminal unless ``NO_COLOR`` is set, plain and wide elsewhere."""
    is_terminal = sys.stdout.isatty()
    return Console(
        file=None if is_terminal else cast("IO[str]", _Trimmed()),
        color_system=None if os.environ.get("NO_COLOR") else "auto",  # rich would leave bold and dim in
        highlight=False,
        markup=False,
        emoji=False,
        soft_wrap=not is_terminal,
        width=None if is_terminal else PIPED_WIDTH,
    )


class _Trimmed:
    """Standard output without the blanks that a table's lines end with."""

    encoding = property(lambda _: sys.stdout.encoding)

    def write(self, text: str) -> int:
        sys.stdout.write(_BLANK_ENDS.sub("", text))
        return len(text)

    def flush(self) -> None:
        sys.stdout.flush()


@contextmanager
def paged() -> Generator[Console]:
    """Give a console whose output is shown by a pager if it is longer than the terminal.

    The pager is ``$PAGER``, else ``less -FRX``, which gets out of the way by itself; ``PAGER=cat`` is none. Piped output is
    not paged.
    """
    out = console()
    if not out.is_terminal or not sys.stdin.isatty():
        yield out
        return
    with out.capture() as captured:
        yield out
    text = captured.get()
    command = _pager()
    if text.count("\n") < out.height or not command or shutil.which(command[0]) is None:
        sys.stdout.write(text)
        return
    with subprocess.Popen(command, stdin=subprocess.PIPE, text=True) as pager:  # noqa: S603 - the user's own
        # Ctrl-C is the pager's: were it killed, the terminal would stay as the pager has set it.
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            pager.communicate(text)
        finally:
            signal.signal(signal.SIGINT, before)


def _pager() -> list[str]:
    try:
        return shlex.split(os.environ.get("PAGER", "less -FRX"))
    except ValueError:  # a quote that is not closed
        return []


def print_table(out: Console, table: Table) -> None:
    """Print a table; what is piped is not cut to a width."""
    if not out.is_terminal:
        wide = out.options.update(max_width=PIPED_TABLE_WIDTH)
        out.width = max(out.width, Measurement.get(out, wide, table).maximum)
    out.print(table)


def print_json(value: Any, *, indent: int = 0) -> None:
    """Print a value as JSON, in one line unless indented; what a terminal would obey is escaped as JSON escapes."""
    text = json.encode(value)
    if indent:
        text = json.format(text, indent=indent)
    sys.stdout.write(_CONTROL_IN_LINES.sub(lambda found: f"\\u{ord(found[0]):04x}", text.decode()) + "\n")
    sys.stdout.flush()


def size(number: float) -> str:
    """Write a number of bytes.

    Example:
        >>> [size(number) for number in (512, 2048, 3145728)]
        ['512 B', '2.0 KiB', '3.0 MiB']
    """
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1024:
            return f"{number} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} TiB"


def fields(*mappings: Mapping[str, Any], longest: int = 60) -> str:
    """Write fields as ``name=value``, each value cut to *longest* characters.

    Example:
        >>> fields({"chunk_count": 42}, {"duration_ms": 1250})
        'chunk_count=42 duration_ms=1250'
    """
    parts: list[str] = []
    for mapping in mappings:
        for name, value in mapping.items():
            text = value if isinstance(value, str) else json.encode(value).decode()
            shown = clean(text)
            shown = shown if len(shown) <= longest else f"{shown[: longest - 1]}…"
            parts.append(f"{clean(name)}={json.encode(shown).decode() if ' ' in shown or not shown else shown}")
    return " ".join(parts)
