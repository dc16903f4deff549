"""What no other question asks, in SQL: the question of ``clew sql``."""

from __future__ import annotations

from dataclasses import dataclass

from clew.questions.kinds import FLAG, STATEMENT, number, seconds
from clew.questions.parameter import Question, parameter
from clew.store.postgres.free_sql import MAX_ROWS, SqlAnswer, ask_sql

__all__ = ["SqlQuestion"]


@dataclass(frozen=True, kw_only=True)
class SqlQuestion(Question):
    """One statement in SQL, which can only read.

    Attributes:
        statement: The statement.
        limit: Most rows.
        timeout: When to give up, in seconds.
        explain: PostgreSQL's plan instead of the rows.
    """

    statement: str = parameter(
        STATEMENT,
        is_required=True,
        help="One SELECT, WITH, VALUES or TABLE; - reads it from stdin",
        example="SELECT count(*) FROM logs",
        option="",
        metavar="STATEMENT",
    )
    limit: int = parameter(number(1, MAX_ROWS), default=1000, help="How many rows at most", example="10")
    timeout: float = parameter(seconds(0.1, 600), default=10.0, text="10", help="When to give up", example="60")
    explain: bool = parameter(
        FLAG, default=False, text="false", help="Show PostgreSQL's plan instead of the rows", example="true"
    )

    def answer(self, dsn: str) -> SqlAnswer:
        """Answer it from the store, on a connection of its own.

        Args:
            dsn: The store.

        Raises:
            UsageError: The statement is not one that may be asked, or PostgreSQL does not understand it.
            StoreError: It takes too long; or there is no role ``clew_reader``.
            StoreUnreachable: There is no store.
        """
        return ask_sql(dsn, self.statement, limit=self.limit, timeout_s=self.timeout, is_plan=self.explain)
