"""Take in what LangSmith's clients trace: ``@traceable``, LangChain, LangGraph, unmodified.

A client reports a run twice: when it begins (``post``) and when it ends (``patch``, without the inputs). What
began is remembered until it ends, so that the ``span`` is whole; a run reported in one piece needs no memory.
The memory is bounded. What falls out of it, or was begun before this process, still ends: with what the
``patch`` holds itself, which is all but the inputs. A beginning that comes after the end is reported all the same
(``langsmith_unbegun``), whenever it comes.

Clients repeat a request whose answer they missed, so what has ended is remembered too, and reported once.

Before: ``langsmith_wire``, with operations. After: ``intake``, with events.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from msgspec import Struct
from msgspec.structs import asdict

from clew.dialects.langsmith.reading import (
    SCORE,
    RunFacts,
    end_events,
    facts_of,
    late_beginning,
    merge,
    needs_parent,
    score_event,
    start_event,
)
from clew.dialects.langsmith.restore import is_ours, is_reported_in_run, log_of, name_of, restore
from clew.dialects.langsmith.unbegun import Unbegun
from clew.dialects.langsmith.values import mapping
from clew.errors import SpoolError
from clew.ids import parse_uuid
from clew.receivers.intake import IntakeFullError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from prometheus_client import Metric as Family

    from clew.dialects.draft_event import DraftEvent
    from clew.dialects.langsmith.requests import Operation
    from clew.receivers.intake import Intake

__all__ = ["LangSmithCounts", "LangSmithReceiver"]

MAX_OPEN_RUNS: Final = 20_000
MAX_OPEN_BYTES: Final = 64 * 1024 * 1024
MAX_ENDED_RUNS: Final = 50_000
MAX_CHAIN: Final = 100  # ancestors that are followed within one request

_log = logging.getLogger(__name__)


class LangSmithCounts(Struct):
    """What the receiver has done.

    Attributes:
        runs: Runs that have ended.
        scores: Scores taken.
        repeated: Operations that had been reported before.
        forgotten: Runs that began and fell out of the memory before they ended.
        unbegun: Runs whose end came without a beginning.
        late: Runs whose beginning came after their end.
        left_out: Items of requests that made no sense.
    """

    runs: int = 0
    scores: int = 0
    repeated: int = 0
    forgotten: int = 0
    unbegun: int = 0
    late: int = 0
    left_out: int = 0

    def families(self) -> Iterator[Family]:
        """Return the counts as Prometheus' client has them."""
        from prometheus_client.core import CounterMetricFamily

        family = CounterMetricFamily(
            "clew_receiver_langsmith",
            "What LangSmith's clients have sent, and what of it was incomplete.",
            labels=("what",),
        )
        for what, number in asdict(self).items():
            family.add_metric((what,), number)
        yield family


class _Open(NamedTuple):
    run: dict[str, Any]
    facts: RunFacts
    size_bytes: int
    flags: tuple[str, ...] = ()
    has_begun: bool = True


class _Undo(NamedTuple):
    """How to take an operation back whose events did not all fit.

    Attributes:
        until: How many events of the request there are up to its last one.
        id: Of its run or feedback.
        open: What was remembered of the run before.
        ended: What it ended, by the names that are remembered.
        unbegun: It is an end without a beginning.
        late: What the end of the run reported whose late beginning this is; None for all others.
    """

    until: int
    id: str
    open: _Open | None
    ended: list[str]
    unbegun: bool = False
    late: dict[str, Any] | None = None


