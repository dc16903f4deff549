"""What is asked of the store, by SQL, over HTTP, and on the command line.

Each question is asked with other values every time (users by how much they have to say, traces from all days), warm and, once each,
after the server was restarted and the kernel's cache was dropped where that is allowed.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from datetime import timedelta
from random import Random
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import httpx
import uvicorn

from benchmarks.statistics import quantile
from benchmarks.store_data import COMMON, END, MEDIUM, RARE
from clew import config
from clew.query import parse
from clew.server.app import create_app
from clew.server.run import listen, url_of
from clew.store.postgres.connect import connect
from clew.store.postgres.fingerprints import fetch_faults
from clew.store.postgres.lineage import fetch_lineage
from clew.store.postgres.logs import LogFilter, fetch_logs
from clew.store.postgres.reading import read
from clew.store.postgres.rollups import MetricWindow, fetch_metrics
from clew.store.postgres.traces import fetch_trace, matching_traces, recent_traces

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

    import psycopg

    from clew.store.postgres.reading import Reading

__all__ = ["Question", "Values", "ask_all", "ask_command_line", "ask_over_http", "draw_values", "questions"]

TIMES: Final = 25
COMMANDS_TIMES: Final = 3


class Values:
    """What to ask for: ids that are there, in the order in which they are drawn.

    Args:
        traces: Trace ids.
        spans: Span ids.
        chunks: Chunk ids.
    """

    def __init__(self, traces: list[str], spans: list[str], chunks: list[str]) -> None:
        self.traces, self.spans, self.chunks = traces, spans, chunks
        self._draw = Random(7)

    def trace(self) -> str:
        """Draw a trace."""
        return self._draw.choice(self.traces)

    def span(self) -> str:
        """Draw a span."""
        return self._draw.choice(self.spans)

    def chunk(self) -> str:
        """Draw a chunk."""
        return self._draw.choice(self.chunks)

    def user(self) -> str:
        """Draw a user, the talkative as often as the silent."""
        return f"user-{self._draw.choice((0, 1, 3, 10, 40, 150, 700, 3000))}"

    def hour(self) -> Any:
        """Draw the beginning of an hour of the month."""
        return END - timedelta(hours=self._draw.randrange(2, 24 * 29))


class Question:
    """One kind of question.

    Args:
        name: What it is.
        specification: The specification's figure in ms; None for none.
        goal: Our goal in ms, for the 95th percentile, warm; None for none.
        sql: Makes the reading.
        path: The same over HTTP; empty for none.
        command: The same on the command line; empty for none.
    """

    def __init__(
        self,
        name: str,
        specification: float | None,
        goal: float | None,
        sql: Callable[[Values], Reading[Any]],
        path: Callable[[Values], str] | None = None,
        command: Callable[[Values], list[str]] | None = None,
    ) -> None:
        self.name, self.specification, self.goal = name, specification, goal
        self.sql, self.path, self.command = sql, path, command


def questions() -> list[Question]:
    """List the questions of the architecture's budget, and those beside them."""
    day = MetricWindow(since=END - timedelta(days=1), until=END, step=timedelta(minutes=1))

    def text(term: str) -> Callable[[Values], Reading[Any]]:
        return lambda _: fetch_logs(LogFilter(query=parse(term)))

    def in_hour(values: Values) -> Reading[Any]:
        since = values.hour()
        return fetch_logs(LogFilter(since=since, until=since + timedelta(hours=1)))

    return [
        Question(
            "a trace by its id", 50, 2, lambda v: fetch_trace(v.trace()), lambda v: f"/api/traces/{v.trace()}",
            lambda v: ["trace", v.trace()],
        ),
        Question("a span by its id", 20, None, fetch_span_of, lambda v: f"/api/spans/{v.span()}"),
        Question(
            "a user's newest 100", 100, 5, lambda v: fetch_logs(LogFilter(user_id=v.user())),
            lambda v: f"/api/logs?user_id={v.user()}", lambda v: ["logs", "--user", v.user()],
        ),
        Question("an hour's newest 100", 500, 5, in_hour, _hour_path),
        *(
            Question(
                f"text, {name}", 1000, 40, text(term), lambda _, term=term: f"/api/logs?q={quote(term)}",
                lambda _, term=term: ["logs", term],
            )
            for name, term in (
                ("one event of 100,000", RARE), ("one of 200", MEDIUM), ("one of ten", COMMON), ("nowhere", "zzznothing"),
                ("a phrase", '"connection reset"'), ("a piece of a word", "*sarfaul*"),
                ("a user and a word", f"user:user-3 {MEDIUM}"), ("a word without another", f"{MEDIUM} -{COMMON}"),
            )
        ),
        Question("errors of a stage", None, 40, lambda _: fetch_logs(LogFilter(query=parse("level>=error stage:retrieval")))),
        Question("a field: context.top_k:5", None, None, lambda _: fetch_logs(LogFilter(query=parse("context.top_k:5")))),
        Question("the newest 50 traces", None, 40, lambda _: recent_traces(), lambda _: "/api/traces", lambda _: ["traces"]),
        Question("traces with an error", None, 100, lambda _: matching_traces(parse("level>=error"))),
        Question("a day's faults", None, None, lambda _: fetch_faults(parse(""), since=END - timedelta(days=1), until=END)),
        Question("a chunk's lineage", None, None, lambda v: fetch_lineage("chunk", v.chunk())),
        *(
            Question(
                f"a day by minutes: {name}", None, 20, lambda _, metric=metric: fetch_metrics(metric, day),
                lambda _, metric=metric: f"/api/metrics/{metric}?since={_iso(day.since)}&until={_iso(day.until)}",
            )
            for name, metric in (("requests", "requests"), ("errors", "errors"), ("latency quantiles", "latency"))
        ),
    ]  # fmt: skip


