"""The bill: what the cost of an event is paid for, and on which line it is.

``PAID_MESSAGES``, ``PAID_RUN_TYPES`` and ``PAID_STAGES`` say what costs money; ``paid_for`` asks them in order.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

__all__ = ["COST_LINES", "PAID_MESSAGES", "PAID_OTHERWISE", "PAID_RUN_TYPES", "PAID_STAGES", "Paid", "paid_for"]


class Paid(Struct, frozen=True):
    """What a step is paid for.

    Attributes:
        line: Its line of the bill, one of ``COST_LINES``.
        named_by: Fields that name what is paid for (a model, an index …), the more precise one first.
        counted_by: Fields that say how many documents there were: a number, or the list of them.
    """

    line: str
    named_by: tuple[str, ...]
    counted_by: tuple[str, ...] = ()


COST_LINES: Final = ("generation", "embedding", "reranking", "judge", "vector_store", "other")
"""The lines of the bill; each cost is on one of them."""

_LLM = ("response_model", "model")

PAID_MESSAGES: Final[Mapping[str, Paid]] = MappingProxyType(
    {
        "embedding_complete": Paid("embedding", ("embedding_model",), ("chunk_count",)),
        "storage_complete": Paid("vector_store", ("index_name",), ("stored_count",)),
        "hybrid_search_complete": Paid("vector_store", ("index_name", "search_mode"), ("hit_count", "hits")),
        "reranking_complete": Paid("reranking", ("reranker",), ("hits_before", "hit_count")),
        "token_usage_recorded": Paid("generation", _LLM),
        "score_computed": Paid("judge", ("judge",), ("claim_count",)),
        "metrics_evaluated": Paid("judge", ("judge",)),
    }
)
"""What is paid for at the end of a step, by the log that reports it."""

PAID_RUN_TYPES: Final[Mapping[str, Paid]] = MappingProxyType(
    {
        "llm": Paid("generation", _LLM),
        "embedding": Paid("embedding", ("embedding_model", *_LLM), ("chunk_count",)),
        "retriever": Paid("vector_store", ("index_name", "search_mode"), ("hit_count",)),
        "reranker": Paid("reranking", ("reranker", *_LLM), ("hits_before", "hit_count")),
    }
)
"""What is paid for in a span, by its kind; ``reranker`` is a retriever that names one."""

PAID_STAGES: Final[Mapping[str, Paid]] = MappingProxyType(
    {
        "evaluation": Paid("judge", (*_LLM, "judge", "embedding_model")),
        "generation": Paid("generation", _LLM),
    }
)
"""What is paid for in any other event of a stage; in evaluation it is the judge, whatever the kind of the span."""

PAID_OTHERWISE: Final = Paid("other", (*_LLM, "embedding_model", "reranker", "judge", "index_name"))
"""What is paid for in whatever else has a cost."""


def paid_for(message: str, run_type: str | None, stage: str | None, context: Container[str] = ()) -> Paid:
    """Return what an event's cost is paid for.

    Args:
        message: The event's message.
        run_type: Its kind, if it is a span.
        stage: Its stage.
        context: Names of its fields.

    Example:
        >>> paid_for("reranking_complete", None, "retrieval").line
        'reranking'
        >>> paid_for("ChatOpenAI", "llm", "evaluation").line
        'judge'
    """
    kind = "reranker" if run_type == "retriever" and "reranker" in context else run_type or ""
    return (
        PAID_MESSAGES.get(message)
        or (PAID_STAGES["evaluation"] if stage == "evaluation" else None)
        or PAID_RUN_TYPES.get(kind)
        or PAID_STAGES.get(stage or "")
        or PAID_OTHERWISE
    )
