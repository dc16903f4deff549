"""A fault tried on the real service with the real provider: what users see before it, under it, and after it."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from itertools import cycle
from random import Random
from typing import TYPE_CHECKING

import pytest
import uvicorn

from clew.demo.app import create_app
from clew.demo.corpus import Document
from clew.demo.driver import Driver
from clew.demo.faults.registry import choose_fault
from clew.demo.generation.generate import RetryPolicy
from clew.demo.parts import put_together
from clew.demo.provider.server import LocalProvider
from clew.demo.settings import DemoSettings, endpoint_from
from clew.demo.traffic import MAX_UNDER_WAY, PhaseReport, Traffic
from clew.demo.trial import Trial
from clew.demo.visits import Visit
from support.accounting import wait_for
from support.fix_demo import GUIDE

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

    from clew.demo.faults.fault import ChosenFault
    from clew.demo.ingestion.embed import HashedWords
    from support.fix_events import Emitted

pytest_plugins = ["support.fix_demo", "support.fix_events"]

DOCUMENT = Document("guide.md", "text/markdown", GUIDE.encode())
QUICK = RetryPolicy(max_attempts=2, base_s=0.001, cap_s=0.001)


@pytest.fixture
def provider(words: HashedWords) -> Iterator[LocalProvider]:
    """A provider that runs."""
    with LocalProvider(words) as running:
        yield running


@contextmanager
def serving(directory: Path, provider: LocalProvider, words: HashedWords) -> Generator[str]:
    """Serve the RAG service, which asks the provider; give its address."""
    settings = DemoSettings(endpoint=endpoint_from(provider.environment), retry=QUICK)
    app = create_app(put_together(settings, directory / "index", embedder=words))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", access_log=False))
    listener = server.config.bind_socket()
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    wait_for(lambda: server.started, "the service")
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


@pytest.fixture
def driver(tmp_path: Path, provider: LocalProvider, words: HashedWords, emitted: Emitted) -> Iterator[Driver]:
    """A driver of the service, which knows one document."""
    with serving(tmp_path, provider, words) as url, Driver(url, lambda _: None) as one:
        assert one.upload(DOCUMENT, "run-1").status == 201
        one.exchanges.clear()
        yield one


def trial_of(chosen: ChosenFault, provider: LocalProvider, driver: Driver) -> Trial:
    """Make a trial at a high pace."""
    return Trial(chosen, provider, driver, documents=[DOCUMENT], pace=100.0, progress=lambda _: None)


@pytest.mark.slow
def test_requests_fail_under_the_fault_and_only_then(provider: LocalProvider, driver: Driver, emitted: Emitted) -> None:
    """Each phase begins when the one before is over; the failures are the service's own, and nothing else failed."""
    trial = trial_of(choose_fault("rate_limit:1"), provider, driver)
    begun: list[str] = []
    trial.prepare(lambda: begun.append("uploads"))

    reports = list(trial.run(begun.append, is_to_fix=True))

    before, under, after = reports
    assert [report.phase for report in reports] == ["before", "fault", "after"]
    assert begun == ["uploads", "before", "fault", "after"]
    assert (before.failed, after.failed) == (0, 0)
    assert under.failed > 0.2 * under.requests
    assert under.failed + under.from_cache == under.requests
    assert all("answered 429: Rate limit reached for" in error for error in under.errors)
    assert before.end <= under.begin < under.end <= after.begin
    assert [before.requests, under.requests, after.requests] == [64, 150, 112]
    assert trial.excused == under.failed
    assert len(trial.exchanges) == 326
    failed = emitted("log", "generation_failed")
    assert {log["context"]["error_type"] for log in failed} == {"RateLimitError"}
    assert len(failed) == under.failed


@pytest.mark.slow
def test_a_fault_that_is_not_taken_back_stays(provider: LocalProvider, driver: Driver) -> None:
    """There is no third phase, and the next question still meets the fault."""
    trial = trial_of(choose_fault("rate_limit:1"), provider, driver)

    phases = [report.phase for report in trial.run(lambda _: None, is_to_fix=False)]

    assert phases == ["before", "fault"]
    assert trial.is_in_force
    assert driver.ask("What does a berth in the harbour cost at noon?").status == 502


class _EnoughError(Exception):
    """Stops traffic that has no end."""


def test_traffic_without_an_end_goes_on_until_it_is_stopped_and_keeps_nothing(driver: Driver) -> None:
    """Progress is reported again and again, each time of what came since; what is over is not kept."""
    reports: list[PhaseReport] = []

    def progress(report: PhaseReport) -> None:
        reports.append(report)
        if len(reports) == 3:
            raise _EnoughError

    visits = cycle([Visit("ann", "session-ann-1", "What does a berth cost?")])
    traffic = Traffic(driver, visits, pace=200.0, random=Random(1), progress=progress, progress_s=0.05)

    with pytest.raises(_EnoughError):
        traffic.send("fault", None)

    assert all(report.requests > 0 for report in reports)
    assert reports[0].end <= reports[1].begin
    assert len(driver.exchanges) <= MAX_UNDER_WAY + reports[-1].requests  # those that were under way at the end
    assert {report.failed for report in reports} == {0}
    assert reports[-1].p50_ms <= reports[-1].p95_ms
