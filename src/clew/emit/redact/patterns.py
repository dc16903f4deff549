r"""Rules of users, held to the bound of ours: their time is in proportion to the text.

``re`` tries every way in which a pattern can match before it gives up, at every place of a text. So before a rule is
accepted its dearest case is counted: how many steps one attempt can take. A choice (how often to repeat, which branch)
multiplies the steps of what follows it. A rule that can take more than ``MAX_STEPS`` at a place is refused. Two things
keep ordinary rules within the bound:

* A rule that begins with an open-ended repetition of characters (``[\w.]+@corp``) is tried only where such a run
  begins: a match that begins within a run begins at its start as well.
* Another open-ended repetition, with something behind it, reaches ``REACH`` characters at most. One that ends the
  rule is never tried twice, and has no bound.

With the package ``google-re2``, whose time is linear for every pattern, nothing is refused.
"""

from __future__ import annotations

import re
from typing import Any, Final

from clew.errors import ConfigError

__all__ = ["MAX_STEPS", "REACH", "compile_own"]

MAX_STEPS: Final = 200
"""Steps at one place of a text: 100 KB of the worst text take 0.1 to 0.2 s."""

REACH: Final = (512, 256, 128, 64)
"""Characters that an open-ended repetition within a rule reaches: the most that stays within the steps."""

_SCAN_STEP: Final = 0.3  # a character of a run of one class, as measured against other steps
_OPEN: Final = 1000  # repetitions from which on one counts as open-ended
_SINGLE: Final = ("LITERAL", "NOT_LITERAL", "IN", "ANY")
_HINT: Final = "write repetitions with a bound, such as {1,20}, and one at a time, or pip install google-re2, which has no such case"


def compile_own(kind: str, pattern: str) -> Any:
    """Compile a user's rule so that its time grows linearly with the text.

    Args:
        kind: What it finds, for messages.
        pattern: A regular expression of Python, or of RE2 where that is installed.

    Returns:
        What has ``finditer`` as a compiled pattern of ``re`` has.

    Raises:
        ConfigError: The rule is malformed, or can take longer than in proportion to the text.
    """
    try:
        import re2  # pyright: ignore[reportMissingImports, reportUnknownVariableType]

        return re2.compile(pattern)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    except ImportError:
        pass
    except Exception as error:
        message = f"the redaction rule {kind!r} is malformed: {error}"
        raise ConfigError(message) from error
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        message = f"the redaction rule {kind!r} is malformed: {error}"
        raise ConfigError(message) from error
    return _compile_bounded(kind, pattern)


def _compile_bounded(kind: str, pattern: str) -> Any:
    import importlib

    # Private, and the same in Python 3.11 to 3.14: the parsed pattern, and what compiles one.
    parser: Any = importlib.import_module("re._parser")
    compile_: Any = importlib.import_module("re._compiler").compile

    reason = "can take longer than in proportion to the text"
    ignores_case = re.search(r"\(\?[a-zA-Z]*i", pattern) is not None  # which makes a step about twice as dear
    for reach in REACH:
        parsed: Any = parser.parse(pattern)
        try:
            steps = _Bounding(parser, compile_, reach).bound(parsed)
        except _RefusedError as refused:
            reason = str(refused)
            break
        if steps * (2 if ignores_case else 1) <= MAX_STEPS:
            return compile_(parsed)
    message = f"the redaction rule {kind!r} {reason}"
    raise ConfigError(message, hint=_HINT)


class _RefusedError(Exception):
    """A construct whose steps nobody can bound."""


