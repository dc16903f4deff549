"""Push metrics to a Pushgateway: for jobs that end before anybody could scrape their agent.

What: every 15 s, if something has changed, and once at the end, all metrics of the agent replace those that
its last push left under ``/metrics/job/clew/instance/<host>``.
Why a thread of its own: a gateway that is slow or away delays nobody. What could not be pushed is not lost, since
counters only rise: the next push says all of it.

Metrics:
    ``clew_agent_pushes_total{outcome}``: attempts, ``done`` and ``failed``.

Source:
    https://github.com/prometheus/pushgateway#put-method
"""

from __future__ import annotations

import threading
from http.client import HTTPException
from typing import TYPE_CHECKING, Final
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import ProxyHandler, Request, build_opener

from clew.sinks.prometheus.text import expose

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from prometheus_client import Metric as Family

__all__ = ["Pusher"]

INTERVAL_S: Final = 15.0
TIMEOUT_S: Final = 5.0
JOB: Final = "clew"
_UNSTEADY: Final = (  # change by themselves
    b"clew_agent_heartbeat_timestamp_seconds",
    b"clew_agent_pushes_total",
    b"clew_agent_maintenance_runs_total",
)


class Pusher:
    """Push metrics from a thread of its own.

    Args:
        url: The Pushgateway.
        instance: Whose metrics these are, such as the host; two agents with the same one replace each other's.
        families: Tells what to push.
        report: Called with one line for people when pushing begins to fail, and when it works again.
        interval_s: How often to look for changes, in seconds.

    Attributes:
        counts: Attempts so far by outcome, ``done`` and ``failed``.
    """

    def __init__(
        self,
        url: str,
        instance: str,
        families: Callable[[], Iterable[Family]],
        report: Callable[[str], None],
        *,
        interval_s: float = INTERVAL_S,
    ) -> None:
        self.counts = {"done": 0, "failed": 0}
        self._url = f"{url}/metrics/job/{JOB}/instance/{quote(instance, safe='')}"
        self._families = families
        self._report = report
        self._interval_s = interval_s
        self._open = build_opener(ProxyHandler({})).open
        self._pushed: list[bytes] | None = None
        self._has_failed = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="clew-push", daemon=True)

    def start(self) -> None:
        """Begin to push."""
        self._thread.start()

    def stop(self) -> None:
        """Push once more, and end; waits for that as long as one attempt may take."""
        self._stopping.set()
        self._thread.join(2 * TIMEOUT_S)

    def _run(self) -> None:
        while not self._stopping.wait(self._interval_s):
            self._push(is_last=False)
        self._push(is_last=True)

    def _push(self, *, is_last: bool) -> None:
        try:
            body, content_type = expose(self._families(), None)
        except OSError as error:  # the agent reads its accounts from the disk
            self._note(str(error))
            return
        lines = [line for line in body.split(b"\n") if not line.startswith(_UNSTEADY)]
        if lines == self._pushed and not is_last:
            return
        trouble = self._put(body, content_type)
        self._note(trouble)
        if not trouble:
            self._pushed = lines

    def _note(self, trouble: str) -> None:
        """Count an attempt, and report when things have changed."""
        self.counts["failed" if trouble else "done"] += 1
        if trouble and not self._has_failed:
            self._report(f"metrics cannot be pushed to {self._url}: {trouble}; trying again")
        elif self._has_failed and not trouble:
            self._report("metrics are pushed again")
        self._has_failed = bool(trouble)

    def _put(self, body: bytes, content_type: str) -> str:
        """Put *body* there; return what stood in the way, nothing if nothing did."""
        request = Request(self._url, data=body, method="PUT", headers={"Content-Type": content_type})  # noqa: S310 - settings allow http and https only
        try:
            with self._open(request, timeout=TIMEOUT_S):
                return ""
        except HTTPError as error:
            with error:
                text = error.read(300).decode("utf-8", "replace").strip()
            return f"HTTP {error.code}: {text}" if text else f"HTTP {error.code}"
        except (OSError, HTTPException) as error:
            return str(error) or type(error).__name__
