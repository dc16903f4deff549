"""Three backends, one key: the demo's requests in PostgreSQL, by LangSmith's protocol, by OTLP and in Prometheus' format.

LangSmith and the OTLP backend are other instances of clew, each with a store of its own, reached by their documented
protocols. What arrives there has to be the same tree as at home.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import urllib.error
import urllib.request
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import json

from support.commands import CLEW, read_object

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SHIPPED = ("postgres", "langsmith", "otlp", "prometheus")
OPEN_METRICS = "application/openmetrics-text; version=1.0.0"


def environment(data: Path, **told: str) -> dict[str, str]:
    """Give the environment of a user who has set the data directory and *told*."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("CLEW_", "LANGSMITH_", "OPENAI_"))
    }
    return {**kept, "CLEW_DATA_DIR": str(data), "COLUMNS": "160", **told}


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Callable[..., dict[str, Any]]]:
    """Give a function that runs ``clew up`` on a data directory of its own and returns what it says."""
    started: list[subprocess.Popen[bytes]] = []

    def start(name: str) -> dict[str, Any]:
        process = subprocess.Popen(
            [*CLEW, "up", "--port", "0", "--json"], env=environment(tmp_path / name), stdout=subprocess.PIPE
        )
        started.append(process)
        assert process.stdout is not None
        return json.decode(process.stdout.readline())

    yield start
    for process in started:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)


@contextmanager
def demo(told: dict[str, str]) -> Iterator[dict[str, Any]]:
    """Have the demo answer two questions; give what it says once it has, and end it with the block."""
    process = subprocess.Popen(
        [*CLEW, "demo", "--json", "--questions", "2", "--port", "0"],
        env=told,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield read_object(process)
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)


def get(url: str, *, accept: str = "application/json") -> bytes:
    """Ask for something."""
    request = urllib.request.Request(url, headers={"Accept": accept})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return answer.read()


def wait_for(url: str, trace: str, is_so: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Ask for a trace until something is so."""
    shown: dict[str, Any] = {}
    for _ in range(2_000):
        with suppress(urllib.error.HTTPError):
            shown = json.decode(get(f"{url}/api/traces/{trace}"))
            if is_so(shown):
                return shown
    raise AssertionError(tree(shown["spans"]) if shown else trace)


def tree(spans: list[dict[str, Any]]) -> list[Any]:
    """Reduce spans to what has to be equal everywhere: names, kinds, ends, costs, logs, and how they are nested."""
    return [
        (
            span["message"],
            span["run_type"],
            span["status"],
            span["stage"],
            span["metrics"].get("tokens_in"),
            sorted(log["message"] for log in span["logs"]),
            tree(span["children"]),
        )
        for span in spans
    ]


def is_everywhere(backends: dict[str, Any]) -> bool:
    """Tell whether every sink has taken every event of a trace."""
    return all(
        backends[name].get("delivered") and backends[name].get("pending") == 0 and not backends[name].get("unknown")
        for name in SHIPPED
    )


def names(spans: list[dict[str, Any]]) -> set[str]:
    """Collect the names of all spans of a tree."""
    return {span["message"] for span in spans}.union(*(names(span["children"]) for span in spans))


@pytest.mark.slow
def test_a_request_of_the_demo_is_the_same_tree_in_every_backend(
    tmp_path: Path, up: Callable[..., dict[str, Any]]
) -> None:
    """PostgreSQL, LangSmith's API and OTLP get the same spans and logs; a metric's exemplar leads to them."""
    smith, otlp = up("smith"), up("otlp")
    told = environment(
        tmp_path / "home",
        CLEW_LANGSMITH_ENDPOINT=f"{smith['url']}/langsmith",
        CLEW_LANGSMITH_API_KEY="test",
        CLEW_OTLP_ENDPOINT=otlp["url"],
    )
    with demo(told) as home:
        trace = home["question_trace_id"]
        at_home = json.decode(get(f"{home['url']}/api/traces/{trace}"))
        wanted = tree(at_home["spans"])
        at_smith = wait_for(smith["url"], trace, lambda shown: tree(shown["spans"]) == wanted)
        at_otlp = wait_for(otlp["url"], trace, lambda shown: tree(shown["spans"]) == wanted)
        backends = wait_for(home["url"], trace, lambda shown: is_everywhere(shown["backends"]))["backends"]
        metrics = get(f"{home['url']}/metrics", accept=OPEN_METRICS).decode()
        asked = subprocess.run(
            [*CLEW, "trace", trace.replace("-", ""), "--json"],
            env=told,
            capture_output=True,
            check=False,
            text=True,
        )

    assert len(names(at_home["spans"])) > 3
    assert at_smith["summary"]["cost_usd"] == pytest.approx(at_home["summary"]["cost_usd"])
    assert at_otlp["summary"]["tokens_in"] == at_home["summary"]["tokens_in"]
    exemplars = set(re.findall(r'trace_id="([0-9a-f]{32})"', metrics))
    assert exemplars
    assert asked.returncode == 0, asked.stderr
    assert json.decode(asked.stdout)["trace_id"] == trace
    assert backends["langsmith"]["url"] == f"{smith['url']}/t/{trace}"
    assert backends["otlp"]["details"]["trace_id"] == trace.replace("-", "")
    told_here = json.decode(asked.stdout)["backends"]
    assert {name: told_here[name]["delivered"] for name in SHIPPED} == dict.fromkeys(
        SHIPPED, backends["postgres"]["delivered"]
    )
