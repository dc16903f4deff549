"""What ``clew demo`` shows: each request, the phases of a fault, two requests as trees, the self-check, where to look next."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import json, to_builtins
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from clew.alerts.notice import Notice, first_line
from clew.cli.look.render import clean, console, duration, print_json
from clew.demo.selfcheck import kind_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType

    from clew.cli.stack import Running
    from clew.demo.driver import Exchange
    from clew.demo.faults.fault import ChosenFault
    from clew.demo.selfcheck import Report
    from clew.demo.service import Service
    from clew.demo.traffic import PhaseReport
    from clew.demo.trial import TrialPhase
    from clew.store.postgres.alerts.listing import AlertRow

__all__ = ["DemoScreen", "examples"]

ANSWER_CHARS = 130
MARKS = {"upload": "✓", "question": "✓", "question, from the cache": "≈", "question, no answer": "∅"}


def examples(exchanges: Sequence[Exchange]) -> tuple[Exchange | None, Exchange | None]:
    """Choose an upload and a question that show the most: of questions one that failed, if any did."""
    kinds: dict[str, list[Exchange]] = {}
    for exchange in exchanges:
        kinds.setdefault(f"{kind_of(exchange)} {exchange.kind}", []).append(exchange)
    uploads = kinds.get("upload upload", [])
    upload = max(uploads, key=lambda exchange: exchange.subject.endswith(".pdf"), default=None)
    failed = [exchange for exchange in kinds.get("failed question", []) if exchange.trace_id is not None]
    answered, unanswered = kinds.get("question question", []), kinds.get("question, no answer question", [])
    return upload, next(iter([*failed, *answered, *unanswered]), None)


class DemoScreen:
    """What people see of it.

    Args:
        is_json: People see it on stderr, and programs get lines of JSON on stdout.

    Threads:
        Any.
    """

    def __init__(self, *, is_json: bool) -> None:
        self._is_json = is_json
        self._out = Console(stderr=True, highlight=False, markup=False, emoji=False) if is_json else console()
        self._lock = threading.Lock()
        self._raised: list[str] = []

    def title(self, text: str) -> None:
        """Begin a part."""
        self._out.print(Text(f"\n{text}", "bold"))

    def note(self, text: str) -> None:
        """Say something in a line."""
        with self._lock:
            self._out.print(Text(f"  {clean(text)}", "yellow"))

    def head(self, parts: Running, service: Service, works_with: dict[str, Any], count: int) -> None:
        """Say what runs."""
        answers = f"{works_with['model']} ({works_with['provider']})"
        facts = {
            "API": f"{parts.url}  (OpenAPI at {parts.url}/docs)",
            "service": f"{service.url}  (pid {service.pid})",
            "documents": f"{count}, and one that nobody can read",
            "answers by": answers,
            "vectors by": str(works_with["embedding_model"]),
        }
        lines = [Text.assemble((f"  {name:11}", "dim"), clean(text)) for name, text in facts.items()]
        self._out.print(Group(Text("clew demo: a RAG service, and everything it does on record", "bold"), *lines))

    def exchange(self, exchange: Exchange) -> None:
        """Show a request that is over."""
        kind = kind_of(exchange)
        line = Text.assemble(
            f"  {MARKS.get(kind, '✗')} ",
            (f"{exchange.user:8}", "cyan"),
            (f"{duration(exchange.duration_ms):>8}  ", "dim"),
            clean(exchange.subject),
            (f"  {_describe(exchange)}", "dim"),
        )
        if exchange.outcome is not None and exchange.outcome.is_given:
            line.append(f"\n{'':22}{clean(exchange.outcome.text)[:ANSWER_CHARS]}", "italic")
        with self._lock:
            self._out.print(line)

    def begin_phase(self, phase: TrialPhase, chosen: ChosenFault) -> None:
        """Say that a phase begins now."""
        fault, at = chosen.fault, datetime.now(UTC)
        if self._is_json:
            print_json({"phase": phase, "state": "begin", "at": at, "fault": fault.name, "severity": chosen.severity})
        when = f"{at:%H:%M:%S} UTC"
        self.title(
            {
                "before": f"before the fault, from {when}",
                "fault": f"the fault {chosen} is in force from {when}",
                "after": f"the fault {fault.name} is taken back at {when}",
            }[phase]
        )
        if phase == "fault":
            self.note(f"{fault.description} The severity is {fault.severity_is}.")
        elif phase == "after":
            self.note(fault.fix)

    def progress(self, report: PhaseReport) -> None:
        """Show what came of a phase so far."""
        self._out.print(Text(f"  {_counted(report)}"))

    def end_phase(self, report: PhaseReport) -> None:
        """Show what came of a phase."""
        if self._is_json:
            print_json({"phase": report.phase, "state": "end", **to_builtins(report)})
        self._out.print(Text(f"  in all {_counted(report)}", "red" if report.failed else "green"))
        for error, number in report.errors.items():
            self._out.print(Text(f"  {number} × {clean(error)}", "dim"))

    def alerts(self, found: Sequence[AlertRow]) -> None:
        """Show the alerts that were raised, each by the line that its receivers read first."""
        for alert in found:
            if alert.notice is None:
                continue
            line = first_line(json.decode(alert.notice, type=Notice))
            self._out.print(Text(f"  alert: {clean(line)}", "red"))
            if alert.muted_by:
                self._out.print(Text(f"  nobody is notified of it: {clean(alert.muted_by)}", "dim"))
            self._raised.append(alert.id)
        if not found:
            self._out.print(Text("  no alert was raised", "yellow"))

    def result(
        self,
        parts: Running,
        trees: Sequence[RenderableType],
        example: Exchange | None,
        report: Report,
        *,
        is_over: bool,
    ) -> None:
        """Show two requests whole, what the check found, and where to look next.

        Args:
            parts: What runs.
            trees: The requests.
            example: The one to look at.
            report: What the check found.
            is_over: Whether nothing runs any more in a moment.
        """
        for tree in trees:
            self._out.print()
            self._out.print(tree)
        self._report(report)
        self._next_steps(parts, example, is_over=is_over)

    def _report(self, report: Report) -> None:
        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
        table.add_column("requests")
        for name in ("number", "expected", "found", "missing", "duplicates"):
            table.add_column(name, justify="right")
        for row in report.rows:
            numbers = (row.requests, row.expected, row.found, row.missing, row.duplicates)
            table.add_row(row.kind, *map(str, numbers))
        self._out.print()
        self._out.print(table)
        for fault in report.faults:
            self._out.print(Text(f"  {clean(fault)}", "red"))
        said = (
            "NOT every event is there, once" if report.faults else "every event of every request is in PostgreSQL, once"
        )
        if report.excused:
            said += f"; {report.excused} failed under the fault"
        if report.failed > report.excused:
            said += f"; {report.failed - report.excused} failed, and of those nothing can be foreseen"
        self._out.print(Text(f"self-check: {said}", "green" if report.is_good else "bold red"))

    def _next_steps(self, parts: Running, example: Exchange | None, *, is_over: bool) -> None:
        data = f" --data {shlex.quote(str(parts.settings.data_dir))}"
        clew = _own_name()
        steps = (
            [f"{clew} trace {example.trace_id}{data}", f"{clew} logs --user {example.user}{data}"] if example else []
        )
        steps += [f"{clew} alerts show {alert_id}{data}" for alert_id in self._raised]
        if is_over:
            title = f"\nThe events stay in {parts.settings.data_dir}. Next:"
            steps = [f"{clew} up{data}", *steps]
        else:
            title = f"\nThe API is at {parts.url}. Next:"
            steps += [f"curl {parts.url}/api/traces/{example.trace_id}"] if example else []
            steps += [f"curl {parts.url}/metrics"]
            title += f" {parts.url}/t/{example.trace_id} in a browser, or" if example else ""
        self._out.print(Text(title, "bold"))
        for one in steps:
            self._out.print(Text(f"  {one}"))


def _own_name() -> str:
    """Return by what name this program can be called: a virtual environment need not be on the path."""
    called = Path(sys.argv[0])
    if shutil.which("clew") is not None or called.name != "clew":
        return "clew"
    return shlex.quote(os.path.relpath(called))


def _describe(exchange: Exchange) -> str:
    """Say in some words what came of a request."""
    if exchange.error:
        return clean(f"{exchange.status or ''} {exchange.error}".strip())
    if exchange.ingested is not None:
        return f"{len(exchange.ingested['chunk_ids'])} chunks by {clean(exchange.ingested['parser'])}"
    outcome = exchange.outcome
    if outcome is None:
        return "the answer broke off"
    if outcome.is_cached:
        return "from the cache"
    return clean(outcome.quality_tier or "not judged")


def _counted(report: PhaseReport) -> str:
    """Say in a line what came of some requests."""
    share = f" ({report.failed / report.requests:.0%})" if report.failed else ""
    return (
        f"{report.requests} requests, {report.failed} failed{share}, {report.from_cache} from the cache, "
        f"half within {duration(report.p50_ms)}, 95 % within {duration(report.p95_ms)}"
    )
