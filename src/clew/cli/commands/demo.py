"""``clew demo``: a real RAG service on real documents, through the whole pipeline.

Everything that ``clew up`` starts, the service in a process of its own, and users who upload and
ask over HTTP; then what came of it: two requests as trees, and whether every event arrived.
"""

from __future__ import annotations

import logging
import os
import random
import shlex
import shutil
import signal
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from msgspec import Struct, to_builtins
from msgspec.structs import replace
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from clew import config
from clew.cli.asking import ask as ask_store
from clew.cli.commands.trace import render
from clew.cli.look.render import clean, console, duration, print_json
from clew.cli.stack import running
from clew.demo.corpus import Document, broken_document, collect, default_documents
from clew.demo.driver import Driver, Exchange
from clew.demo.questions import plan
from clew.demo.selfcheck import Report, check, kind_of
from clew.demo.service import Service
from clew.demo.settings import endpoint_from
from clew.emit.context import mint_id
from clew.errors import ClewError
from clew.server.run import listen
from clew.store.postgres.traces import fetch_trace

if TYPE_CHECKING:
    from collections.abc import Generator
    from types import FrameType

    from clew.cli.stack import Running
    from clew.config import Settings
    from clew.demo.questions import CorpusQuestion

__all__ = ["demo"]

DEFAULT_PORT = 4319
PAUSE_S = 15.0
"""Between two questions once everything has been shown, in seconds."""

ANSWER_CHARS = 130
MARKS = {"upload": "✓", "question": "✓", "question, from the cache": "≈", "question, no answer": "∅"}


class _Summary(Struct):
    """What ``--json`` prints.

    Attributes:
        url: The API.
        service_url: The RAG service.
        service_pid: Its process.
        works_with: Its models.
        requests: Every request with its trace.
        upload_trace_id: An upload to look at.
        question_trace_id: A question to look at.
        check: What the self-check found.
    """

    url: str
    service_url: str
    service_pid: int | None
    works_with: dict[str, Any]
    requests: list[dict[str, Any]]
    upload_trace_id: str | None
    question_trace_id: str | None
    check: Report


