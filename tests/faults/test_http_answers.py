"""A sink over HTTP gets every answer there is, and the worker does with each what the contract says."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from msgspec import json

from clew import config
from clew.agent.supervisor import Supervisor
from clew.delivery.accounts import read_account
from clew.delivery.dead_letters import DeadLetters
from clew.spool.writer import Writer
from support.accounting import wait_for
from support.http_sink import Answer, HttpSink, ScriptedServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from clew.config import Settings

EVENTS = 300
TRANSIENT = {
    "429 without Retry-After": [Answer(429)],
    "429 with Retry-After": [Answer(429, (("Retry-After", "0.4"),))],
    "500": [Answer(500)],
    "503": [Answer(503)],
    "401": [Answer(401)],
    "hang-up": [Answer(0, is_cut=True)],
    "answer lost after it was taken": [Answer(0, is_cut=True, has_taken=True)],
    "error after it was taken": [Answer(500, has_taken=True)],
    "one after the other": [Answer(429), Answer(503), Answer(0, is_cut=True), Answer(401)],
}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Give settings whose data directory is temporary, with a log of three hundred events on the spool."""
    settings = config.load(data_dir=tmp_path)
    writer = Writer(settings.spool_dir, service="http", segment_bytes=64 * 1024)
    for n in range(EVENTS):
        writer.append(json.encode({"kind": "log", "context": {"n": n} | ({"poison": 1} if n in {7, 151} else {})}))
    writer.close()
    return settings


@pytest.fixture
def reports() -> list[str]:
    """Give a list for what the agent says to people."""
    return []


def agent_to(server: ScriptedServer, settings: Settings, reports: list[str]) -> Supervisor:
    """Start an agent that ships to the server."""
    supervisor = Supervisor(settings, sinks=[HttpSink(server.url)], report=reports.append)
    supervisor.start()
    return supervisor


@pytest.fixture(params=TRANSIENT)
def troubled(request: pytest.FixtureRequest) -> Iterator[ScriptedServer]:
    """Give a server that is in trouble at first."""
    server = ScriptedServer(*TRANSIENT[request.param])
    yield server
    server.close()


def test_what_a_server_refuses_for_now_is_tried_until_it_is_taken(
    troubled: ScriptedServer, settings: Settings, reports: list[str]
) -> None:
    """Every good event arrives in the end, every bad one is a dead letter, and the accounts agree."""
    supervisor = agent_to(troubled, settings, reports)
    try:
        assert supervisor.drain(30.0)
    finally:
        supervisor.stop()

    totals = read_account(settings.spool_dir).sinks["http"]
    letters = DeadLetters(settings.spool_dir, "http").read()
    assert sorted(event["context"]["n"] for event in troubled.taken.values()) == [
        n for n in range(EVENTS) if n not in {7, 151}
    ]
    assert [json.decode(letter.event)["context"]["n"] for letter in letters] == [7, 151]
    assert (totals.emitted, totals.delivered, totals.quarantined, totals.pending) == (EVENTS, EVENTS - 2, 2, 0)
    assert troubled.repeats in {0, EVENTS - 2}  # whole batches, and only when an answer was lost


def test_retry_after_is_waited_for(settings: Settings, reports: list[str]) -> None:
    """A server that asks for a pause is left alone for at least as long."""
    server, began = ScriptedServer(Answer(429, (("Retry-After", "0.7"),))), time.monotonic()
    supervisor = agent_to(server, settings, reports)
    try:
        assert supervisor.drain(30.0)
        assert time.monotonic() - began >= 0.7
    finally:
        supervisor.stop()
        server.close()


def test_a_wrong_key_holds_the_data_and_says_so_once(settings: Settings, reports: list[str]) -> None:
    """Nothing is given up while only a person can help; the health state and one line say what is wrong."""
    server = ScriptedServer(*[Answer(401)] * 4)
    supervisor = agent_to(server, settings, reports)
    try:
        wait_for(lambda: len(server.statuses) >= 2, "a second attempt")
        (health,) = supervisor.healths()
        was_misconfigured, was_taken = health.is_misconfigured, len(server.taken)
        assert supervisor.drain(30.0)
    finally:
        supervisor.stop()
        server.close()

    assert (was_misconfigured, was_taken) == (True, 0)
    assert not health.is_misconfigured
    assert sum("HTTP 401" in line for line in reports) == 1
    assert sum("delivers again" in line for line in reports) == 1


def test_a_batch_too_large_is_split_until_it_fits(settings: Settings, reports: list[str]) -> None:
    """A server with a limit gets everything in smaller batches; what is refused for its size alone is not lost."""
    server = ScriptedServer(limit=20)
    supervisor = agent_to(server, settings, reports)
    try:
        assert supervisor.drain(30.0)
    finally:
        supervisor.stop()
        server.close()

    assert len(server.taken) == EVENTS - 2
    assert server.repeats == 0
    assert [letter.reason for letter in DeadLetters(settings.spool_dir, "http").read()] == ["unprocessable"] * 2


@pytest.mark.faults
def test_a_server_that_stays_down_is_left_alone_by_the_breaker(settings: Settings, reports: list[str]) -> None:
    """After five failures in a row the sink rests, then a small batch finds out that all is well again."""
    server = ScriptedServer(*[Answer(503)] * 6)
    supervisor = agent_to(server, settings, reports)
    try:
        wait_for(lambda: supervisor.healths()[0].breaker != "closed", "the breaker")
        attempts = len(server.statuses)
        assert supervisor.drain(60.0)
    finally:
        supervisor.stop()
        server.close()

    assert attempts == 5
    assert len(server.taken) == EVENTS - 2
