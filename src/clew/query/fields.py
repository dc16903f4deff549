"""The fields that a query can name, and how the text behind the operator is read.

What is not listed here stands in the context, the metrics or the error, and is named by its path:
``emit.context.top_k``, ``metrics.tokens_in``, ``error.type``.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import Final, Literal, NamedTuple

__all__ = ["FIELDS", "PATHS", "FieldKind", "QueryField", "find_field", "suggest"]

FieldKind = Literal["text", "level", "stage", "id", "duration", "number", "since", "until", "any"]


class QueryField(NamedTuple):
    """A field that can be asked for.

    Attributes:
        name: Its name, the canonical one.
        kind: How its values are read and compared.
        description: What it is.
        aliases: What else it is called.
    """

    name: str
    kind: FieldKind
    description: str
    aliases: tuple[str, ...] = ()


_FIELDS: Final = (
    QueryField("level", "level", "How grave: debug, info, warning, error, critical; ordered."),
    QueryField("stage", "stage", "ingestion, retrieval, generation, evaluation or other."),
    QueryField("message", "text", "What happened; a span's name.", ("name",)),
    QueryField("service", "text", "The emitting service."),
    QueryField("environment", "text", "Where it runs.", ("env",)),
    QueryField("version", "text", "Its version."),
    QueryField("logger", "text", "Name of the logger."),
    QueryField("kind", "text", "log or span."),
    QueryField("run_type", "text", "Kind of a span, such as llm or retriever."),
    QueryField("status", "text", "Of a span: ok, error, cancelled, aborted."),
    QueryField("user", "text", "On whose behalf.", ("user_id",)),
    QueryField("session", "text", "The conversation.", ("session_id",)),
    QueryField("request", "text", "The request.", ("request_id",)),
    QueryField("trace", "id", "The trace, as UUID or 32 hex digits.", ("trace_id",)),
    QueryField("span", "id", "The span, as UUID.", ("span_id",)),
    QueryField("duration", "duration", "How long it took, with a unit.", ("duration_ms",)),
    QueryField("cost", "number", "What it cost, in US dollars.", ("cost_usd",)),
    QueryField("error", "text", "Type of what was raised, or a piece of its message."),
    QueryField("model", "text", "The model asked."),
    QueryField("since", "since", "Not older than this: 15m, 2h, 7d, or a moment."),
    QueryField("until", "until", "Older than this."),
)

FIELDS: Final = {field.name: field for field in _FIELDS}
"""Every field, by its canonical name."""

PATHS: Final = ("context", "metrics", "score", "error")
"""What a dotted name may begin with."""

_EXAMPLES: Final = {"context": "top_k", "metrics": "tokens_in", "score": "faithfulness", "error": "type"}
_BY_ANY_NAME: Final = {name: field for field in _FIELDS for name in (field.name, *field.aliases)}


def find_field(name: str) -> tuple[QueryField, tuple[str, ...]] | None:
    """Find what a name in a query means.

    Returns:
        The field and the path to follow inside it; None when there is none of this name.

    Example:
        >>> find_field("context.hits.score")[1]
        ('hits', 'score')
        >>> find_field("USER_ID")[0].name
        'user'
    """
    root, dot, rest = name.partition(".")
    if dot:
        path = tuple(rest.split("."))
        if root.lower() not in PATHS or not all(path):
            return None
        return QueryField(root.lower(), "number" if root.lower() == "score" else "any", ""), path
    field = _BY_ANY_NAME.get(name.lower())
    return None if field is None else (field, ())


def suggest(name: str) -> str:
    """Say what was probably meant by a name that is no field."""
    root, _, rest = name.lower().partition(".")
    if root in PATHS:
        return f"name what is in it, such as {root}.{_EXAMPLES[root]}"
    close = get_close_matches(root, [*PATHS, *_BY_ANY_NAME] if rest else [*_BY_ANY_NAME, *PATHS], n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]}{f'.{rest}' if rest and close[0] in PATHS else ''}?"
    return (
        f"use one of {', '.join(FIELDS)}; context.{name} for a field of the context;"
        ' or put it in "quotes" to look for it as a text'
    )
