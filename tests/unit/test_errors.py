"""The exception tree."""

from __future__ import annotations

import inspect

import pytest

from clew import errors
from clew.errors import ClewError, ConfigError, SpoolError, SpoolFullError, UsageError

TREE = [getattr(errors, name) for name in errors.__all__]


@pytest.mark.parametrize("kind", TREE)
def test_everything_that_is_raised_on_purpose_is_a_clew_error(kind: type[Exception]) -> None:
    """One ``except ClewError`` catches all of it."""
    assert issubclass(kind, ClewError)


def test_the_tree_is_drawn_in_the_docstring() -> None:
    """Every class of the module stands in the drawing, and is public."""
    classes = {name for name, _ in inspect.getmembers(errors, inspect.isclass)}

    assert classes == set(errors.__all__)
    assert all(name in str(errors.__doc__) for name in classes)


def test_a_hint_says_what_to_do() -> None:
    """Message and hint make one line; without a hint the message stands alone."""
    assert str(ClewError("port 4319 is in use", hint="choose another")) == "port 4319 is in use; choose another"
    assert str(ClewError("port 4319 is in use")) == "port 4319 is in use"


@pytest.mark.parametrize("kind", TREE)
def test_bad_usage_exits_with_two_and_all_else_with_one(kind: type[ClewError]) -> None:
    """The command line's exit code comes from the class."""
    assert kind.exit_code == (2 if kind in {ConfigError, UsageError} else 1)


def test_a_full_spool_says_which_bound_was_met() -> None:
    """The reason is the word that the losses are counted by."""
    error = SpoolFullError("no room", reason="disk_full")

    assert (error.reason, isinstance(error, SpoolError)) == ("disk_full", True)
