"""What events say about an alert: who is affected, which traces show it, what failed in them, what changed before.

It is asked when an alert fires, so it is bounded in all directions: the newest bad units of the window, a few hundred traces
of them, and a statement timeout that the caller sets.
"""

from __future__ import annotations

from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, LiteralString

from msgspec import Struct

from clew.store.postgres.load import query
from clew.store.postgres.reading import Reading, Row, Statement

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["BAD_UNITS", "BadUnit", "ErrorGroup", "Neighbourhood", "SlowStep", "fetch_bad", "fetch_errors", "fetch_good", "fetch_slow_step", "fetch_version_change"]  # fmt: skip

MAX_UNITS: Final = 500
MAX_GOOD: Final = 50

BAD_UNITS: Final[Mapping[str, LiteralString]] = MappingProxyType(
    {
        "error_rate": "is_request AND status IN ('error', 'aborted')",
        "slo_burn": "is_request AND status IN ('error', 'aborted')",
        "latency": "is_request AND duration_ms > %(limit_ms)s",
        "unsupported_answers": "(message = 'issue_detected' AND context ->> 'issue' = 'unsupported_claim'"
        " OR message = 'score_computed' AND context ->> 'metric_name' IN ('faithfulness', 'groundedness')"
        " AND CASE WHEN jsonb_typeof(metrics -> 'score') = 'number'"
        " THEN (metrics ->> 'score')::float8 <= coalesce(%(limit_ms)s::float8 / 1000, 0.5) END)",
        "cache_miss": "message = 'cache_checked' AND context ->> 'cache_hit' = 'false'",
        "provider_outage": "error IS NOT NULL AND coalesce(context ->> 'model', paid_model) = %(subject)s",
        "rate_limit": "error IS NOT NULL AND error ->> 'type' ~* 'rate.?limit|too.?many.?requests|429|throttl|resource.?exhausted|quota'",
        "zero_hits": "context ->> 'hit_count' = '0' AND (run_type = 'retriever' OR message = 'hybrid_search_complete')",
        "judge_failing": "error IS NOT NULL AND stage = 'evaluation'",
        "new_error": "error IS NOT NULL AND is_failure"
        " AND concat(left(coalesce(error ->> 'type', context ->> 'error_type', 'unknown'), 120), ' in ', stage) = %(subject)s",
    }
)
"""Which events show the bad units of each share, and of a new error, as SQL."""


class Neighbourhood(Struct, frozen=True, kw_only=True):
    """Where to look.

    Attributes:
        signal: What is measured; one of ``BAD_UNITS``.
        service: Whose events.
        environment: Where that runs; empty for events that do not say, None for anywhere.
        subject: What of the service, such as a model.
        since: From this moment.
        until: Before this moment.
        limit_ms: From when on a request is slow, in milliseconds.
    """

    signal: str
    service: str
    environment: str | None = ""
    subject: str = ""
    since: datetime
    until: datetime
    limit_ms: float | None = None


class BadUnit(Struct, frozen=True):
    """A bad unit.

    Attributes:
        trace_id: The trace it is in; None where it is in none.
        session: What tells sessions apart: the session, else the user, else the trace.
        session_id: The session; None where none is given.
        user_id: The user; None where none is given.
        timestamp: When.
        duration_ms: How long it took; None where that means nothing.
    """

    trace_id: str | None
    session: str
    session_id: str | None
    user_id: str | None
    timestamp: datetime
    duration_ms: float | None


class ErrorGroup(Struct, frozen=True):
    """Errors of one type in one stage.

    Attributes:
        error_type: The type.
        stage: The stage.
        traces: How many of the traces hold one.
        message: One of their messages, cut.
        model: The model that was asked; None where there is none.
        provider: Its provider; None where that is not given.
    """

    error_type: str
    stage: str
    traces: int
    message: str | None
    model: str | None
    provider: str | None = None


class SlowStep(Struct, frozen=True):
    """A step that takes longer in slow traces.

    Attributes:
        stage: Its stage.
        message: Its name.
        bad_ms: Its mean time in slow traces.
        good_ms: Its mean time in others.
        share: Its share of what slow traces take longer, 0 to 1.
    """

    stage: str
    message: str
    bad_ms: float
    good_ms: float
    share: float


def fetch_bad(where: Neighbourhood) -> Reading[list[BadUnit]]:
    """Fetch the newest bad units, ``MAX_UNITS`` at most."""
    sql = query("evidence_bad").replace("/* bad */ true", BAD_UNITS[where.signal])
    rows = yield Statement(sql, {**_range(where), "limit": MAX_UNITS})
    return [BadUnit(**row) for row in rows]


def fetch_errors(trace_ids: Sequence[str]) -> Reading[list[ErrorGroup]]:
    """Fetch what some traces failed of, the most frequent first."""
    rows = yield Statement(query("evidence_errors"), {"traces": list(trace_ids)})
    return [
        ErrorGroup(
            row["error_type"] or "an error", row["stage"], row["traces"], row["message"], row["model"], row["provider"]
        )
        for row in rows
    ]


def fetch_good(where: Neighbourhood, bad: Sequence[str]) -> Reading[list[tuple[str, float | None]]]:
    """Fetch requests of the same time that succeeded: (trace id, milliseconds), the newest first."""
    rows = yield Statement(query("evidence_good"), {**_range(where), "traces": list(bad), "limit": MAX_GOOD})
    return [(row["trace_id"], row["duration_ms"]) for row in rows]


def fetch_slow_step(bad: Sequence[str], good: Sequence[str]) -> Reading[SlowStep | None]:
    """Fetch the step that makes slow traces slow; None where no step takes longer in them."""
    rows = yield Statement(query("evidence_steps"), {"bad": list(bad), "good": list(good)})
    excess = sum(max(0.0, row["bad_ms"] - row["good_ms"]) for row in rows)
    if not rows or excess <= 0:
        return None
    first = rows[0]
    share = (first["bad_ms"] - first["good_ms"]) / excess
    return SlowStep(first["stage"], first["message"], first["bad_ms"], first["good_ms"], share)


def fetch_version_change(
    service: str, environment: str | None, since: datetime, until: datetime
) -> Reading[tuple[str, datetime] | None]:
    """Fetch the last change of a service's version in a time: (version, its first minute); None where there was none.

    Any environment will do where *environment* is None.
    """
    wanted = {"service": service, "environment": environment, "since": since, "until": until}
    rows: list[Row] = yield Statement(query("evidence_versions"), wanted)
    return (rows[0]["version"], rows[0]["since"]) if len(rows) > 1 else None


def _range(where: Neighbourhood) -> dict[str, object]:
    return {name: getattr(where, name) for name in where.__struct_fields__ if name != "signal"}
