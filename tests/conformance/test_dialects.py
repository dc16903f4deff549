"""From one clew to another in the words of others: every event comes back with every field that its dialect claims."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import json

from conformance.dialects import ABOVE, DIALECTS, Dialect, logs, spans

if TYPE_CHECKING:
    from clew.dialects.finished_span import Ancestors

FOLDER = Path(__file__).parents[2] / "src" / "clew" / "dialects"
carrying = settings(suppress_health_check=[HealthCheck.too_slow])
"""Drawing is encoding, beside whatever else the machine does."""


@pytest.fixture(params=DIALECTS, scope="session")
def dialect(request: pytest.FixtureRequest) -> Dialect:
    """Give each dialect in turn."""
    return DIALECTS[request.param]


def in_order(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Sort events: a dialect may send those of one service together, and time says which was first."""
    return sorted(events, key=lambda event: json.encode(event, order="sorted"))


def test_every_dialect_is_in_the_list() -> None:
    """Each has a folder of its own."""
    assert {path.parent.name for path in FOLDER.glob("*/__init__.py")} == set(DIALECTS)


@carrying
@given(spans(), st.lists(logs(), max_size=3), st.sampled_from([(), (ABOVE,)]))
def test_a_span_with_its_logs_comes_back(
    dialect: Dialect, span: dict[str, Any], inside: list[dict[str, Any]], above: Ancestors
) -> None:
    """Ids, moments, fields, errors, flags: the span and the logs inside it are what they were, each once."""
    taken = dialect.carry_span(span, inside, above)

    assert in_order(taken) == in_order([dialect.claimed(event) for event in (*inside, span)])


@carrying
@given(logs())
def test_a_log_that_comes_late_comes_back(dialect: Dialect, log: dict[str, Any]) -> None:
    """So does a log whose span was sent before."""
    assert dialect.carry_log(log) == [dialect.claimed(log)]
