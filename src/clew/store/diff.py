"""Two traces side by side: what the one did that the other did not, and what it did otherwise.

Spans are matched by where they stand: the name of a span, and the how-manieth of that name it is among its siblings, all the way
from the top. Two requests of the same service take the same way, so what has no partner is a step that was missing or one
too many. The logs of matched spans are matched in the same manner, by message.

Of what is matched, everything reported is compared but for ids, times and texts that are different in every request (inputs,
outputs, the query). Durations differ always: they are reported with their ratio, and count as a difference from a factor of 1.5
and 10 ms on.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from msgspec import Struct, field

from clew.store.trace_tree import Summary, walk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from clew.store.events import PublicEvent
    from clew.store.trace_tree import SpanNode, Trace

__all__ = ["DiffStep", "FieldChange", "TraceDiff", "compare"]

T = TypeVar("T")

SLOWER_FACTOR: Final = 1.5
SLOWER_MS: Final = 10.0

_PERSONAL: Final = frozenset({"inputs", "outputs", "query", "query_chars", "answer_id", "resource"})
"""What is another thing in every request, and explains nothing."""

_HITS: Final = frozenset({"hits", "hits_before", "hits_after"})
_KEYS: Final = ("version", "environment", "service", "status", "level")
_ABSENT: Final = object()


class FieldChange(Struct, frozen=True):
    """One thing that is reported differently.

    Attributes:
        name: What: a key of the event, ``context.…``, ``metrics.…``, ``error`` or ``documents``.
        ok: In the good trace; None where it is missing.
        bad: In the bad one; None where it is missing.
        ratio: Of numbers, bad to good; None where that means nothing.
    """

    name: str
    ok: Any
    bad: Any
    ratio: float | None = None


class DiffStep(Struct):
    """A span or log of either trace, or the same one of both.

    Attributes:
        path: Names from the top to it, with ``#2`` after the second of a name.
        kind: ``"span"`` or ``"log"``.
        stage: Its stage.
        is_in: ``"both"``, ``"ok"`` or ``"bad"``.
        ok_ms: How long it took in the good trace; None where nobody said.
        bad_ms: How long it took in the bad one; None where nobody said.
        changes: What is reported differently.
    """

    path: list[str]
    kind: str
    stage: str
    is_in: str
    ok_ms: float | None = None
    bad_ms: float | None = None
    changes: list[FieldChange] = field(default_factory=list[FieldChange])

    @property
    def is_slower(self) -> bool:
        """Whether the bad one took notably longer."""
        if self.ok_ms is None or self.bad_ms is None:
            return False
        return self.bad_ms >= self.ok_ms * SLOWER_FACTOR and self.bad_ms - self.ok_ms >= SLOWER_MS

    @property
    def differs(self) -> bool:
        """Whether there is anything to see."""
        return self.is_in != "both" or bool(self.changes) or self.is_slower


class TraceDiff(Struct):
    """What sets two traces apart.

    Attributes:
        ok: The good one in a line.
        bad: The bad one in a line.
        steps: Steps that differ, in the order of the traces.
        same: How many steps are alike in both.
    """

    ok: Summary
    bad: Summary
    steps: list[DiffStep]
    same: int


def compare(ok: Trace, bad: Trace) -> TraceDiff:
    """Compare two traces, a good one and a bad one.

    Example:
        >>> from clew.store.trace_tree import assemble
        >>> event = {"timestamp": "2026-11-23T10:00:00Z", "kind": "log", "level": "INFO", "message": "cache_lookup",
        ...          "trace_id": "t", "context": {"cache_hit": True}, "metrics": {}}
        >>> other = {**event, "context": {"cache_hit": False}}
        >>> compare(assemble([event]), assemble([other])).steps[0].changes
        [FieldChange(name='context.cache_hit', ok=True, bad=False, ratio=None)]
    """
    steps = [*_compare_spans(ok.spans, bad.spans, []), *_compare_logs(ok.logs, bad.logs, [])]
    differing = [step for step in steps if step.differs]
    return TraceDiff(ok.summary, bad.summary, differing, len(steps) - len(differing))


def _compare_spans(ok: Sequence[SpanNode], bad: Sequence[SpanNode], above: list[str]) -> Iterator[DiffStep]:
    for name, mine, theirs in _pairs(ok, bad, _name_of_span):
        path = [*above, name]
        if mine is None or theirs is None:
            yield from _only(mine or theirs, path, "bad" if mine is None else "ok")
            continue
        step = _step(mine.event, theirs.event, path, "span")
        step.ok_ms, step.bad_ms = _duration(mine.event), _duration(theirs.event)
        yield step
        yield from _compare_logs(mine.logs, theirs.logs, path)
        yield from _compare_spans(mine.children, theirs.children, path)


def _compare_logs(ok: Sequence[PublicEvent], bad: Sequence[PublicEvent], above: list[str]) -> Iterator[DiffStep]:
    for name, mine, theirs in _pairs(ok, bad, _name_of_log):
        if mine is None or theirs is None:
            event = cast("PublicEvent", mine or theirs)
            yield DiffStep(
                [*above, name],
                "log",
                event.get("stage") or "",
                "bad" if mine is None else "ok",
                changes=_facts_of(event),
            )
        else:
            yield _step(mine, theirs, [*above, name], "log")


def _only(node: SpanNode | None, path: list[str], where: str) -> Iterator[DiffStep]:
    """Describe a span that has no partner, and those inside it."""
    if node is None:
        return
    names = {0: path}
    for depth, inner in walk([node]):
        here = path if depth == 0 else [*names[depth - 1], str(inner.event["message"])]
        names[depth] = here
        took = _duration(inner.event)
        step = DiffStep(here, "span", inner.event.get("stage") or "", where, changes=_facts_of(inner.event))
        step.ok_ms, step.bad_ms = (took, None) if where == "ok" else (None, took)
        yield step


def _name_of_span(node: SpanNode) -> str:
    return str(node.event["message"])


def _name_of_log(log: PublicEvent) -> str:
    return str(log["message"])


def _pairs(ok: Sequence[T], bad: Sequence[T], name_of: Callable[[T], str]) -> Iterator[tuple[str, T | None, T | None]]:
    """Match two lists by name and number; the order is that of the good one, then what only the bad one has."""
    mine, theirs = _numbered(ok, name_of), _numbered(bad, name_of)
    for name in [*mine, *(name for name in theirs if name not in mine)]:
        yield name, mine.get(name), theirs.get(name)


def _numbered(items: Iterable[T], name_of: Callable[[T], str]) -> dict[str, T]:
    counts: defaultdict[str, int] = defaultdict(int)
    found: dict[str, T] = {}
    for item in items:
        name = name_of(item)
        counts[name] += 1
        found[name if counts[name] == 1 else f"{name}#{counts[name]}"] = item
    return found


def _step(ok: PublicEvent, bad: PublicEvent, path: list[str], kind: str) -> DiffStep:
    changes = [FieldChange(key, ok.get(key), bad.get(key)) for key in _KEYS if ok.get(key) != bad.get(key)]
    for part in ("context", "metrics"):
        changes += _changes(part, ok.get(part) or {}, bad.get(part) or {})
    if _error(ok) != _error(bad):
        changes.append(FieldChange("error", _error(ok), _error(bad)))
    return DiffStep(path, kind, bad.get("stage") or "", "both", changes=changes)


def _changes(part: str, ok: Mapping[str, Any], bad: Mapping[str, Any]) -> Iterator[FieldChange]:
    for name in [*ok, *(name for name in bad if name not in ok)]:
        mine, theirs = ok.get(name, _ABSENT), bad.get(name, _ABSENT)
        if mine == theirs or name in _PERSONAL or name == "duration_ms":
            continue
        if name in _HITS:
            mine, theirs = _documents(mine), _documents(theirs)
            if mine == theirs:
                continue
        ok_value, bad_value = (None if value is _ABSENT else value for value in (mine, theirs))
        yield FieldChange(f"{part}.{name}", ok_value, bad_value, _ratio(ok_value, bad_value))


def _documents(hits: Any) -> Any:
    """Reduce documents to their ids, in their order: scores are other numbers for every question."""
    if not isinstance(hits, list):
        return hits
    found = (cast("dict[str, Any]", hit) for hit in cast("list[Any]", hits) if isinstance(hit, dict))
    return [hit.get("chunk_id") or hit.get("document_id") for hit in found]


def _facts_of(event: PublicEvent) -> list[FieldChange]:
    """Return why a step that has no partner matters: by its error."""
    error = _error(event)
    return [] if error is None else [FieldChange("error", None, error)]


def _error(event: PublicEvent) -> str | None:
    error = event.get("error")
    return None if not error else f"{error.get('type', 'error')}: {error.get('message', '')}"[:300]


def _duration(event: PublicEvent) -> float | None:
    value: Any = event["metrics"].get("duration_ms")
    return float(value) if isinstance(value, (int, float)) else None


def _ratio(ok: Any, bad: Any) -> float | None:
    numbers = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in (ok, bad))
    return bad / ok if numbers and ok else None
