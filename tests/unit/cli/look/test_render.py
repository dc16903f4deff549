"""What a terminal is given."""

from __future__ import annotations

import io
import json
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table

from clew.cli.look.render import clean, console, print_json

if TYPE_CHECKING:
    import pytest

OBEYED = [*map(chr, range(32)), *map(chr, range(0x7F, 0xA0)), "\u202e", "\u2066", "\u200f", "\u2028", "\ufeff"]


@given(
    value=st.dictionaries(st.text(), st.text() | st.sampled_from(OBEYED), max_size=4), indent=st.sampled_from([0, 2])
)
def test_json_holds_nothing_that_a_terminal_obeys(value: dict[str, Any], indent: int) -> None:
    """It is escaped, and means the same."""
    shown = io.StringIO()

    with redirect_stdout(shown):
        print_json(value, indent=indent)

    text = shown.getvalue()
    assert json.loads(text) == value
    assert not set(text) & (set(OBEYED) - {"\n"})
    assert indent or text.count("\n") == 1


@given(text=st.text() | st.text(st.sampled_from(OBEYED)))
def test_clean_text_holds_nothing_that_a_terminal_obeys(text: str) -> None:
    """Not even an end of line, unless lines are wanted."""
    assert not set(clean(text)) & set(OBEYED)
    assert not set(clean(text, is_multiline=True)) & (set(OBEYED) - {"\n", "\t"})


def test_piped_tables_end_their_lines_without_blanks(capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever keeps the output in a file, or compares it, meets only what was told."""
    table = Table(box=None)
    for name in ("trace", "status"):
        table.add_column(name)
    table.add_row("a trace with a long name", "ok")
    table.add_row("short", "")

    console().print(table)

    assert capsys.readouterr().out.splitlines() == [
        " trace                     status",
        " a trace with a long name  ok",
        " short",
    ]