class _Bounding:
    """Counts the steps of a parsed pattern, and bounds its open-ended repetitions in place.

    Args:
        parser: The module ``re._parser``, for its constants.
        compile_: Compiles what it has parsed.
        reach: Characters that such a repetition reaches at most.
    """

    def __init__(self, parser: Any, compile_: Any, reach: int) -> None:
        self._parser = parser
        self._compile = compile_
        self._reach = reach

    def bound(self, parsed: Any) -> float:
        """Bound *parsed*, and return the steps that one attempt can take."""
        items: list[Any] = parsed.data
        guard = self._guard(items)
        steps = self._sequence(items, 0.0, is_last=True, is_guarded=guard is not None)
        if guard is not None:
            items.insert(0, guard)
        return steps

    def _guard(self, items: list[Any]) -> Any:
        """Return an assertion that no character of the leading run is before the match; None if there is no such run."""
        if not items or str(items[0][0]) not in ("MAX_REPEAT", "MIN_REPEAT"):
            return None
        _, most, body = items[0][1]
        if most < _OPEN or len(body.data) != 1 or str(body.data[0][0]) not in _SINGLE:
            return None
        before = self._parser.SubPattern(body.state, list(body.data))
        return (self._parser.ASSERT_NOT, (-1, before))

    def _sequence(self, items: list[Any], after: float, *, is_last: bool, is_guarded: bool = False) -> float:
        """Count the steps of *items* and of what is *after* them."""
        steps = after
        for position in range(len(items) - 1, -1, -1):
            ends = is_last and position == len(items) - 1
            following = items[position + 1] if position + 1 < len(items) else None
            items[position], steps = self._item(
                items[position], steps, following, is_last=ends, is_guarded=is_guarded and position == 0
            )
        return steps

    def _item(self, item: Any, after: float, following: Any, *, is_last: bool, is_guarded: bool) -> tuple[Any, float]:
        operation, argument = item
        name = str(operation)
        if name in _SINGLE or name == "AT":
            return item, after + 1
        if name == "SUBPATTERN":
            return item, self._sequence(argument[-1].data, after, is_last=is_last)
        if name == "ATOMIC_GROUP":
            return item, self._sequence(argument.data, 0.0, is_last=False) + after
        if name == "BRANCH":
            return item, sum(self._sequence(branch.data, after, is_last=is_last) for branch in argument[1]) + 1
        if name in ("ASSERT", "ASSERT_NOT"):
            return item, self._sequence(argument[1].data, 0.0, is_last=False) + after
        if name in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
            return self._repeat(item, after, following, is_last=is_last, is_guarded=is_guarded)
        refused = (
            "refers back to what it has matched" if "GROUPREF" in name else f"has {name.lower()}, which is not known"
        )
        raise _RefusedError(refused)

    def _repeat(self, item: Any, after: float, following: Any, *, is_last: bool, is_guarded: bool) -> tuple[Any, float]:
        operation, (least, most, body) = item
        is_single = len(body.data) == 1 and str(body.data[0][0]) in _SINGLE
        if not is_single:
            return item, self._group(least, most, body, after)
        if most >= _OPEN:
            if is_last and str(operation) != "MIN_REPEAT" and least < _OPEN:
                return item, least * _SCAN_STEP + 1  # whatever it takes is found, and not looked at again
            if is_guarded and least < _OPEN:
                return item, after + 2  # once a run, for each of its characters
            if least > self._reach:
                message = f"repeats something at least {least} times"
                raise _RefusedError(message)
            most = self._reach
            item = (operation, (least, most, body))
        if str(operation) == "POSSESSIVE_REPEAT" or self._are_apart(body, following):
            return item, 2 * most * _SCAN_STEP + after  # only the whole run can be followed by what follows
        return item, most * _SCAN_STEP + (most - least + 1) * max(after, _SCAN_STEP)

    def _are_apart(self, body: Any, following: Any) -> bool:
        """Whether no character of a run can begin what follows it."""
        first = _first_of(following)
        if first is None:
            return False
        run, next_ = (self._characters(body.state, item) for item in (body.data[0], first))
        return bool(run) and bool(next_) and not run & next_

    def _characters(self, state: Any, item: Any) -> frozenset[int]:
        compiled = self._compile(self._parser.SubPattern(state, [item]))
        sample = {*range(0x300), item[1]} if str(item[0]) == "LITERAL" else range(0x300)
        return frozenset(code for code in sample if compiled.fullmatch(chr(code)))

    def _group(self, least: int, most: int, body: Any, after: float) -> float:
        """Count the steps of a repeated group: each repetition multiplies the ways that the one before has left."""
        if most >= _OPEN:
            message = "repeats a group without a bound"
            raise _RefusedError(message)
        steps = after
        for number in range(most):
            steps = self._sequence(body.data, steps, is_last=False) + (after if number < most - least else 0)
            if steps > MAX_STEPS * 100:
                break
        return steps


def _first_of(item: Any) -> Any:
    """Return the single character, or class of them, that an item begins with; None if that cannot be known."""
    while item is not None:
        name = str(item[0])
        if name in _SINGLE:
            return item
        if name == "SUBPATTERN":
            parts = item[1][-1].data
        elif name in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT") and item[1][0] > 0:
            parts = item[1][2].data
        else:
            return None
        item = parts[0] if parts else None
    return None
