"""Whatever crashes, restarts and refusals there are, Prometheus counts every event once."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from clew.ids import uuid7
from clew.sinks.base import Delivered
from clew.sinks.prometheus.sink import PrometheusSink
from clew.spool.directory import create_producer_directory
from support.metrics import NOW, PRODUCER, batch, log, samples, span, start

if TYPE_CHECKING:
    from clew.sinks.base import Batch
    from clew.spool.format import Position

SPANS = [uuid7(1_700_000_000_000_000_000 + number) for number in range(4)]
ERROR = {"type": "TimeoutError", "message": "no answer", "stack": ""}

ids = st.sampled_from(SPANS)
parents = st.sampled_from([None, *SPANS])
events = st.one_of(
    st.builds(start, ids, parents),
    st.builds(span, ids, parents, run_type=st.sampled_from(["chain", "llm"]), metrics=st.just({"tokens_in": 3})),
    st.builds(span, ids, parents, status=st.just("error"), error=st.just(ERROR)),
    st.builds(
        log,
        st.just("token_usage_recorded"),
        span_id=st.one_of(st.none(), ids),
        metrics=st.just({"tokens_in": 3, "cost_usd": 0.5}),
    ),
    st.builds(log, st.just("search_failed"), span_id=ids, error=st.just(ERROR)),
)
steps = st.lists(st.tuples(st.integers(1, 5), st.sampled_from(["deliver", "crash before", "crash after", "full disk"])))


class Agent:
    """A worker, as far as this sink goes: it follows one log, and may crash at any step.

    Args:
        spool: Where its state is.
        whole: The log.
    """

    def __init__(self, spool: Path, whole: Batch) -> None:
        self.sink = PrometheusSink(spool / ".sinks" / "prometheus", now=lambda: NOW)
        self._spool = spool
        self._whole = whole
        self._cursor: Position = whole.start
        self._reads_at = self._resumed()

    def step(self, events: int, what: str) -> None:
        """Deliver so many events, or meet a fault while doing so."""
        taken = [event for event in self._whole.events if event[0] >= self._reads_at][:events]
        following = [position for position, _ in self._whole.events if taken and position > taken[-1][0]]
        end = following[0] if following else self._whole.end
        part = self._whole._replace(events=taken, start=self._reads_at, end=end)
        if what == "crash before":
            self._restart()
        elif what == "full disk":
            self._refuse(part)
        else:
            assert self.sink.deliver(part) == Delivered()
            if what == "crash after":
                self._restart()
            else:
                self._cursor = self._reads_at = end

    def _refuse(self, part: Batch) -> None:
        slot = self.sink._slot
        good, slot._fd = slot._fd, os.open(self._spool, os.O_RDONLY)
        self.sink.deliver(part)
        os.close(slot._fd)
        slot._fd = good

    def _restart(self) -> None:
        self.sink.close()
        self.sink = PrometheusSink(self._spool / ".sinks" / "prometheus", now=lambda: NOW)
        self._reads_at = self._resumed()

    def _resumed(self) -> Position:
        return max(self._cursor, self.sink.resume(PRODUCER) or self._cursor)


@settings(max_examples=150, deadline=None)
@given(st.lists(events, min_size=1, max_size=25), steps)
def test_every_event_counts_once(payloads: list[bytes], faults: list[tuple[int, str]]) -> None:
    """The counters are those of an agent that met no trouble."""
    whole = batch(*payloads)
    with tempfile.TemporaryDirectory() as home:
        troubled, calm = (Path(home) / name for name in ("troubled", "calm"))
        for spool in (troubled, calm):
            create_producer_directory(spool, PRODUCER.service, PRODUCER.id)
        agent = Agent(troubled, whole)
        for number, what in faults:
            agent.step(number, what)
        agent.step(len(payloads), "deliver")
        expected = PrometheusSink(calm / ".sinks" / "prometheus", now=lambda: NOW)
        expected.deliver(whole)

        told, wanted = samples(agent.sink.families()), samples(expected.families())
        agent.sink.close()
        expected.close()

    assert told == wanted
