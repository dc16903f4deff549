"""How questions are declared and read, and that every front takes them from their declaration."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import clew.questions
from clew import config
from clew.errors import UsageError
from clew.questions.costs import CostsQuestion
from clew.questions.kinds import TEXT, number
from clew.questions.logs import LogsQuestion, ManyLogsQuestion
from clew.questions.parameter import InTime, Question, parameter, parameters, read_question
from clew.server.app import create_app

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def questions() -> list[type[Question]]:
    """Find every question that is declared."""
    found: set[type[Question]] = set()
    for module in pkgutil.iter_modules(clew.questions.__path__):
        for one in vars(importlib.import_module(f"clew.questions.{module.name}")).values():
            if isinstance(one, type) and issubclass(one, Question) and one not in {Question, InTime}:
                found.add(one)
    return sorted(found, key=lambda one: one.__name__)


@dataclass(frozen=True, kw_only=True)
class Greeting(Question):
    """A question that nobody asks."""

    whom: str = parameter(TEXT, is_required=True, help="Whom", example="ann", name="to", option="")
    times: int = parameter(number(1, 5), default=2, help="How often", example="3")


@pytest.mark.parametrize("question", questions())
def test_examples_and_defaults_are_taken(question: type[Question]) -> None:
    """What a declaration shows a user is read by it: every example, and every default as the value that it stands for."""
    texts = {one.name: one.example for one in parameters(question, "http")}
    required = {one.name: one.example for one in parameters(question, "http") if one.is_required}
    written = {one.name: one.default for one in parameters(question, "http") if one.default is not None}
    texts.pop("until", None)  # which may be before an example of since

    asked = read_question(question, texts, now=NOW)
    plain = read_question(question, required, now=NOW)

    assert {one.name for one in dataclasses.fields(question)} >= {one.field for one in parameters(question)}
    assert all(getattr(asked, one.field) is not None for one in parameters(question, "http") if one.name in texts)
    assert read_question(question, {**required, **written}, now=NOW) == plain


def test_values_come_from_texts_and_defaults() -> None:
    """A text is read by its kind; what is not given is the default; a name over HTTP is not that of the field."""
    assert read_question(Greeting, {"to": "bob", "times": "5"}, now=NOW) == Greeting(now=NOW, whom="bob", times=5)
    assert read_question(Greeting, {"to": "bob"}, now=NOW).times == 2
    assert read_question(Greeting, {"to": "bob", "times": " "}, now=NOW).times == 2


@pytest.mark.parametrize(
    ("texts", "sentence"),
    [
        ({}, "to is missing; give to, such as ann"),
        ({"to": "bob", "time": "3"}, "there is no parameter 'time'; did you mean times? the parameters are to, times"),
        ({"to": "bob", "whom": "x"}, "there is no parameter 'whom'; the parameters are to, times"),
        ({"to": "bob", "times": "six"}, "times is 'six', which is not a whole number; use 1 to 5"),
        ({"to": "bob", "times": "6"}, "times is 6, which is out of range; use 1 to 5"),
        ({"to": "bob", "times": "9" * 30}, f"times is '{'9' * 30}', which is not a whole number; use 1 to 5"),
        ({"to": "b\x00b"}, "to contains a NUL character; no text in the store does"),
    ],
)
def test_each_mistake_says_what_would_be_right(texts: dict[str, str], sentence: str) -> None:
    """The name, the value, and what to write instead."""
    with pytest.raises(UsageError) as refused:
        read_question(Greeting, texts, now=NOW)

    assert str(refused.value) == sentence


def test_a_range_that_nobody_gave_begins_before_its_end() -> None:
    """The default range counts back from ``until``, wherever that is; an empty one is refused, also with a default end."""
    last_week = read_question(CostsQuestion, {"until": "7d"}, now=NOW)

    assert last_week.range(timedelta(hours=24)) == (NOW - timedelta(days=8), NOW - timedelta(days=7))
    with pytest.raises(UsageError, match=r"since is not before until: 2026-11-23T13:00:00.000000Z to 2026-11-23T12"):
        read_question(CostsQuestion, {"since": "2026-11-23T13:00"}, now=NOW).reading()
    with pytest.raises(UsageError, match="nothing is before"):
        read_question(CostsQuestion, {"until": "0001-01-01"}, now=NOW).reading()


def test_a_front_may_lack_a_parameter() -> None:
    """A cursor is for fronts with pages; the command line reads on by itself, so that its limit has no end."""
    assert "cursor" in {one.name for one in parameters(LogsQuestion, "http")}
    with pytest.raises(UsageError, match="there is no parameter 'cursor'"):
        read_question(ManyLogsQuestion, {"cursor": "x"}, now=NOW, front="cli")
    assert read_question(ManyLogsQuestion, {"limit": "5000"}, now=NOW, front="cli").limit == 5000


def test_the_openapi_document_has_every_parameter_of_a_route(tmp_path: Any) -> None:
    """What a route reads is what it is described by; none reads a parameter of the URL by itself."""
    app = create_app(config.load(data_dir=tmp_path))
    paths = app.openapi()["paths"]
    found: dict[str, list[str]] = {
        path: [one["name"] for one in operations["get"].get("parameters", [])]
        for path, operations in paths.items()
        if path.startswith("/api/") and "get" in operations
    }
    declared = {tuple(one.name for one in parameters(question, "http")) for question in questions()}

    assert len(found) >= 12
    for path, names in found.items():
        assert tuple(names) in declared, path
    costs = {one["name"]: one["schema"] for one in paths["/api/costs"]["get"]["parameters"]}
    assert costs["limit"] == {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100}
    assert costs["by"]["default"] == "line"
    assert "model" in costs["by"]["enum"]
