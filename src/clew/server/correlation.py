"""What each backend holds of one trace, and the address at which it shows it.

==============  =====================================================================================
postgres        its rows; the page of the trace here
langsmith       runs, one a span; the root run's page, once the project's id is known
prometheus      exemplars: the measurements that lead to this trace; the query that finds them
otlp, others    spans; the ids under which to look there
==============  =====================================================================================

How many events each sink has taken, and which sinks there are, is reported by the spool on this host (``delivery.whereabouts``,
handed in: the server does not know the agent, whose settings may be others than ours). A backend that is off, away or
slow is reported as such; nothing here fails, and Prometheus, the only
one that is asked, has two seconds.

Sources:
    https://prometheus.io/docs/prometheus/latest/querying/api/#querying-exemplars;
    https://grafana.com/docs/grafana/latest/explore/ (address of a query).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from math import ceil
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import quote, urlencode, urlsplit
from uuid import UUID

from msgspec import DecodeError, Struct, ValidationError, field, json

from clew.errors import ClewError, NotFoundError
from clew.ids import parse_uuid, to_otel_span_id, to_w3c_trace_id
from clew.server.exemplars import SELECTOR, exemplars_of
from clew.store.trace_tree import walk

if TYPE_CHECKING:
    from collections.abc import Mapping

    from clew.config import Settings
    from clew.store.events import PublicEvent
    from clew.store.trace_tree import Trace

__all__ = ["Backend", "Locator", "correlate", "with_waiting"]

STORE: Final = "postgres"
MAX_EXEMPLARS: Final = 50
ROWS: Final = "SELECT * FROM logs WHERE trace_id = 'ID'"
RECEIVER: Final = "/langsmith"
"""Path at which another clew takes LangSmith's runs."""
AROUND: Final = timedelta(minutes=2)
REQUESTS: Final = "clew_request_duration_seconds_bucket"
"""The metric whose graph is shown, unless another one has the exemplars."""


class _Counts(Protocol):
    """How many events of a trace are where, for one sink (``whereabouts.SinkPlaces``)."""

    @property
    def delivered(self) -> int: ...
    @property
    def pending(self) -> int: ...
    @property
    def quarantined(self) -> int: ...
    @property
    def unknown(self) -> int: ...


class _Places(Protocol):
    """Where the events of a trace are (``whereabouts.Places``)."""

    @property
    def sinks(self) -> Mapping[str, _Counts]: ...
    @property
    def waiting(self) -> int: ...
    @property
    def is_partial(self) -> bool: ...
    @property
    def troubles(self) -> Mapping[str, str]: ...


Locator = Callable[[str, Iterable[UUID]], _Places]
"""Tells where the events of a trace are, from its id and the ids of those that PostgreSQL has."""


class Backend(Struct, omit_defaults=True):
    """One backend and one trace.

    Attributes:
        is_on: Whether events are shipped there, as our settings or a living agent have it.
        holds: What it has of the trace, in a line.
        url: Where it shows it; None where there is no address, for which ``note`` reports the reason.
        note: What stands in the way, or what to set.
        delivered: Events that it has taken; None where nobody knows.
        pending: Events that wait for it.
        quarantined: Events that it refused.
        unknown: Events of which the spool here does not know.
        details: What to ask it with.
    """

    is_on: bool
    holds: str
    url: str | None = None
    note: str = ""
    delivered: int | None = None
    pending: int | None = None
    quarantined: int | None = None
    unknown: int | None = None
    details: dict[str, Any] = field(default_factory=dict[str, Any])


def correlate(trace: Trace, settings: Settings, account: Locator | None, *, here: str = "") -> dict[str, Backend]:
    """Return what each backend holds of a trace.

    Args:
        trace: The trace, as PostgreSQL has it.
        settings: Which backends there are, and where.
        account: Tells where its events are; None where there is no spool.
        here: Address of our own server, unless ``public_url`` names it.

    Returns:
        Backends by name, PostgreSQL first.

    Threads:
        Blocks for two seconds at most.
    """
    events = [event for _, node in walk(trace.spans) for event in (node.event, *node.logs)] + trace.logs
    found = {STORE: _postgres(trace, events, settings.public_url or here)}
    stored = [UUID(event["event_id"]) for event in events if event.get("event_id")]
    places = account(trace.summary.trace_id, stored) if account is not None else None
    on = {*settings.sink_names(), *(places.troubles if places is not None else ())}
    found["langsmith"] = _langsmith(trace, settings, is_on="langsmith" in on)
    is_counting = "prometheus" in on or settings.prometheus_url is not None
    found["prometheus"] = _prometheus(trace, settings, is_on=is_counting)
    found["otlp"] = _otlp(trace, settings, is_on="otlp" in on)
    if places is not None:
        _add_counts(found, places)
    return found


