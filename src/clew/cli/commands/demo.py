"""``clew demo``: a real RAG service on real documents, through the whole pipeline.

Everything that ``clew up`` starts, the service in a process of its own, and users who upload and
ask over HTTP; then what came of it: two requests as trees, and whether every event arrived.

With a fault, the service asks a provider of the demo's own, and more users ask at a steady pace: before the fault,
under it and, with ``--fix``, after it.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path  # noqa: TC003 - typer reads annotations at run time
from random import Random
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer
from msgspec import Struct, field, to_builtins
from msgspec.structs import replace

from clew import config
from clew.cli.asking import ask as ask_store
from clew.cli.commands.trace import render
from clew.cli.look.demo_screen import DemoScreen, examples
from clew.cli.look.render import print_json
from clew.cli.raised import RaisedAlerts
from clew.cli.stack import running
from clew.demo.corpus import Document, broken_document, collect, default_documents
from clew.demo.driver import Driver
from clew.demo.faults.registry import choose_fault
from clew.demo.ingestion.embed import load_embedder
from clew.demo.provider.server import LocalProvider
from clew.demo.questions import plan
from clew.demo.selfcheck import Report, check, kind_of
from clew.demo.service import Service
from clew.demo.settings import endpoint_from
from clew.demo.traffic import PhaseReport
from clew.demo.trial import DEFAULT_PACE, Trial
from clew.emit.context import mint_id
from clew.errors import ClewError, UsageError
from clew.server.run import listen
from clew.store.postgres.alerts.listing import AlertRow
from clew.store.postgres.traces import fetch_trace

if TYPE_CHECKING:
    from collections.abc import Generator
    from types import FrameType

    from clew.cli.stack import Running
    from clew.config import Settings
    from clew.demo.driver import Exchange
    from clew.demo.faults.fault import ChosenFault
    from clew.demo.questions import CorpusQuestion

__all__ = ["demo"]

DEFAULT_PORT = 4319
PAUSE_S = 15.0
"""Between two questions once everything has been shown, in seconds."""


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
        fault: The fault that the demo had; None for none.
        phases: What came of the requests before the fault, under it and after it.
        alerts: The alerts that were raised, as ``clew alerts list --json`` has them.
    """

    url: str
    service_url: str
    service_pid: int | None
    works_with: dict[str, Any]
    requests: list[dict[str, Any]]
    upload_trace_id: str | None
    question_trace_id: str | None
    check: Report
    fault: dict[str, Any] | None = None
    phases: list[PhaseReport] = field(default_factory=list[PhaseReport])
    alerts: list[AlertRow] = field(default_factory=list[AlertRow])


class _Demo(NamedTuple):
    """What runs.

    Attributes:
        parts: Store, agent and server.
        service: The RAG service.
        works_with: Its models.
        driver: Sends uploads and questions.
        trial: The fault, and the requests of its phases; None without a fault.
    """

    parts: Running
    service: Service
    works_with: dict[str, Any]
    driver: Driver
    trial: Trial | None

    @property
    def exchanges(self) -> list[Exchange]:
        return [*self.driver.exchanges, *(self.trial.exchanges if self.trial is not None else ())]


