"""The query language: what texts mean, and what is said of mistakes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from clew.query import QueryError, parse
from clew.query.tree import All, Compare, Has, Not, OneOf, Query, Text

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("level>=error", Compare("level", (), ">=", ("ERROR",))),
        ("level:warn", Compare("level", (), "=", ("WARNING",))),
        ("stage:retrieval", Compare("stage", (), "=", ("retrieval",))),
        ("user:user-123", Compare("user", (), "=", ("user-123",))),
        ("user_id=user-123", Compare("user", (), "=", ("user-123",))),
        ("service:rag-api,worker", Compare("service", (), "=", ("rag-api", "worker"))),
        ('service:"a,b"', Compare("service", (), "=", ("a,b",))),
        ("message:chunk*", Compare("message", (), "=", ("chunk",), "prefix")),
        ("message:*chunk*", Compare("message", (), "=", ("chunk",), "piece")),
        ("context.file!=*.pdf", Compare("context", ("file",), "!=", (".pdf",), "piece")),
        ("user:*", Compare("user", (), "=", ("",), "prefix")),
        ("service:api,work*,web", OneOf((Compare("service", (), "=", ("api", "web")),
                                         Compare("service", (), "=", ("work",), "prefix")))),
        ("service!=api,work*", All((Compare("service", (), "!=", ("api",)),
                                    Compare("service", (), "!=", ("work",), "prefix")))),
        ("user==ann", Compare("user", (), "=", ("ann",))),
        ('user:">ann"', Compare("user", (), "=", (">ann",))),
        ("=> a", All((Text("=>", "word"), Text("a", "word")))),
        ('since:"2026-11-23 10:00"', Compare("timestamp", (), ">=", (datetime(2026, 11, 23, 10, tzinfo=UTC),))),
        ("since:2026-11-23T10:00+02:00", Compare("timestamp", (), ">=", (datetime(2026, 11, 23, 8, tzinfo=UTC),))),
        ('message:"chunk*"', Compare("message", (), "=", ("chunk*",))),
        ("duration>2s", Compare("duration", (), ">", (2000.0,))),
        ("duration<=1.5m", Compare("duration", (), "<=", (90_000.0,))),
        ("cost>0.01", Compare("cost", (), ">", (0.01,))),
        ("score.faithfulness<0.7", Compare("score", ("faithfulness",), "<", (0.7,))),
        ("version:1.4.2", Compare("version", (), "=", ("1.4.2",))),
        ("error:RateLimitError", Compare("error", (), "=", ("RateLimitError",))),
        ("error.type!=KeyError", Compare("error", ("type",), "!=", ("KeyError",))),
        ("context.top_k:5", Compare("context", ("top_k",), "=", ("5",))),
        ("context.top_k>5", Compare("context", ("top_k",), ">", (5.0,))),
        ("trace:550e8400e29b41d4a716446655440000",
         Compare("trace", (), "=", ("550e8400-e29b-41d4-a716-446655440000",))),
        ("since:1h", Compare("timestamp", (), ">=", (NOW - timedelta(hours=1),))),
        ("until:2026-11-23", Compare("timestamp", (), "<", (datetime(2026, 11, 23, tzinfo=UTC),))),
        ("has:error", Has("error", ())),
        ("has:context.hits", Has("context", ("hits",))),
        ("timeout", Text("timeout", "word")),
        ('"rate limit"', Text("rate limit", "phrase")),
        ('"say \\"no\\""', Text('say "no"', "phrase")),
        ("rate*", Text("rate", "prefix")),
        ("*limit*", Text("limit", "substring")),
        ("", All(())),
        ("a b", All((Text("a", "word"), Text("b", "word")))),
        ("a AND b", All((Text("a", "word"), Text("b", "word")))),
        ("a b OR c", OneOf((All((Text("a", "word"), Text("b", "word"))), Text("c", "word")))),
        ("a (b OR c)", All((Text("a", "word"), OneOf((Text("b", "word"), Text("c", "word")))))),
        ("NOT a", Not(Text("a", "word"))),
        ("-level:debug", Not(Compare("level", (), "=", ("DEBUG",)))),
        ("and or not", All((Text("and", "word"), Text("or", "word"), Text("not", "word")))),
        ("a - b", All((Text("a", "word"), Text("-", "word"), Text("b", "word")))),
    ],
)  # fmt: skip
def test_a_query_means(text: str, meant: Query) -> None:
    """Each form of the language becomes its tree."""
    assert without_places(parse(text, now=NOW)) == meant


@pytest.mark.parametrize(
    ("text", "at", "said"),
    [
        ("stagee:retrieval", 0, "did you mean stage?"),
        ("a top_k:5", 2, "context.top_k"),
        ("level>=grave", 0, "a level is one of debug, info"),
        ("stage:retreival", 0, "a stage is one of"),
        ("duration>soon", 0, "250ms"),
        ("cost>much", 0, "0.01"),
        ("service>a", 0, "write service:a"),
        ("since>1h", 0, "write since:1h"),
        ("since:soon", 0, "15m"),
        ("since:9999999999d", 0, "15m"),
        ("trace:xyz", 0, "32 hex digits"),
        ('"open', 0, "never closed"),
        ("level:", 6, "no value"),
        ("(a b", 0, "never closed"),
        ("a b)", 3, "closes nothing"),
        ("a OR", 4, "a term is missing"),
        ("AND a", 0, "a term is missing"),
        ("()", 1, "a term is missing"),
        ("*", 0, "a star alone"),
        ('""', 0, "nothing between"),
        ("has:nothing_known", 0, "no field"),
        ("a\0b", 1, "NUL"),
        ("http://x", 0, 'put it in "quotes"'),
        ("level >= error", 6, "write level>=error"),
        ("duration:>2s", 0, "write duration>2s"),
        ("score<0.7", 0, "score.faithfulness"),
        ("contxt.top_k:5", 0, "did you mean context.top_k?"),
        ("a since:2026-11-23 10:00", 19, "since:2026-11-23T10:00"),
        ("since:2026-11-23T10:00 02:00", 23, "2026-11-23T10:00%2B02:00"),
        ("user:a,,b", 0, "between commas"),
        ("message:chunks*created", 0, "beginning or at the end"),
        ("chunks*created", 0, "beginning or at the end"),
        ("since:0001-01-01T00:00+14:00", 0, "15m"),
    ],
)
def test_a_mistake_is_told_with_its_place(text: str, at: int, said: str) -> None:
    """An error says where it is and what was probably meant."""
    with pytest.raises(QueryError) as caught:
        parse(text, now=NOW)

    assert caught.value.at == at
    assert said in str(caught.value)
    assert f"at character {at + 1}" in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("text", ["(" * 60 + "a" + ")" * 60, "NOT " * 60 + "a", "a " * 300, "a" * 20_000])
def test_a_query_has_bounds(text: str) -> None:
    """No text makes the parser recurse or grow without bound."""
    with pytest.raises(QueryError):
        parse(text)


def without_places(query: Query) -> Query:
    """Put every leaf at place 0, for comparison."""
    if isinstance(query, Not):
        return Not(without_places(query.part))
    if isinstance(query, All):
        return All(tuple(map(without_places, query.parts)))
    if isinstance(query, OneOf):
        return OneOf(tuple(map(without_places, query.parts)))
    if isinstance(query, Compare):
        return Compare(query.field, query.path, query.operator, query.values, query.match)
    if isinstance(query, Has):
        return Has(query.field, query.path)
    return Text(query.text, query.kind)
