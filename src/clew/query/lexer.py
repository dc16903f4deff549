"""Cut a query into tokens, each with its place.

A term is cut here and understood in ``parser``: ``level>=error`` is one token of kind ``term`` with name, operator and
value. Words in capitals, ``AND``, ``OR`` and ``NOT``, are operators; in small letters they are words to look for.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, cast

from clew.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["MAX_CHARS", "QueryError", "QueryToken", "tokens"]

MAX_CHARS: Final = 10_000

_TERM = re.compile(r"([A-Za-z_][\w.\-]*)(>=|<=|!=|==|[:=<>])")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_BARE = re.compile(r'[^\s()"]+')
_LONE_OPERATOR: Final = frozenset({"=", "==", "!=", ">", ">=", "<", "<="})
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)


class QueryError(UsageError):
    """A query that cannot be understood.

    Args:
        message: What is wrong.
        at: Where, counted in characters from 0.
        hint: What was probably meant.

    Attributes:
        at: Where, counted in characters from 0.
    """

    def __init__(self, message: str, *, at: int, hint: str = "") -> None:
        super().__init__(f"at character {at + 1}: {message}", hint=hint)
        self.at = at


TokenKind = Literal["(", ")", "AND", "OR", "NOT", "term", "text"]


class QueryToken(NamedTuple):
    """A piece of a query.

    Attributes:
        kind: ``"("``, ``")"``, ``"AND"``, ``"OR"``, ``"NOT"``, ``"term"`` or ``"text"``.
        at: Where it begins.
        text: The value of a term, or the text; escapes undone.
        is_quoted: Whether it stood in quotes.
        name: The name of a term.
        operator: Its operator.
    """

    kind: TokenKind
    at: int
    text: str = ""
    is_quoted: bool = False
    name: str = ""
    operator: str = ""


def tokens(query: str) -> Iterator[QueryToken]:
    """Cut *query* into its tokens.

    Raises:
        QueryError: It is too long, a quote is not closed, or a value is missing.

    Example:
        >>> [token.kind for token in tokens('level>=error NOT "rate limit"')]
        ['term', 'NOT', 'text']
    """
    if len(query) > MAX_CHARS:
        raise QueryError(f"the query is longer than {MAX_CHARS} characters", at=MAX_CHARS)
    if "\0" in query:
        raise QueryError("a query cannot contain NUL", at=query.index("\0"))
    at = 0
    while at < len(query):
        if query[at].isspace():
            at += 1
            continue
        token, at = _token(query, at)
        yield token


def _token(query: str, at: int) -> tuple[QueryToken, int]:
    """Cut the token that begins at *at*; return it and where the next one may begin."""
    char = query[at]
    if char in "()":
        return QueryToken(cast("TokenKind", char), at), at + 1
    if char == "-" and at + 1 < len(query) and not query[at + 1].isspace():
        return QueryToken("NOT", at), at + 1
    if char == '"':
        text, end = _quoted(query, at)
        return QueryToken("text", at, text, is_quoted=True), end
    term = _TERM.match(query, at)
    if term:
        return _value(query, term)
    word = _BARE.match(query, at)
    assert word is not None, "what is no space, bracket or quote is a word"
    if word[0] in _LONE_OPERATOR:
        hint = 'write level>=error, without spaces, or put it in "quotes" to look for it as a text'
        raise QueryError(f"{word[0]} stands alone", at=at, hint=hint)
    kind = cast("TokenKind", word[0] if word[0] in {"AND", "OR", "NOT"} else "text")
    return QueryToken(kind, at, word[0]), word.end()


def _value(query: str, term: re.Match[str]) -> tuple[QueryToken, int]:
    """Cut the value of a term, which stands right behind its operator."""
    at = term.end()
    if query[at : at + 1] == '"':
        text, end = _quoted(query, at)
        return QueryToken("term", term.start(), text, is_quoted=True, name=term[1], operator=term[2]), end
    bare = _BARE.match(query, at)
    if bare is None:
        raise QueryError(f"{term[0]} has no value", at=at, hint='write it directly after, in "quotes" if it has spaces')
    return QueryToken("term", term.start(), bare[0], name=term[1], operator=term[2]), bare.end()


def _quoted(query: str, at: int) -> tuple[str, int]:
    match = _QUOTED.match(query, at)
    if match is None:
        raise QueryError("this quote is never closed", at=at, hint='write \\" for a quote inside of quotes')
    return _ESCAPE.sub(r"\1", match[1]), match.end()