def demo(  # noqa: PLR0913, PLR0917 - the options of the command
    paths: Annotated[
        list[Path] | None,
        typer.Argument(help="Documents of yours, or folders of them; by default those of the demo.", metavar="PATH"),
    ] = None,
    questions: Annotated[int, typer.Option(help="How many questions to ask.", min=1)] = 12,
    fault: Annotated[
        str | None,
        typer.Option(
            help="Break something: a fault of `clew fault list`, with how severe it is.",
            metavar="NAME[:SEVERITY]",
            show_default=False,
        ),
    ] = None,
    is_to_fix: Annotated[bool, typer.Option("--fix", help="Take the fault back in the end.")] = False,
    pace: Annotated[float, typer.Option(help="With a fault: requests a second.", min=0.1, max=100.0)] = DEFAULT_PACE,
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
    screen = DemoScreen(is_json=as_json)
    chosen = _choose(fault, is_to_fix=is_to_fix)
    documents = collect(paths, screen.note) if paths else default_documents()
    if endpoint_from(os.environ) is not None and chosen is not None:  # read first: a wrong one is an error at once
        screen.note("with a fault, a provider of the demo's own is asked instead of the one of OPENAI_BASE_URL")
    settings = config.load(data_dir=data, dsn=dsn, host=host, port=port)
    settings = settings if port is not None else _with_free_port(settings)
    with _one_interrupt(), _started(settings, chosen, documents, pace, screen) as demo:
        asked = _use(demo, documents, questions, screen, is_to_fix=is_to_fix)
        if is_to_exit:
            demo.service.stop()  # now it has said all that it has to say
        report = check(demo.parts.dsn, demo.exchanges)
        report.excused = demo.trial.excused if demo.trial is not None else 0
        if as_json:
            print_json(_summary_of(demo, report))
        else:
            _show_result(screen, demo, report, is_over=is_to_exit)
        if is_to_exit:
            raise typer.Exit(0 if report.is_good else 1)
        with suppress(KeyboardInterrupt):
            _go_on(demo, asked, screen)
        screen.note("stopping")


@contextmanager
def _started(
    settings: Settings, chosen: ChosenFault | None, documents: list[Document], pace: float, screen: DemoScreen
) -> Generator[_Demo]:
    """Run everything for the length of a block; with a fault, the provider that the service asks as well."""
    with ExitStack() as stack:
        parts = stack.enter_context(running(settings, report=screen.note))
        provider = stack.enter_context(LocalProvider(load_embedder())) if chosen is not None else None
        environment = provider.environment if provider is not None else None
        service = stack.enter_context(Service(parts.settings, screen.note, environment))
        works_with = service.start()
        screen.head(parts, service, works_with, len(documents))
        driver = stack.enter_context(Driver(service.url, screen.exchange))
        trial = None
        if chosen is not None and provider is not None:
            busy = stack.enter_context(Driver(service.url, lambda _: None))
            trial = Trial(chosen, provider, busy, documents=documents, pace=pace, progress=screen.progress)
        yield _Demo(parts, service, works_with, driver, trial)


def _choose(fault: str | None, *, is_to_fix: bool) -> ChosenFault | None:
    if is_to_fix and fault is None:
        raise UsageError("--fix takes a fault back, and there is none", hint="clew demo --fault rate_limit --fix")
    return choose_fault(fault) if fault is not None else None


def _with_free_port(settings: Settings) -> Settings:
    """Take any free port when the default one is in use: a demo beside a ``clew up`` is no conflict."""
    if settings.port != DEFAULT_PORT:
        return settings
    try:
        listen(settings).close()
    except ClewError:
        return replace(settings, port=0)
    return settings


def _use(
    demo: _Demo, documents: list[Document], count: int, screen: DemoScreen, *, is_to_fix: bool
) -> list[CorpusQuestion]:
    """Upload, among them a document that nobody can read, and ask; with a fault, send the requests of its phases.

    Returns:
        What was asked at first.
    """
    run_id = f"run-{mint_id()}"

    def upload() -> None:
        screen.title("uploads")
        for document in [*documents, broken_document()]:
            demo.driver.upload(document, run_id)
        if demo.trial is not None:
            screen.note("service and provider prepare for questions about the documents")

    if demo.trial is not None:
        demo.trial.prepare(upload)
    else:
        upload()
    asked = plan(documents, count)
    screen.title("questions")
    demo.driver.ask_all(asked)
    if demo.trial is not None:
        trial = demo.trial
        alerts = RaisedAlerts(demo.parts.settings)
        phases = trial.run(
            lambda phase: screen.begin_phase(phase, trial.chosen), is_to_fix=is_to_fix, is_found=alerts.are_notified
        )
        for report in phases:
            screen.end_phase(report)
            if report.phase == "fault":
                screen.alerts(alerts.find())
    return asked


def _go_on(demo: _Demo, asked: list[CorpusQuestion], screen: DemoScreen) -> None:
    """Ask until somebody says stop: at the pace of the trial, or without one a question now and then."""
    if demo.trial is not None:
        state = "under the fault" if demo.trial.is_in_force else "the fault is gone"
        screen.note(f"requests go on, {state}; Ctrl-C ends")
        demo.trial.go_on()
    screen.note("asking on, slowly; Ctrl-C ends")
    random = Random()
    while not threading.Event().wait(PAUSE_S):
        demo.driver.ask(random.choice(asked).text)
        demo.driver.exchanges.clear()


def _show_result(screen: DemoScreen, demo: _Demo, report: Report, *, is_over: bool) -> None:
    """Show two requests as trees, and what the check found."""
    upload, question = examples(demo.exchanges)
    shown = [one for one in (upload, question) if one is not None and one.trace_id is not None]
    trees = [render(ask_store(demo.parts.settings, fetch_trace(str(one.trace_id)))) for one in shown]
    screen.result(demo.parts, trees, question or upload, report, is_over=is_over)


def _summary_of(demo: _Demo, report: Report) -> _Summary:
    upload, question = examples(demo.exchanges)
    trial, chosen = demo.trial, demo.trial and demo.trial.chosen
    return _Summary(
        url=demo.parts.url,
        service_url=demo.service.url,
        service_pid=demo.service.pid,
        works_with=demo.works_with,
        requests=[to_builtins(exchange) | {"result": kind_of(exchange)} for exchange in demo.exchanges],
        upload_trace_id=upload and upload.trace_id,
        question_trace_id=question and question.trace_id,
        check=report,
        fault=chosen and {"name": chosen.fault.name, "cause": chosen.fault.cause, "severity": chosen.severity},
        phases=trial.phases if trial is not None else [],
        alerts=RaisedAlerts(demo.parts.settings).find(),
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