def fetch_span_of(values: Values) -> Reading[Any]:
    """Ask for a span."""
    from clew.store.postgres.spans import fetch_span

    return fetch_span(values.span())


def draw_values(connection: psycopg.Connection[Any]) -> Values:
    """Draw ids of all days."""
    rows = connection.execute(
        "SELECT trace_id::text, span_id::text, context -> 'hits' -> 0 ->> 'chunk_id' FROM events TABLESAMPLE SYSTEM (0.2)"
        " WHERE message = 'hybrid_search_complete' LIMIT 5000"
    ).fetchall()
    spans = connection.execute(
        "SELECT span_id::text FROM events TABLESAMPLE SYSTEM (0.2) WHERE kind = 'span' LIMIT 5000"
    ).fetchall()
    return Values([row[0] for row in rows], [row[0] for row in spans], [row[2] for row in rows if row[2]])


def ask_all(dsn: str, values: Values, *, times: int = TIMES) -> dict[str, dict[str, float]]:
    """Ask everything by SQL; return median and 95th percentile in ms, by name.

    With one time only, the figure is that of the first asking.
    """
    found: dict[str, dict[str, float]] = {}
    with connect(dsn, is_reader=True) as connection:
        connection.execute("SET statement_timeout = 0")
        for question in questions():
            if times > 1:
                read(connection, question.sql(values))
            found[question.name] = _summed(
                [_timed(lambda q=question: read(connection, q.sql(values))) for _ in range(times)]
            )
    return found


def ask_over_http(dsn: str, data: Path, values: Values) -> dict[str, dict[str, float]]:
    """Ask what has a route, of a real server on loopback."""
    found: dict[str, dict[str, float]] = {}
    with _server(dsn, data) as url, httpx.Client(base_url=url, trust_env=False, timeout=60) as client:
        for question in questions():
            if question.path is None:
                continue
            paths = [question.path(values) for _ in range(TIMES + 1)]
            client.get(paths.pop())
            found[question.name] = _summed([_timed(lambda p=path: client.get(p).raise_for_status()) for path in paths])
    return found


def ask_command_line(dsn: str, values: Values) -> dict[str, dict[str, float]]:
    """Ask what has a command, each time in a new process."""
    found: dict[str, dict[str, float]] = {}
    for question in questions():
        if question.command is None:
            continue
        waits: list[float] = []
        for _ in range(COMMANDS_TIMES):
            command = [sys.executable, "-m", "clew", *question.command(values), "--dsn", dsn, "--json"]
            waits.append(
                _timed(
                    lambda c=command: subprocess.run(
                        c, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False
                    )
                )
            )
        found[question.name] = _summed(waits)
    return found


@contextmanager
def _server(dsn: str, data: Path) -> Generator[str]:
    settings = config.load(dsn=dsn, data_dir=data, agent="external", rate_limit=0, host="127.0.0.1", port=0)
    listener = listen(settings)
    server = uvicorn.Server(uvicorn.Config(create_app(settings), log_level="warning", access_log=False))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        yield url_of(listener)
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


def _hour_path(values: Values) -> str:
    since = values.hour()
    return f"/api/logs?since={_iso(since)}&until={_iso(since + timedelta(hours=1))}"


def _iso(moment: Any) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def _timed(do: Callable[[], object]) -> float:
    began = time.perf_counter()
    do()
    return (time.perf_counter() - began) * 1e3


def _summed(waits: list[float]) -> dict[str, float]:
    rising = sorted(waits)
    return {"p50": quantile(rising, 0.5), "p95": quantile(rising, 0.95)}
