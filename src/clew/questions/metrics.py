"""A metric over time: the question of ``/api/metrics``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from clew.catalog.series import ROLLUPS
from clew.errors import NotFoundError, UsageError
from clew.questions.kinds import TEXT, Kind, did_you_mean, number
from clew.questions.parameter import InTime, parameter, since, until
from clew.store.postgres.rollups import DIMENSIONS, MAX_SERIES, MAX_STEPS, Metrics, MetricWindow, fetch_metrics

if TYPE_CHECKING:
    from clew.store.postgres.reading import Reading

__all__ = ["MetricQuestion"]

DEFAULT_RANGE: Final = timedelta(hours=1)

_LABELS: Final = sorted({rollup.label for rollup in ROLLUPS.values()} - {""})
_STEP_FORM: Final = re.compile(r"(\d{1,6})\s*(s|m|h|d)?", re.IGNORECASE)
_UNITS_S: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def _read_step(text: str, name: str, _now: datetime) -> timedelta:
    match = _STEP_FORM.fullmatch(text.strip())
    seconds = int(match[1]) * _UNITS_S[(match[2] or "s").lower()] if match else 0
    if seconds == 0 or seconds % 60:
        raise UsageError(f"{name} is {text[:40]!r}, which is not whole minutes", hint="write 60s, 5m, 1h or 1d")
    return timedelta(seconds=seconds)


def _read_by(text: str, _name: str, _now: datetime) -> tuple[str, ...]:
    names = (part.strip().lower() for part in text.split(","))
    return tuple(dict.fromkeys(name for name in names if name))


_STEP: Final = Kind[timedelta](read=_read_step, form=f"whole minutes: 60s, 5m, 1h; at most {MAX_STEPS} steps")
_BY: Final = Kind[tuple[str, ...]](read=_read_by)


def _read_name(text: str, _name: str, _now: datetime) -> str:
    if text not in ROLLUPS:
        hint = f"{did_you_mean(text, [*ROLLUPS])}the metrics are {', '.join(ROLLUPS)}"
        raise NotFoundError(f"there is no metric {text[:40]!r}", hint=hint)
    return text


_NAME: Final = Kind[str](
    read=_read_name, form=f"one of {', '.join(ROLLUPS)}", schema={"type": "string", "enum": [*ROLLUPS]}
)


def _only(what: str, example: str) -> str | None:
    return parameter(TEXT, help=f"Only of this {what}", example=example)


@dataclass(frozen=True, kw_only=True)
class MetricQuestion(InTime):
    """A metric over time, out of the minute roll-ups.

    Attributes:
        name: The metric, one of ``catalog.ROLLUPS``.
        since: At or after this time; an hour before ``until`` if None.
        until: Before this time; now if None.
        step: Length of a step, whole minutes.
        by: What the series are split by, each once.
        service: Only of this service; likewise the rest of ``DIMENSIONS``.
        environment: Only of this environment.
        version: Only of this version.
        stage: Only of this stage.
        model: Only of this model.
        limit: Most series, those with the most in them.
    """

    name: str = parameter(_NAME, is_required=True, is_path=True, help="The metric", example=next(iter(ROLLUPS)))
    since: datetime | None = since(ago="1h")
    until: datetime | None = until(is_now=True)
    step: timedelta = parameter(_STEP, default=timedelta(minutes=1), text="60s", help="Length of a step", example="5m")
    by: tuple[str, ...] = parameter(
        _BY,
        default=(),
        text="",
        help=f"What the series are split by, between commas: {', '.join(DIMENSIONS)}, "
        f"or the metric's own label ({', '.join(_LABELS)})",
        example="service,stage",
    )
    service: str | None = _only("service", "rag-api")
    environment: str | None = _only("environment", "production")
    version: str | None = _only("version", "1.4.2")
    stage: str | None = _only("stage", "retrieval")
    model: str | None = _only("model", "gpt-4o-mini")
    limit: int = parameter(
        number(1, MAX_SERIES), default=20, help="How many series at most, those with the most in them", example="5"
    )

    def __post_init__(self) -> None:
        """Refuse a time range that is empty, and what this metric cannot be split by."""
        super().__post_init__()
        label = ROLLUPS[self.name].label
        known = [*DIMENSIONS, *([label] if label else [])]
        for key in self.by:
            if key not in known:
                hint = f"{did_you_mean(key, known)}by takes some of {', '.join(known)}"
                raise UsageError(f"{self.name} cannot be split by {key[:40]!r}", hint=hint)

    def reading(self) -> Reading[Metrics]:
        """Answer it from the store.

        Raises:
            UsageError: The time range is empty, or there would be too many points.
        """
        begin, end = self.range(DEFAULT_RANGE)
        only = {name: value for name in DIMENSIONS if (value := getattr(self, name)) is not None}
        span = MetricWindow(since=begin, until=end, step=self.step, only=only)
        return fetch_metrics(self.name, span, by=self.by, limit=self.limit)
