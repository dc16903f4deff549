"""``/api/alerts`` and ``/api/silences``, over a real store."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import httpx
import pytest

from clew import config
from clew.server.app import create_app
from clew.store.postgres.connect import connect
from clew.testing import FakeClock
from support.alert_bench import BEGIN, AlertBench

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def fault(postgres: str, tmp_path: Path) -> Iterator[AlertBench]:
    """A store in which an error rate fires."""
    with connect(postgres) as connection, FakeClock(BEGIN) as time:
        bench = AlertBench(postgres, connection, tmp_path, time)
        bench.requests(10)
        bench.requests(3, failing=0.6)
        bench.evaluate()
        yield bench
        bench.sink.close()


def client(bench: AlertBench, tmp_path: Path) -> httpx.AsyncClient:
    """Ask the application of a server on the store."""
    app = create_app(config.load(dsn=bench.dsn, data_dir=tmp_path))
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1:4319")


async def _conversation(bench: AlertBench, tmp_path: Path) -> None:
    async with client(bench, tmp_path) as asked:
        listed = (await asked.get("/api/alerts", params={"state": "firing", "rule": "error_rate"})).json()
        [alert] = listed["alerts"]
        assert listed["evaluation"]["state"] in {"ok", "stale", "degraded"}
        assert (await asked.get("/api/alerts?state=frying")).status_code == 400
        assert (await asked.get(f"/api/alerts/{alert['id']}")).json()["changes"]
        assert (await asked.get("/api/alerts/00000000-0000-0000-0000-000000000000")).status_code == 404

        answer = await asked.post(f"/api/alerts/{alert['id']}/ack", json={"by": "ann"})
        assert answer.json()["alert"]["acknowledged_by"] == "ann"
        for body in (b"{", b'{"buy": 1}', b"[]", b"\xff", b'{"by": 1}', b"x" * 20_000):
            refused = await asked.post(f"/api/alerts/{alert['id']}/ack", content=body)
            assert refused.status_code in {400, 413}, body
            assert refused.json()["error"]["message"]

        made = await asked.post("/api/silences", json={"rule": "latency", "for": "2h", "why": "load test"})
        assert made.status_code == 201
        assert [one["why"] for one in (await asked.get("/api/silences")).json()["silences"]] == ["load test"]
        for wrong in ({}, {"rule": "x", "for": "1y", "why": "x"}, {"rule": "x", "for": "2h", "why": ""}):
            assert (await asked.post("/api/silences", json=wrong)).status_code == 400
        assert (await asked.delete(f"/api/silences/{made.json()['id']}")).status_code == 204
        assert (await asked.delete(f"/api/silences/{made.json()['id']}")).status_code == 404
        assert (await asked.get("/api/silences")).json() == {"silences": []}


def test_alerts_are_listed_acknowledged_and_silenced_over_http(fault: AlertBench, tmp_path: Path) -> None:
    """What a page or a program needs, and 4xx with a message for what means nothing."""
    import asyncio

    asyncio.run(_conversation(fault, tmp_path))


def test_a_wrong_method_is_answered_with_all_that_the_path_takes(fault: AlertBench, tmp_path: Path) -> None:
    """Also where several routes share it."""

    async def ask() -> httpx.Response:
        async with client(fault, tmp_path) as asked:
            return await asked.put("/api/silences")

    answer = asyncio.run(ask())

    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, POST"
