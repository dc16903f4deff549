"""The logs of a spool that one agent ships: found, taken, looked after, and put aside when they are shipped whole.

What: in every round the logs that nobody ships are taken, the oldest first, as many as there are descriptors for, and
each is looked after (``adopted``). A log that every sink has passed is entered into the ledger, and put aside until the
replay window is over.
Trouble with one log is reported and tried again; the others go on.

Threads: the supervisor's alone changes anything here; ``all``, ``lag`` and the counts may be asked by any.
"""

from __future__ import annotations

import resource
from typing import TYPE_CHECKING

from clew.agent.adopted import AdoptedLog, LogPlace
from clew.agent.log import ProducerLog
from clew.agent.trouble import needs_people
from clew.delivery.oddities import find_in_log
from clew.errors import SpoolError
from clew.spool.directory import producer_directories
from clew.spool.reader import copied_from

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from clew.agent.trouble import Trouble
    from clew.agent.worker import Worker
    from clew.delivery.ledger import Ledger
    from clew.sinks.base import Sink

__all__ = ["Logs"]

FEWEST_LOGS = 8
SPARE_DESCRIPTORS = 32  # for connections and files of the sinks; half of the rest is left to who shares the process


class Logs:
    """The logs that one agent ships.

    Args:
        spool: Root of the spool.
        sinks: What they are shipped to.
        ledger: Where logs are entered that are shipped whole.
        keeps: Whether what is shipped is kept for a replay window.
        workers: Who ships to the sinks; they may come later.
        trouble: Where trouble is reported.
        report: Called with one line for people.

    Attributes:
        settled: How many logs were settled whose writer had died.
        is_full: More logs wait than may be open at once.
    """

    def __init__(
        self,
        spool: Path,
        sinks: Sequence[Sink],
        *,
        ledger: Ledger,
        keeps: bool,
        workers: Sequence[Worker],
        trouble: Trouble,
        report: Callable[[str], None],
    ) -> None:
        self._spool = spool
        self._sinks = sinks
        self._ledger = ledger
        self._keeps = keeps
        self._workers = workers
        self._trouble = trouble
        self._report = report
        self._adopted: dict[str, AdoptedLog] = {}
        self._stuck: set[str] = set()  # for a later clew's agent, or for people to put right: nobody waits for them
        self._most = _most_logs(len(sinks))
        self.settled = 0
        self.is_full = False

    def all(self) -> list[ProducerLog]:
        """Return the logs that are shipped now."""
        return [adopted.log for adopted in list(self._adopted.values())]

    def lag(self, sink: str) -> tuple[int, int]:
        """Return how many events a sink of this name is behind, and about how many bytes."""
        behind = [adopted.lag(sink) for adopted in list(self._adopted.values())]
        return sum(events for events, _ in behind), sum(bytes_ for _, bytes_ in behind)

    def has_work(self) -> bool:
        """Whether there is a log that can be shipped, or whose writer lives."""
        return bool(self._adopted.keys() - self._stuck)

    def is_drained(self) -> bool:
        """Whether every log is shipped that has no living writer."""
        return not self.is_full and not any(
            log.is_writer_dead for log in self.all() if log.producer.id not in self._stuck
        )

    def has_new(self) -> bool:
        """Whether there is a log that no agent ships."""
        directories = producer_directories(self._spool)
        try:
            return any(_is_free(directory) for directory in directories if directory.name not in self._stuck)
        except OSError as error:
            self._trouble.report_error(self._spool, error)
            return not needs_people(error)  # no descriptor is left: looked again in another round

    def adopt_new(self) -> None:
        """Take the logs that nobody ships, the oldest first, as many as there are descriptors for."""
        try:
            waiting = [
                directory for directory in producer_directories(self._spool) if directory.name not in self._adopted
            ]
        except OSError as error:  # no descriptor is left, or the spool may not be read: tried again in the next round
            self._trouble.report_error(self._spool, error)
            return
        self.is_full = False
        for directory in sorted(waiting, key=lambda directory: directory.name):
            if len(self._adopted) >= self._most:
                self.is_full = True  # the rest comes when these are shipped
                return
            try:
                self._adopt(directory)
            except (OSError, SpoolError) as error:
                self._trouble.report_error(directory, error)

    def _adopt(self, directory: Path) -> None:
        """Take one log, if nobody ships it.

        Raises:
            OSError: It cannot be read now.
            SpoolError: Its lock cannot be opened.
        """
        log = ProducerLog(directory)
        if copied_from(directory) is not None or not log.take():  # a copy is reported with all that is odd
            return
        try:
            known = self._ledger.read()
            if directory.name in known.removed:
                self._ledger.take_back(directory)  # it is there again: it had been moved
            elif directory.name in known.producers:
                self._put_aside(log)  # an agent died after it had entered this log and before it could do so
                for worker in self._workers:
                    worker.look_again()  # or it was about to have the log come back
                return
            adopted = AdoptedLog(log)
        except OSError:
            log.release()
            raise
        self._adopted[directory.name] = adopted

    def look_after(self) -> None:
        """Follow every log, settle those whose writer has died, and put aside what is shipped."""
        for adopted in list(self._adopted.values()):
            self._look_after(adopted)

    def _look_after(self, adopted: AdoptedLog) -> None:
        log = adopted.log
        if not log.moving.acquire(blocking=False):
            return  # a worker is having segments come back: what is not needed is seen when it is done
        try:
            place = adopted.find(self._sinks)
            if place != "here":
                self._leave(adopted, place)
                return
            self.settled += adopted.follow(self._sinks, self._report)
            if all(worker.has_placed(log) for worker in self._workers if log.is_for(worker.health.name)):
                self._let_go(adopted)  # else a cursor may be that of a store which was replaced meanwhile
        except (OSError, SpoolError) as error:
            if needs_people(error):
                self._stuck.add(log.producer.id)
            self._trouble.report_error(log.directory, error)
        else:
            self._stuck.discard(log.producer.id)
        finally:
            log.moving.release()

    def _leave(self, adopted: AdoptedLog, place: LogPlace) -> None:
        """Do what has to be done about a log that is not here any more; its directory may have been removed for a moment."""
        if place == "away":
            return
        log = adopted.log
        log.is_gone = True
        if place == "lost":
            missing = adopted.enter_lost(self._ledger, self._sinks)
            self._report(
                f"{log.directory}: was removed, and nobody makes it again; of the events that were seen there "
                f"{missing} were not shipped, and what else it held is lost"
            )
        del self._adopted[log.producer.id]
        self._stuck.discard(log.producer.id)
        adopted.end()
        log.release()

    def _let_go(self, adopted: AdoptedLog) -> None:
        """Put aside what every sink has passed."""
        if adopted.is_shipped(self._sinks):
            self._retire(adopted)
        else:
            adopted.prune(self._sinks, keeps=self._keeps)

    def _retire(self, adopted: AdoptedLog) -> None:
        """Enter the log into the ledger, then put it aside. In that order: an agent that dies between enters it once."""
        log = adopted.log
        self._trouble.report_oddities(find_in_log(self._spool, log.directory))  # afterwards nobody looks there again
        adopted.enter(self._ledger, self._sinks)
        del self._adopted[log.producer.id]
        adopted.end()
        self._put_aside(log)

    def _put_aside(self, log: ProducerLog) -> None:
        """Keep a log that was shipped whole for the replay window, or remove it if there is none."""
        if self._keeps:
            log.retire(self._spool)
        else:
            log.remove()

    def release(self) -> None:
        """Let go of every log, for other agents."""
        for adopted in list(self._adopted.values()):
            adopted.end()
            adopted.log.release()
        self._adopted.clear()


def _is_free(directory: Path) -> bool:
    """Whether a log is shipped by nobody, and could be."""
    try:
        log = ProducerLog(directory)
        is_free = copied_from(directory) is None and log.take()
    except (OSError, SpoolError):
        return False
    log.release()
    return is_free


def _most_logs(sinks: int) -> int:
    """Return how many logs may be open at once: each takes two locks, a reader, and a cursor and a reader a sink."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    descriptors = 65536 if soft == resource.RLIM_INFINITY else soft
    return max(FEWEST_LOGS, (descriptors // 2 - SPARE_DESCRIPTORS) // (3 + 2 * sinks))