class LangSmithReceiver:
    """Make events of runs, and hand them in.

    Args:
        intake: Where to.
        max_open_runs: How many runs are remembered that have begun and not ended.
        max_open_bytes: How large they may be together.

    Attributes:
        counts: What was done so far.

    Threads:
        Any.
    """

    def __init__(
        self, intake: Intake, *, max_open_runs: int = MAX_OPEN_RUNS, max_open_bytes: int = MAX_OPEN_BYTES
    ) -> None:
        self.counts = LangSmithCounts()
        self._intake = intake
        self._max_open_runs = max_open_runs
        self._max_open_bytes = max_open_bytes
        self._lock = threading.Lock()
        self._open: OrderedDict[str, _Open] = OrderedDict()
        self._open_bytes = 0
        self._ended: OrderedDict[str, RunFacts] = OrderedDict()
        self._just_ended: list[str] = []
        self._unbegun = Unbegun(intake.data_dir)
        for run_id in self._unbegun:
            self._ended[run_id] = RunFacts(None, "")

    def receive(self, operations: Iterable[Operation]) -> None:
        """Take operations in; what they report is on the spool when this returns.

        Args:
            operations: Of one request. Runs that begin are taken before those that end.

        Raises:
            IntakeFullError: There is no room; the client should send the request again.
            SpoolError: The spool cannot be written to.
        """
        with self._lock:
            events: list[DraftEvent] = []
            undo: list[_Undo] = []
            for operation in _in_order(operations):
                before = self._open.get(operation.id)
                is_late = operation.kind == "post" and operation.id in self._unbegun
                if operation.id in self._ended and not is_late:
                    self.counts.repeated += 1
                    continue
                self._just_ended = []
                late = self._unbegun.take(operation.id) if is_late else None
                events += self._flagged(operation, late)
                is_unbegun = operation.id in self._unbegun
                undo.append(_Undo(len(events), operation.id, before, self._just_ended, is_unbegun, late))
            try:
                self._intake.accept(events)
            except SpoolError as error:
                self._take_back(undo, error.accepted if isinstance(error, IntakeFullError) else 0)
                raise
            self.counts.runs += sum(event.kind == "span" for event in events)
            self.counts.scores += sum(event.message == SCORE for event in events)
            self.counts.late += sum(step.late is not None for step in undo)
            self._forget_oldest()

    def unknown(self, operations: Iterable[Operation]) -> set[str]:
        """Name the runs that are ended or scored and of which nothing is known, beyond what *operations* report.

        What clew itself has sent reports everything.
        """
        foreign = [operation for operation in operations if not is_ours(operation.body)]
        begun = {operation.id for operation in foreign if operation.kind == "post"}
        wanted = {
            parse_uuid(str(operation.body.get("run_id"))) if operation.kind == "feedback" else operation.id
            for operation in foreign
            if operation.kind == "feedback" or (operation.kind == "patch" and operation.body.get("inputs") is None)
        }
        wanted |= {
            parse_uuid(str(operation.body["parent_run_id"])) for operation in foreign if needs_parent(operation.body)
        }
        with self._lock:
            return {run for run in wanted if run is not None and run not in begun and self._facts(run) is None}

    def recall(self, event: dict[str, Any]) -> None:
        """Remember a run by the event that the store holds of it, in the public format."""
        span_id = str(event.get("span_id"))
        facts = RunFacts(
            event.get("trace_id"),
            event["service"],
            **{name: event.get(name) for name in RunFacts.__struct_fields__[2:]},
        )
        with self._lock:
            if span_id in self._open or span_id in self._ended:
                return
            if event.get("kind") == "span" and event.get("status") != "running":
                self._ended[span_id] = facts
                return
            run: dict[str, Any] = {
                "id": span_id,
                "trace_id": facts.trace_id,
                "parent_run_id": event.get("parent_span_id"),
                "name": event.get("message"),
                "run_type": event.get("run_type"),
                "start_time": event.get("timestamp"),
                "inputs": mapping(event.get("context")).get("inputs"),
            }
            self._remember(span_id, _Open(run, facts, 0))

    def _flagged(self, operation: Operation, late: dict[str, Any] | None) -> list[DraftEvent]:
        """Take in what an operation reports; the events that this makes, flagged with what had to be changed."""
        before = self._open.get(operation.id)
        flags = {*operation.flags, *(() if before is None else before.flags)}
        if late is not None:
            events = [self._late(operation, late)]
        else:
            events = self._feedback(operation) if operation.kind == "feedback" else self._run(operation)
        if flags:
            for event in events:
                event.sanitized = sorted({*event.sanitized, *flags})
        return events

    def _run(self, operation: Operation) -> list[DraftEvent]:
        """Take in what an operation reports of a run; the events that this makes."""
        earlier = self._open.get(operation.id)
        has_begun = operation.kind == "post" or (earlier is not None and earlier.has_begun)
        run = operation.body
        if earlier is not None:
            is_first = operation.kind == "post" and not earlier.has_begun
            run = merge(operation.body, earlier.run) if is_first else merge(earlier.run, operation.body)
        parent = self._facts(run.get("parent_run_id"))
        facts = facts_of(run, parent if earlier is None else earlier.facts)
        if run.get("end_time") is None:
            size = operation.size_bytes + (0 if earlier is None else earlier.size_bytes)
            flags = {*operation.flags, *(() if earlier is None else earlier.flags)}
            self._remember(operation.id, _Open(run, facts, size, tuple(sorted(flags)), has_begun))
            return [start_event(run, facts)] if earlier is None else []
        ours = restore(run)
        if not has_begun and ours is None:
            self.counts.unbegun += 1
            self._unbegun.add(operation.id, run, operation.size_bytes)
        self._drop(operation.id)
        self._end(operation.id, facts)
        return end_events(run, facts) if ours is None else self._once(ours)

    def _late(self, operation: Operation, end: dict[str, Any]) -> DraftEvent:
        """Report the beginning of a run whose end came before."""
        run = merge(operation.body, end)
        facts = facts_of(run, self._facts(run.get("parent_run_id")))
        self._ended[operation.id] = facts
        return late_beginning(run, facts)

    def _feedback(self, operation: Operation) -> list[DraftEvent]:
        facts = self._facts(operation.body.get("run_id"))
        self._end(operation.id, facts or RunFacts(None, ""))
        if is_reported_in_run(operation.body):
            return []
        ours = log_of(operation.body)
        return [score_event(operation.body, facts)] if ours is None else self._once([ours])

    def _once(self, events: list[DraftEvent]) -> list[DraftEvent]:
        """Leave out a log of ours that has come before: one that stands for a run may stand for a feedback too."""
        if events[-1].kind == "span":
            return events
        name = name_of(events[-1])
        if name in self._ended:
            return []
        self._end(name, RunFacts(None, ""))
        return events

    def _end(self, name: str, facts: RunFacts) -> None:
        self._ended[name] = facts
        self._just_ended.append(name)

    def _facts(self, run_id: Any) -> RunFacts | None:
        found = parse_uuid(run_id) if isinstance(run_id, str) else None
        if found is None:
            return None
        known = self._open.get(found)
        return self._ended.get(found) if known is None else known.facts

    def _remember(self, run_id: str, entry: _Open) -> None:
        self._drop(run_id)
        self._open[run_id] = entry
        self._open_bytes += entry.size_bytes

    def _drop(self, run_id: str) -> None:
        entry = self._open.pop(run_id, None)
        if entry is not None:
            self._open_bytes -= entry.size_bytes

    def _take_back(self, undo: list[_Undo], accepted: int) -> None:
        """Forget the operations whose events did not all fit: they come again."""
        for step in reversed(undo):
            if step.until > accepted:
                for name in step.ended:
                    self._ended.pop(name, None)
                if step.late is not None:
                    self._unbegun.add(step.id, step.late, 0)
                elif step.unbegun:
                    self._unbegun.discard(step.id)
                self._drop(step.id)
                if step.open is not None:
                    self._remember(step.id, step.open)

    def _forget_oldest(self) -> None:
        while len(self._open) > self._max_open_runs or self._open_bytes > self._max_open_bytes:
            run_id = next(iter(self._open))
            self._drop(run_id)
            if not self.counts.forgotten:
                _log.warning("runs begin faster than they end: the oldest are forgotten, and will end without inputs")
            self.counts.forgotten += 1
        while len(self._ended) > MAX_ENDED_RUNS:
            self._ended.popitem(last=False)


def _in_order(operations: Iterable[Operation]) -> list[Operation]:
    """Sort the operations of a request: beginnings before ends, and a parent's before its children's."""
    ordered = sorted(operations, key=lambda operation: operation.kind != "post")
    beginnings = {operation.id: operation for operation in ordered if operation.kind == "post"}
    found: dict[int, Operation] = {}
    for operation in ordered:
        chain = [operation]
        while (
            operation.kind == "post"
            and (parent := beginnings.get(parse_uuid(str(chain[-1].body.get("parent_run_id"))) or "")) is not None
            and id(parent) not in found
            and parent not in chain[-MAX_CHAIN:]
            and len(chain) < MAX_CHAIN
        ):
            chain.append(parent)
        for link in reversed(chain):
            found.setdefault(id(link), link)
    return list(found.values())
