"""From the application to a real Prometheus, and from its exemplars back to the trace."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from msgspec import json

from support.accounting import wait_for
from support.commands import CLEW
from support.fix_prometheus import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.fix_prometheus import StartPrometheus

pytestmark = pytest.mark.slow

APPLICATION = """
import clew
clew.configure(service="rag-api", agent="external")
log = clew.get_logger()
for number in range(3):
    with clew.trace_context(), clew.span("POST /ask") as request:
        log.info("cache_checked", cache_hit=number == 0, duration_ms=2)
        with clew.span("search", run_type="retriever", hit_count=4):
            log.info("hybrid_search_complete", hit_count=5, top_score=0.8, duration_ms=40)
        with clew.span("answer", run_type="llm", model="gpt-x", provider="acme", tokens_in=100, tokens_out=7):
            log.info("token_usage_recorded", model="gpt-x", provider="acme", tokens_in=100, tokens_out=7, cost_usd=0.25)
try:
    with clew.trace_context(), clew.span("POST /ask") as failed, clew.span("search", run_type="retriever"):
        raise TimeoutError("the index did not answer")
except TimeoutError:
    pass
print(failed.trace_id)
"""


def environment(data: Path, **told: str) -> dict[str, str]:
    """Give the environment of a user who has set the data directory and *told*."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CLEW_")}
    return {**kept, "CLEW_DATA_DIR": str(data), **told}


def run_application(data: Path) -> str:
    """Run the application to its end; return the trace that failed."""
    ran = subprocess.run(
        [sys.executable, "-c", APPLICATION], env=environment(data), capture_output=True, check=True, text=True
    )
    assert ran.stderr == ""
    return ran.stdout.strip()


