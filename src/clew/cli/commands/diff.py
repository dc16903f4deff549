"""``clew diff``: what sets a bad trace apart from a good one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import json
from rich.text import Text

from clew import config
from clew.cli.asking import Data, Dsn, Json, ask, asks
from clew.cli.look.render import clean, duration, money, paged, print_json
from clew.questions.differences import DiffQuestion

if TYPE_CHECKING:
    from rich.console import Console

    from clew.store.diff import DiffStep, FieldChange, TraceDiff
    from clew.store.trace_tree import Summary

__all__ = ["diff"]

LONGEST = 80
MARKS = {"ok": ("- ", "red", "only in the good one"), "bad": ("+ ", "green", "only in the bad one")}


@asks(DiffQuestion)
def diff(question: DiffQuestion, data: Data = None, dsn: Dsn = None, as_json: Json = False) -> None:
    """Compare two traces: steps that only one has, and settings, documents, errors and times that differ.

    Example: clew diff 01a208dd-c7c1-7bc6-b23b-7c45f6a1a364 01a208de-0b52-7c11-9d0a-55e1f09a77aa
    """
    found = ask(config.load(data_dir=data, dsn=dsn), question.reading())
    if as_json:
        print_json(found)
        return
    with paged() as out:
        _show(found, out)


def _show(found: TraceDiff, out: Console) -> None:
    for word, summary in (("good", found.ok), ("bad", found.bad)):
        out.print(_headline(word, summary))
    out.print()
    for step in found.steps:
        out.print(_describe(step))
    out.print(Text(f"{found.same} steps are alike, {len(found.steps)} differ", "dim"))


def _headline(word: str, summary: Summary) -> Text:
    facts = [summary.status, duration(summary.duration_ms), money(summary.cost_usd), summary.start[:19]]
    return Text.assemble(
        (f"{word:5}", "bold"), clean(summary.name), f"  {'  '.join(filter(None, facts))}  ", (summary.trace_id, "dim")
    )


def _describe(step: DiffStep) -> Text:
    mark, style, note = MARKS.get(step.is_in, ("  ", "bold", ""))
    line = Text.assemble((mark, style), (clean(" › ".join(step.path)), style))
    if note:
        line.append(f"  {note}", "dim")
    took = [duration(value) for value in (step.ok_ms, step.bad_ms) if value is not None]
    if took and (step.is_slower or step.is_in != "both"):
        line.append(f"  {' → '.join(took)}", "yellow" if step.is_slower else "dim")
    for change in step.changes:
        line.append(f"\n      {clean(change.name)}: {_value(change.ok)} → {_value(change.bad)}{_factor(change)}")
    return line


def _value(value: Any) -> str:
    text = "none" if value is None else value if isinstance(value, str) else json.encode(value).decode()
    shown = clean(text)
    return shown if len(shown) <= LONGEST else f"{shown[: LONGEST - 1]}…"


def _factor(change: FieldChange) -> str:
    return "" if change.ratio is None else f"  (× {change.ratio:.3g})"
