"""A fault, tried on the demo: requests before it, under it and, when it is taken back, after it.

Each phase waits for its last request, so that none is half in one and half in the next.
"""

from __future__ import annotations

import threading
from random import Random
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, NoReturn

from clew.demo.traffic import Traffic
from clew.demo.visits import visits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from clew.demo.corpus import Document
    from clew.demo.driver import Driver, Exchange
    from clew.demo.faults.fault import ChosenFault
    from clew.demo.provider.server import LocalProvider
    from clew.demo.traffic import PhaseReport

__all__ = ["DEFAULT_PACE", "Trial", "TrialPhase"]

TrialPhase = Literal["before", "fault", "after"]

DEFAULT_PACE: Final = 4.0
"""Requests a second: the three phases then take at least 16, 38 and 28 seconds. An alert takes longer than 38."""


class _Step(NamedTuple):
    phase: TrialPhase
    requests: int


STEPS: Final = (_Step("before", 64), _Step("fault", 150), _Step("after", 112))
"""Enough requests for a verdict: no failure before and a quarter of them under the fault differ far beyond chance."""


class Trial:
    """A fault, tried on the running demo.

    Args:
        chosen: The fault.
        provider: What is broken by it.
        driver: Sends the requests, and is used for nothing else.
        documents: What the service knows.
        pace: Requests a second.
        progress: Called now and then with what came of a phase so far.

    Attributes:
        chosen: The fault.
        phases: What came of each phase that is over.
    """

    def __init__(
        self,
        chosen: ChosenFault,
        provider: LocalProvider,
        driver: Driver,
        *,
        documents: Sequence[Document],
        pace: float,
        progress: Callable[[PhaseReport], None],
    ) -> None:
        self.chosen = chosen
        self.phases: list[PhaseReport] = []
        self._provider = provider
        self._driver = driver
        self._documents = documents
        random = Random()
        self._traffic = Traffic(driver, visits(documents, random), pace=pace, random=random, progress=progress)

    @property
    def exchanges(self) -> Sequence[Exchange]:
        """Every request so far."""
        return self._driver.exchanges

    @property
    def excused(self) -> int:
        """How many requests failed under the fault."""
        return sum(report.failed for report in self.phases if report.phase == "fault")

    @property
    def is_in_force(self) -> bool:
        """Whether requests meet the fault now."""
        return bool(self.phases) and self.phases[-1].phase == "fault"

    def prepare(self, upload: Callable[[], None]) -> None:
        """Have the provider and the service compute ahead what questions about the documents need: slowness is not the fault.

        Args:
            upload: Uploads the documents; the provider computes meanwhile.
        """
        warming = threading.Thread(
            target=self._provider.warm_up, args=(self._documents,), name="demo-warm-up", daemon=True
        )  # a daemon: Ctrl-C does not wait for it
        warming.start()
        upload()
        self._driver.warm_up()
        warming.join()

    def run(
        self,
        begin: Callable[[TrialPhase], None],
        *,
        is_to_fix: bool,
        is_found: Callable[[], bool] = lambda: True,
    ) -> Iterator[PhaseReport]:
        """Send the requests of each phase.

        Args:
            begin: Called when a phase begins.
            is_to_fix: Whether the fault is taken back in the end; it stays in force otherwise.
            is_found: Whether the fault was found: until then, or for a minute and a half, requests go on under it.

        Yields:
            What came of each phase, when it is over.
        """
        for phase, requests in STEPS if is_to_fix else STEPS[:-1]:
            if phase == "fault":
                self._provider.break_by(self.chosen)
            elif phase == "after":
                self._provider.repair()
            begin(phase)
            report = self._traffic.send(phase, requests, is_found if phase == "fault" else lambda: True)
            self.phases.append(report)
            yield report

    def go_on(self) -> NoReturn:
        """Send requests as in the last phase until an exception, such as that of Ctrl-C."""
        self._driver.exchanges.clear()
        while True:
            self._traffic.send(self.phases[-1].phase, None)
