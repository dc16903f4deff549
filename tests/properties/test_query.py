"""Whatever is typed is either understood or refused with its place."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from clew.query import QueryError, parse
from clew.query.tree import All, Compare, Has, Not, OneOf, Query, Text

PIECES = ["level", "score.x", "context.a.b", "foo", ":", ">=", "!=", "<", "error", "2s", '"', "(", ")", "AND", "OR", "NOT", "-", "*", " ", "\\", "é", "since:1h"]  # fmt: skip


@given(st.one_of(st.text(), st.lists(st.sampled_from(PIECES), max_size=25).map("".join)))
def test_any_text_is_a_query_or_a_query_error(text: str) -> None:
    """The parser ends, and raises nothing else; the place of an error is inside of the text or at its end."""
    refused = None
    try:
        parse(text)
    except QueryError as error:
        refused = error

    assert refused is None or 0 <= refused.at <= len(text)


LEAVES = st.sampled_from(["level>=error", "a", '"b c"', "d*", "*e*", "context.x:5", "has:error", "cost>1"])


@given(st.recursive(LEAVES, lambda inner: st.one_of(
    st.tuples(st.just("NOT"), inner).map(lambda pair: f"NOT ({pair[1]})"),
    st.lists(inner, min_size=2, max_size=3).map(lambda parts: f"({' '.join(parts)})"),
    st.lists(inner, min_size=2, max_size=3).map(lambda parts: f"({' OR '.join(parts)})"),
), max_leaves=12))  # fmt: skip
def test_writing_a_tree_and_reading_it_gives_the_tree(text: str) -> None:
    """A tree written with all its brackets reads as the same tree."""
    once = parse(text)

    assert shape(parse(write(once))) == shape(once)


def write(query: Query) -> str:
    """Write a tree with all its brackets."""
    if isinstance(query, Not):
        return f"NOT ({write(query.part)})"
    if isinstance(query, All):
        return f"({' AND '.join(map(write, query.parts))})"
    if isinstance(query, OneOf):
        return f"({' OR '.join(map(write, query.parts))})"
    if isinstance(query, Text):
        return {"word": "{}", "phrase": '"{}"', "prefix": "{}*", "substring": "*{}*"}[query.kind].format(query.text)
    name = ".".join([query.field, *query.path])
    if isinstance(query, Has):
        return f"has:{name}"
    return f'{name}{query.operator}"{query.values[0]}"'


def shape(query: Query) -> object:
    """Give a tree without the places of its leaves."""
    if isinstance(query, Not):
        return ("not", shape(query.part))
    if isinstance(query, All | OneOf):
        return (type(query).__name__, *map(shape, query.parts))
    if isinstance(query, Compare):
        return (query.field, query.path, query.operator, query.values)
    return (query.field, query.path) if isinstance(query, Has) else (query.text, query.kind)