def with_waiting(error: ClewError, any_id: str, account: Locator | None) -> ClewError:
    """Say with *error* that the spool of this host holds events of a trace that PostgreSQL does not have yet."""
    trace_id = parse_uuid(any_id.strip())
    waiting = account(trace_id, ()).waiting if account is not None and trace_id is not None else 0
    if not waiting:
        return error
    waiting_events = f"{_count(waiting, 'event')} of it {'waits' if waiting == 1 else 'wait'} on the spool"
    if isinstance(error, NotFoundError):
        hint = "they arrive when the agent can reach PostgreSQL; `clew doctor` says what prevents it"
        return NotFoundError(f"{waiting_events}, and PostgreSQL has none yet", hint=hint)
    return type(error)(error.message, hint=f"{error.hint}; {waiting_events}")


def _add_counts(found: dict[str, Backend], places: _Places) -> None:
    for name, counts in places.sinks.items():
        backend = found.setdefault(name, Backend(is_on=True, holds="events"))
        backend.delivered, backend.pending = counts.delivered, counts.pending
        backend.quarantined, backend.unknown = counts.quarantined, counts.unknown
        if name != STORE and not counts.delivered and (counts.pending or counts.quarantined):
            backend.holds = "nothing yet" if counts.pending else "nothing"
        if counts.pending and (trouble := places.troubles.get(name)):
            backend.note = f"it does not take them: {trouble}"
        elif counts.quarantined:
            backend.note = backend.note or f"it refused some: `clew dead list --sink {name}`"
        if (counts.delivered or counts.pending) and not backend.is_on:
            note = "got these while it was on" if counts.delivered else "these wait for it"
            backend.note = f"it is off now, and {note}"
    for name, backend in found.items():
        if name not in places.sinks and backend.is_on:
            backend.note = backend.note or "the agent has not begun to ship there"
    if places.is_partial:
        found[STORE].note = "there is more on the spool than was looked through: what is pending may be more"


def _postgres(trace: Trace, events: list[PublicEvent], here: str) -> Backend:
    trace_id = trace.summary.trace_id
    kinds = Counter(event.get("kind", "log") for event in events)
    rows = ", ".join(_count(number, kind) for kind, number in sorted(kinds.items(), reverse=True))
    return Backend(
        is_on=True,
        holds=rows,
        url=f"{here.rstrip('/')}/traces/{trace_id}",
        details={"rows": dict(kinds), "query": ROWS.replace("ID", trace_id)},
    )


class _Project(Struct):
    """A project of LangSmith's, as the sink has noted it."""

    id: str
    tenant_id: str | None = None


class _Known(Struct):
    """The note of the sink."""

    web_url: str | None = None
    project_id: str = ""
    tenant_id: str | None = None
    projects: dict[str, _Project] = {}


def _langsmith(trace: Trace, settings: Settings, *, is_on: bool) -> Backend:
    runs = sum(1 for _ in walk(trace.spans))
    backend = Backend(is_on=is_on, holds=_count(runs, "run") if is_on else "")
    if not is_on:
        backend.note = "off: set CLEW_LANGSMITH_API_KEY"
        return backend
    if not trace.spans:
        backend.note = "a trace without spans has no run"
        return backend
    root = trace.spans[0].event
    backend.details = {"run_id": root["span_id"], "project": settings.langsmith_project or root["service"]}
    try:
        text = (settings.spool_dir / ".sinks" / "langsmith" / "project.json").read_bytes()
        known = json.decode(text, type=_Known)
    except (OSError, DecodeError, ValidationError):
        known = _Known()
    project = known.projects.get(backend.details["project"])
    endpoint = (settings.langsmith_endpoint or "").rstrip("/")
    if endpoint.endswith(RECEIVER):
        backend.url = f"{endpoint.removesuffix(RECEIVER)}/t/{trace.summary.trace_id}"
    elif project is None or not known.web_url:
        backend.note = "its address is known when the project's first run has arrived"
    elif project.tenant_id is None:
        backend.url = f"{known.web_url}/projects/p/{_segment(project.id)}/r/{root['span_id']}"
    else:
        where = f"/o/{_segment(project.tenant_id)}/projects/p/{_segment(project.id)}"
        backend.url = f"{known.web_url}{where}/r/{root['span_id']}?poll=true"
    return backend


