"""The clauses of ``src/clew/integrations/CONTRACT.md``, held against every integration."""

from __future__ import annotations

import subprocess
import sys
import threading
from asyncio import CancelledError
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import clew
from clew.emit.context import Context
from conformance.integrations import INTEGRATIONS, Host

if TYPE_CHECKING:
    from support.fix_events import Emitted

pytest_plugins = ["support.fix_events"]

FOLDER = Path(__file__).parents[2] / "src" / "clew" / "integrations"
MALFORMED = ["\0", "{" * 2000, "00-0-0-zz", "x" * 100_000, "\ud800", "%", "[[1]", "é\r\nset-cookie: a=b"]


@pytest.fixture(params=INTEGRATIONS)
def host(request: pytest.FixtureRequest) -> Host:
    """Give each program in turn."""
    return INTEGRATIONS[request.param]


def test_every_integration_is_in_the_list() -> None:
    """Each module is one."""
    assert {path.stem for path in FOLDER.glob("[a-z]*.py")} == set(INTEGRATIONS)


def test_the_work_is_a_span_and_its_value_is_handed_on(emitted: Emitted, host: Host) -> None:
    """Clause 3: the very object comes back; what is logged meanwhile is in the span."""
    value = object()

    def piece() -> object:
        clew.get_logger().info("worked")
        return value

    assert host.work(piece) is value
    (span,) = emitted("span")
    assert (span["status"], emitted.log("worked")["span_id"]) == ("ok", span["span_id"])


@pytest.mark.parametrize("error", [LookupError, CancelledError, GeneratorExit, KeyboardInterrupt, SystemExit])
def test_what_the_host_raises_goes_on_as_the_same_object(
    emitted: Emitted, host: Host, error: type[BaseException]
) -> None:
    """Clause 2: nothing is swallowed, and the span says that it did not end well."""
    raised = error("no thread")

    def piece() -> None:
        raise raised

    with pytest.raises(error) as caught:
        host.work(piece)

    assert caught.value is raised
    if error is LookupError:
        (span,) = emitted("span")
        assert span["status"] == "error"


def test_nothing_stays_in_force(emitted: Emitted, host: Host) -> None:
    """Clause 5: neither after a piece of work that went well nor after one that failed."""
    before = clew.current()
    host.work(lambda: None)
    after = clew.current()
    with pytest.raises(ZeroDivisionError):
        host.work(lambda: 1 // 0)

    assert before == after == clew.current() == Context()


def test_no_thread_is_started(emitted: Emitted, host: Host) -> None:
    """Clause 4: the threads are those that emitting has."""
    clew.get_logger().info("before")
    before = set(threading.enumerate())

    assert host.work(lambda: set(threading.enumerate())) <= before
    assert set(threading.enumerate()) <= before


def test_importing_it_imports_no_library(host: Host) -> None:
    """Clause 6: in a fresh interpreter, what it serves is not loaded."""
    name = next(name for name, one in INTEGRATIONS.items() if one is host)
    code = f"import sys, clew.integrations.{name}; print(*{set(host.libraries)!r} & set(sys.modules))"

    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert ran.stdout.strip() == ""


@pytest.mark.parametrize("outside", MALFORMED, ids=range(len(MALFORMED)))
def test_what_comes_malformed_from_outside_changes_nothing(emitted: Emitted, host: Host, outside: str) -> None:
    """Clauses 1 and 7: the work is done, and the span is there with ids of its own."""
    assert host.work(lambda: 42, outside) == 42

    (span,) = emitted("span")
    assert span["status"] == "ok"
    assert len(span["trace_id"]) == len(span["span_id"]) == 36
