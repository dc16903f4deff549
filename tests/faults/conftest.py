"""The fault suite: every promise about losing nothing, kept with real processes and a real PostgreSQL.

Without ``--run-faults`` a fast selection runs; with it, everything (``make test-faults``).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that runs everything."""
    parser.addoption("--run-faults", action="store_true", default=False, help="run the whole fault suite")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the tests marked ``faults`` to the whole suite."""
    if config.getoption("--run-faults", default=False):
        return
    left_out = [item for item in items if item.get_closest_marker("faults")]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


@pytest.fixture
def is_whole_suite(request: pytest.FixtureRequest) -> bool:
    """Whether the whole suite runs: a test of rounds does more of them."""
    return bool(request.config.getoption("--run-faults", default=False))


class Place(Protocol):
    """Where one test's application keeps its data and its counters."""

    data: Path
    counters: Path


class _Place:
    def __init__(self, home: Path) -> None:
        self.data, self.counters = home / "data", home / "counters"
        self.counters.mkdir()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Give directories of their own to one test."""
    return _Place(tmp_path)


@pytest.fixture
def environment(place: Place) -> dict[str, str]:
    """Give an environment for applications of the test, which start no agent."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("CLEW_")}
    tests = str(Path(__file__).parent.parent)
    return inherited | {
        "CLEW_DATA_DIR": str(place.data),
        "CLEW_AGENT": "external",
        "CLEW_SERVICE": "victim",
        "VICTIM_COUNTERS": str(place.counters),
        "PYTHONPATH": tests,
    }


@pytest.fixture(autouse=True)
def no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what the environment of the test run says away from the agents in it."""
    for name in [name for name in os.environ if name.startswith("CLEW_") and name != "CLEW_TEST_DSN"]:
        monkeypatch.delenv(name)