def _otlp(trace: Trace, settings: Settings, *, is_on: bool) -> Backend:
    if not is_on:
        return Backend(is_on=False, holds="", note="off: set CLEW_OTLP_ENDPOINT")
    roots = [to_otel_span_id(node.event["span_id"]) for node in trace.spans[:1]]
    spans = sum(1 for _ in walk(trace.spans))
    details = {"trace_id": to_w3c_trace_id(trace.summary.trace_id), "root_span_id": next(iter(roots), None)}
    where = urlsplit(settings.otlp_endpoint or "").hostname
    note = f"look for the trace id at {where}" if where else "look for the trace id there"
    return Backend(is_on=True, holds=_count(spans, "span"), note=note, details=details)


def _prometheus(trace: Trace, settings: Settings, *, is_on: bool) -> Backend:
    if not is_on:
        return Backend(is_on=False, holds="", note="off: scrape /metrics of the agent, or of `clew up`")
    begin = datetime.fromisoformat(trace.summary.start)
    end = begin + timedelta(milliseconds=trace.summary.duration_ms)
    window = {"start": (begin - AROUND).timestamp(), "end": (end + AROUND).timestamp()}
    backend = Backend(is_on=True, holds="counted", details={"query": SELECTOR, **window})
    if settings.grafana_url is not None:
        backend.details["grafana_url"] = _grafana(settings.grafana_url, window)
    if settings.prometheus_url is None:
        backend.note = "set CLEW_PROMETHEUS_URL to see its exemplars here"
        return backend
    base = settings.prometheus_url.rstrip("/")
    backend.url = _graph(base, REQUESTS, begin, end)
    try:
        found = exemplars_of(base, window, trace.summary.trace_id)
    except (OSError, ValueError, DecodeError) as error:
        backend.note = f"Prometheus does not answer: {_reason(error)}"
        return backend
    backend.details["exemplars"] = found[:MAX_EXEMPLARS]
    backend.holds = f"{_count(len(found), 'exemplar')} of this trace"
    metrics = [exemplar["metric"] for exemplar in found]
    if metrics and REQUESTS not in metrics:
        backend.url = _graph(base, metrics[0], begin, end)
    if not found:
        backend.note = "a series keeps the exemplar of its latest measurement, and may have had another since"
    return backend


def _graph(base: str, metric: str, begin: datetime, end: datetime) -> str:
    """Write the address of a metric's graph in Prometheus, with its exemplars, around a trace."""
    until = (end + AROUND).astimezone(UTC)
    asked = {
        "g0.expr": metric,
        "g0.tab": 0,
        "g0.show_exemplars": 1,
        "g0.range_input": f"{ceil((end - begin + 2 * AROUND).total_seconds())}s",
        "g0.end_input": f"{until:%Y-%m-%d %H:%M:%S}",
    }
    return f"{base}/graph?{urlencode(asked)}"


def _grafana(base: str, window: Mapping[str, float]) -> str:
    """Write the address of a query in Grafana's Explore."""
    pane = {
        "datasource": "prometheus",
        "queries": [{"refId": "A", "expr": SELECTOR, "exemplar": True}],
        "range": {name: str(int(window[key] * 1000)) for name, key in (("from", "start"), ("to", "end"))},
    }
    panes = json.encode({"clew": pane}).decode()
    return f"{base.rstrip('/')}/explore?{urlencode({'schemaVersion': 1, 'panes': panes})}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _reason(error: Exception) -> str:
    reason = getattr(error, "reason", None)
    return str(reason or error)[:200]


def _segment(text: str) -> str:
    return quote(text, safe="")