def demo(  # noqa: PLR0913, PLR0917 - the options of the command
    paths: Annotated[
        list[Path] | None,
        typer.Argument(help="Documents of yours, or folders of them; by default those of the demo.", metavar="PATH"),
    ] = None,
    questions: Annotated[int, typer.Option(help="How many questions to ask.", min=1)] = 12,
    is_to_exit: Annotated[bool, typer.Option("--exit", help="End after a self-check.")] = False,
    data: Annotated[str | None, typer.Option(help="Data directory; default CLEW_DATA_DIR.", show_default=False)] = None,
    dsn: Annotated[str | None, typer.Option(help="A PostgreSQL to use instead of the embedded one.")] = None,
    host: Annotated[
        str | None, typer.Option(help="Address to listen at; default 127.0.0.1.", show_default=False)
    ] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen at; default 4319.", show_default=False)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Run a real RAG service on real documents, and watch it with clew.

    Example: clew demo ~/documents --questions 20
    """
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # what it finds wrong with a PDF reaches us as exceptions
    screen = _Screen(is_quiet=as_json)
    documents = collect(paths, screen.note) if paths else default_documents()
    endpoint_from(os.environ)  # a model that cannot be meant is said before anything is started
    settings = config.load(data_dir=data, dsn=dsn, host=host, port=port)
    if port is None and settings.port == DEFAULT_PORT:
        settings = _with_free_port(settings)
    with (
        _one_interrupt(),
        running(settings, report=screen.note) as parts,
        Service(parts.settings, screen.note) as service,
    ):
        works_with = service.start()
        screen.head(parts, service, works_with, len(documents))
        with Driver(service.url, screen.exchange) as driver:
            asked = _drive(driver, documents, questions, screen)
            if is_to_exit:
                service.stop()  # now it has said all that it has to say
            report = check(parts.dsn, driver.exchanges)
            if as_json:
                print_json(_summary_of(parts, service, works_with, driver.exchanges, report))
            else:
                screen.result(parts, driver.exchanges, report, is_over=is_to_exit)
            if is_to_exit:
                raise typer.Exit(0 if report.is_good else 1)
            _go_on(driver, asked, screen)


def _with_free_port(settings: Settings) -> Settings:
    """Take any free port when the default one is in use: a demo beside a ``clew up`` is no conflict."""
    try:
        listen(settings).close()
    except ClewError:
        return replace(settings, port=0)
    return settings


def _drive(driver: Driver, documents: list[Document], count: int, screen: _Screen) -> list[CorpusQuestion]:
    """Upload, among them one that nobody can read, and ask; return what was asked."""
    run_id = f"run-{mint_id()}"
    screen.title("uploads")
    for document in [*documents, broken_document()]:
        driver.upload(document, run_id)
    asked = plan(documents, count)
    screen.title("questions")
    driver.ask_all(asked)
    return asked


def _go_on(driver: Driver, asked: list[CorpusQuestion], screen: _Screen) -> None:
    """Ask a question now and then until somebody says stop."""
    screen.note("asking on, slowly; Ctrl-C ends")
    try:
        while not threading.Event().wait(PAUSE_S):
            driver.ask(random.choice(asked).text)
            driver.exchanges.clear()
    except KeyboardInterrupt:
        screen.note("stopping")


def _examples(exchanges: list[Exchange]) -> tuple[Exchange | None, Exchange | None]:
    """Choose an upload and a question that show the most."""
    uploads = [exchange for exchange in exchanges if kind_of(exchange) == "upload"]
    answered = [exchange for exchange in exchanges if kind_of(exchange) == "question"]
    unanswered = [exchange for exchange in exchanges if kind_of(exchange) == "question, no answer"]
    upload = max(uploads, key=lambda exchange: exchange.subject.endswith(".pdf"), default=None)
    return upload, next(iter([*answered, *unanswered]), None)


def _summary_of(
    parts: Running, service: Service, works_with: dict[str, Any], exchanges: list[Exchange], report: Report
) -> _Summary:
    upload, question = _examples(exchanges)
    requests = [to_builtins(exchange) | {"result": kind_of(exchange)} for exchange in exchanges]
    return _Summary(
        url=parts.url,
        service_url=service.url,
        service_pid=service.pid,
        works_with=works_with,
        requests=requests,
        upload_trace_id=upload and upload.trace_id,
        question_trace_id=question and question.trace_id,
        check=report,
    )


@contextmanager
def _one_interrupt() -> Generator[None]:
    """Let SIGINT and SIGTERM interrupt once; what is then stopped is stopped to the end."""
    is_stopping = False

    def stop(_signal: int, _frame: FrameType | None) -> None:
        nonlocal is_stopping
        if not is_stopping:
            is_stopping = True
            raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Screen:
    """What people see of it; with ``--json`` they see it on stderr."""

    def __init__(self, *, is_quiet: bool) -> None:
        self._out = Console(stderr=True, highlight=False, markup=False, emoji=False) if is_quiet else console()
        self._lock = threading.Lock()

    def title(self, text: str) -> None:
        self._out.print(Text(f"\n{text}", "bold"))

    def note(self, text: str) -> None:
        with self._lock:
            self._out.print(Text(f"  {clean(text)}", "yellow"))

    def head(self, parts: Running, service: Service, works_with: dict[str, Any], count: int) -> None:
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

    def result(self, parts: Running, exchanges: list[Exchange], report: Report, *, is_over: bool) -> None:
        """Show two requests whole, what the check found, and where to look next."""
        upload, question = _examples(exchanges)
        for exchange in (upload, question):
            if exchange is not None and exchange.trace_id is not None:
                self._out.print()
                self._out.print(render(ask_store(parts.settings, fetch_trace(exchange.trace_id))))
        self.report(report)
        self._next_steps(parts, question or upload, is_over=is_over)

    def report(self, report: Report) -> None:
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
        if report.failed:
            said += f"; {report.failed} failed, and of those nothing can be foreseen"
        self._out.print(Text(f"self-check: {said}", "green" if report.is_good else "bold red"))

    def _next_steps(self, parts: Running, example: Exchange | None, *, is_over: bool) -> None:
        data = f" --data {shlex.quote(str(parts.settings.data_dir))}"
        clew = _own_name()
        steps = (
            [f"{clew} trace {example.trace_id}{data}", f"{clew} logs --user {example.user}{data}"] if example else []
        )
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