@contextmanager
def agent(data: Path, *options: str, **told: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run ``clew agent`` for the length of a block; it is asked to end, if it has not."""
    process = subprocess.Popen([*CLEW, "agent", *options], env=environment(data, **told), stderr=subprocess.PIPE)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)


def labels(**told: str) -> tuple[tuple[str, str], ...]:
    """Write labels as the fixture tells them."""
    return tuple(sorted(told.items()))


def _is_told(told: dict[Any, float]) -> bool:
    """Whether there is a number above zero; a ratio of nothing is none."""
    return any(value > 0 for value in told.values())


def test_values_are_exact_and_exemplars_lead_to_the_trace(
    tmp_path: Path, postgres: str, prometheus: StartPrometheus
) -> None:
    """What was emitted is what Prometheus has, each thing once; the exemplar of the error finds its logs by command."""
    port = free_port()
    with agent(tmp_path, "--metrics-port", str(port), CLEW_DSN=postgres):
        server = prometheus(f"127.0.0.1:{port}")
        trace = run_application(tmp_path)
        requests = server.wait_for("clew_requests_total", lambda told: sum(told.values()) == 4)
        totals = {
            name: sum(server.query(name).values())
            for name in (
                "clew_cache_requests_total",
                "clew_retrieval_hits_total",
                "clew_llm_tokens_input_total",
                "clew_llm_tokens_output_total",
                "clew_cost_usd_total",
                "clew_llm_duration_seconds_count",
                "gen_ai_client_operation_duration_seconds_count",
                'gen_ai_client_token_usage_sum{gen_ai_token_type="input"}',
                "clew_request_duration_seconds_count",
            )
        }
        errors = server.query("clew_errors_total")
        (exemplar,) = server.exemplars("clew_errors_total")
        slow = server.exemplars("clew_request_duration_seconds_bucket")
        shown = subprocess.run(
            [*CLEW, "trace", exemplar["labels"]["trace_id"], "--json"],
            env=environment(tmp_path, CLEW_DSN=postgres),
            capture_output=True,
            check=True,
        )

    found: dict[str, Any] = json.decode(shown.stdout)
    assert requests[labels(service="rag-api", status="ok")] == 3
    assert requests[labels(service="rag-api", status="error")] == 1
    assert totals == {
        "clew_cache_requests_total": 3,
        "clew_retrieval_hits_total": 15,
        "clew_llm_tokens_input_total": 300,
        "clew_llm_tokens_output_total": 21,
        "clew_cost_usd_total": 0.75,
        "clew_llm_duration_seconds_count": 3,
        "gen_ai_client_operation_duration_seconds_count": 3,
        'gen_ai_client_token_usage_sum{gen_ai_token_type="input"}': 300,
        "clew_request_duration_seconds_count": 4,
    }
    assert errors == {labels(service="rag-api", stage="retrieval", error_type="TimeoutError"): 1}
    assert exemplar["labels"]["trace_id"] == trace.replace("-", "")
    assert found["trace_id"] == trace
    assert found["summary"]["error_count"] == 2
    assert any(one["labels"]["trace_id"] == trace.replace("-", "") for one in slow)


def test_an_agent_on_another_host_is_scraped_with_a_token(tmp_path: Path) -> None:
    """Beyond loopback the agent does not start without a token, and answers to whoever shows one that reads."""
    port = free_port()
    options = ("--metrics-host", "0.0.0.0", "--metrics-port", str(port))
    refused = subprocess.run(
        [*CLEW, "agent", *options], check=False, env=environment(tmp_path), capture_output=True, text=True
    )

    def created(scope: str) -> str:
        made = subprocess.run(
            [*CLEW, "token", "create", "--name", scope, "--scope", scope, "--json"],
            env=environment(tmp_path),
            capture_output=True,
            check=True,
        )
        return json.decode(made.stdout)["token"]

    tokens = {scope: created(scope) for scope in ("read", "ingest")}
    with agent(tmp_path, *options), httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        wait_for(lambda: _answers(client), "the agent")
        status = {
            scope: client.get("/metrics", headers={"Authorization": f"Bearer {token}"}).status_code
            for scope, token in {**tokens, "none": "guessed"}.items()
        }

    assert refused.returncode == 2
    assert "clew token create" in refused.stderr
    assert status == {"read": 200, "ingest": 401, "none": 401}


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/healthz").is_success
    except httpx.ConnectError:
        return False


def test_the_recording_rules_give_what_dashboards_ask_for(tmp_path: Path, prometheus: StartPrometheus) -> None:
    """Ratios have both their parts, and money is told by line and model."""
    port = free_port()
    with agent(tmp_path, "--metrics-port", str(port)):
        server = prometheus(f"127.0.0.1:{port}")
        run_application(tmp_path)
        server.wait_for("clew_requests_total", lambda told: sum(told.values()) == 4)
        run_application(tmp_path)
        server.wait_for("clew_requests_total", lambda told: sum(told.values()) == 8)
        ratio = server.wait_for("service:clew_requests_errors:ratio_rate5m", _is_told)
        hits = server.wait_for("service:clew_cache_hits:ratio_rate5m", _is_told)
        cost = server.wait_for("service_line_model:clew_cost_usd:increase1h", _is_told)
        p95 = server.wait_for("service:clew_request_duration_seconds:p95_5m", _is_told)

    assert ratio[labels(service="rag-api")] == pytest.approx(0.25, abs=0.01)
    assert hits[labels(service="rag-api")] == pytest.approx(1 / 3, abs=0.01)
    assert list(cost) == [labels(service="rag-api", line="generation", model="gpt-x")]
    assert 0 < p95[labels(service="rag-api")] < 2


def test_a_job_that_ends_before_it_is_scraped_is_pushed(
    tmp_path: Path, pushgateway: str, prometheus: StartPrometheus
) -> None:
    """The agent of a batch job pushes at its end; Prometheus finds its metrics at the gateway."""
    run_application(tmp_path)
    with agent(tmp_path, "--until-idle", CLEW_PUSHGATEWAY_URL=pushgateway) as process:
        assert process.wait(60) == 0

    told = prometheus(pushgateway.removeprefix("http://")).wait_for("clew_requests_total", bool)

    assert told[labels(service="rag-api", status="ok")] == 3
