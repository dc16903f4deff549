"""Where knowledge came from and went: the question of ``clew lineage`` and ``/api/lineage``."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime  # noqa: TC003 - a field's type
from typing import TYPE_CHECKING, get_args

from clew.questions.kinds import choice, text
from clew.questions.parameter import Question, parameter, since
from clew.store.postgres.lineage import Lineage, LineageSubject, fetch_lineage

if TYPE_CHECKING:
    from clew.store.postgres.reading import Reading

__all__ = ["LineageQuestion"]


@dataclass(frozen=True, kw_only=True)
class LineageQuestion(Question):
    """Where a chunk, a document or an answer came from, and where it went.

    Attributes:
        kind: What the id names.
        id: The id.
        since: Only of events at or after this time; None for all.
    """

    kind: LineageSubject = parameter(
        choice(get_args(LineageSubject)),
        is_required=True,
        is_path=True,
        help="What the id names",
        example="chunk",
        option="",
    )
    id: str = parameter(
        text(500),
        is_required=True,
        is_path=True,
        help="Its chunk_id, document_id or answer_id",
        example="guide.md#3",
        option="",
    )
    since: datetime | None = since()

    def reading(self) -> Reading[Lineage]:
        """Answer it from the store.

        Raises:
            NotFoundError: Nothing is known about the id.
        """
        return fetch_lineage(self.kind, self.id, since=self.since)
