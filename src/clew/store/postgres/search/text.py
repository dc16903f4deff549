r"""Texts in events: what a word, a phrase, a prefix and a substring are, and how they are looked for.

The texts of an event are its message, its error's type, message and stack, and every string of its context, at any
depth; each for itself: a phrase does not begin in one and end in another. A word is a run of letters and digits;
``chunks_created`` and ``rate-limit`` are two each. Case does not count. What is looked for is cut into words the same
way, so ``rate_limit`` is a phrase, too, and finds ``rate limit``. What holds no word at all, ``=>`` say, is looked for
as a substring.

Most events do not hold what is looked for, and ``event_texts`` finds that out most cheaply, from the jsonb columns as they
are printed (measured: 1.8 µs an event; taking them apart, 8). What that lets through is looked at exactly. The same
first look is what an index of a closed day answers (``search_index``).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, LiteralString

from clew.errors import UsageError
from clew.store.postgres.search.pieces_of_sql import contains, quoted

if TYPE_CHECKING:
    from clew.query.tree import Text
    from clew.store.postgres.search.pieces_of_sql import Parameters

__all__ = ["holds_text", "words_of"]

MAX_CHARS: Final = 1000
"""Longest text to look for; a regular expression much longer than that is refused by PostgreSQL."""

_WORD = re.compile(r"[^\W_]+")
_ESCAPED_IN_JSON = re.compile(r'["\\\x00-\x1f]+')
_NO_WORD: Final = "[^[:alnum:]]"


def words_of(text: str) -> list[str]:
    """Cut a text into its words.

    Example:
        >>> words_of("HTTP_429: rate-limit")
        ['HTTP', '429', 'rate', 'limit']
    """
    return _WORD.findall(text)


def holds_text(leaf: Text, parameters: Parameters) -> LiteralString:
    """Ask whether an event holds a text.

    Raises:
        UsageError: The text is too long.
    """
    if len(leaf.text) > MAX_CHARS:
        raise UsageError(f"a text of {len(leaf.text)} characters is too long to look for", hint=f"use {MAX_CHARS}")
    words = words_of(leaf.text)
    if leaf.kind == "substring" or not words:
        return _holds_substring(leaf.text, parameters)
    end = "" if leaf.kind == "prefix" else f"({_NO_WORD}|$)"
    regex = f"(^|{_NO_WORD}){f'{_NO_WORD}+'.join(words)}{end}"
    exact = _in_each("~*", parameters.add(regex), f'@ like_regex {quoted(regex)} flag "is"', parameters)
    return _quickly(words, exact, parameters)


def _holds_substring(text: str, parameters: Parameters) -> LiteralString:
    exact = _in_each("ILIKE", parameters.add(contains(text)), f'@ like_regex {quoted(text)} flag "iq"', parameters)
    return _quickly([piece for piece in _ESCAPED_IN_JSON.split(text) if piece], exact, parameters)


def _in_each(operator: LiteralString, pattern: LiteralString, path_test: str, parameters: Parameters) -> LiteralString:
    path = parameters.add(f"$.** ? ({path_test})")
    return (
        f"(message {operator} {pattern} OR error ->> 'type' {operator} {pattern}"
        f" OR error ->> 'message' {operator} {pattern} OR error ->> 'stack' {operator} {pattern}"
        f" OR jsonb_path_exists(context, {path}::jsonpath, '{{}}', true))"
    )


def _quickly(pieces: list[str], exact: LiteralString, parameters: Parameters) -> LiteralString:
    """Look for some pieces, in this order, before looking exactly.

    The planner orders conditions by what it thinks they cost; CASE makes sure that it sees the exact one as the dearer.
    """
    if not pieces:
        return exact
    like = parameters.add("%".join(map(contains, pieces)))
    seems: LiteralString = f"event_texts(message, error, context) ILIKE {like}"
    return f"({seems} AND CASE WHEN {seems} THEN {exact} ELSE false END)"
