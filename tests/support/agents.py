"""Agents and applications as processes of their own, which end with their test."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import json

from support import filler, steady

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Filler", "agent_process", "drain_with_agent", "filling_producer", "steady_producer"]


@contextmanager
def agent_process(environment: dict[str, str], dsn: str | None, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run an agent for the length of a block; killed at its end if it still lives."""
    command = [sys.executable, "-m", "clew.agent", *options]
    told = environment if dsn is None else {**environment, "CLEW_DSN": dsn}
    agent = subprocess.Popen(command, env=told, stderr=subprocess.DEVNULL)
    try:
        yield agent
    finally:
        agent.kill()
        agent.wait()


def drain_with_agent(environment: dict[str, str], dsn: str | None, timeout_s: float = 120.0) -> None:
    """Run an agent until everything is shipped."""
    with agent_process(environment, dsn, "--until-idle") as agent:
        assert agent.wait(timeout_s) == 0


@contextmanager
def steady_producer(environment: dict[str, str], counters: Path, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run an application that emits at a steady pace for the length of a block, and ends in good order."""
    command = [sys.executable, str(Path(steady.__file__)), str(counters), *options]
    producer = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE)
    try:
        yield producer
        assert producer.stdin is not None
        producer.stdin.close()
        assert producer.wait(60) == 0
    finally:
        producer.kill()
        producer.wait()


class Filler:
    """An application that does one step after the other (see ``filler``)."""

    def __init__(self, process: subprocess.Popen[str], stderr: Path) -> None:
        self.process = process
        self._stderr = stderr

    @property
    def said(self) -> str:
        """What it has written on stderr."""
        return self._stderr.read_text()

    def ask(self, step: str) -> Any:
        """Have it do a step; return its answer."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(step, file=self.process.stdin, flush=True)
        return json.decode(self.process.stdout.readline())

    def vanish(self) -> None:
        """Have it end at once, its spans open and its log as it is."""
        assert self.process.stdin is not None
        print("vanish", file=self.process.stdin, flush=True)
        self.process.wait(60)


@contextmanager
def filling_producer(environment: dict[str, str], counters: Path, *prefix: str) -> Iterator[Filler]:
    """Run an application that does as it is asked for the length of a block, and ends in good order.

    Args:
        environment: Its environment.
        counters: The directory of its counters.
        prefix: A command that runs it, with its options.
    """
    command = [*prefix, sys.executable, str(Path(filler.__file__)), str(counters)]
    stderr = counters.with_name("stderr")
    with stderr.open("a") as errors:
        producer = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
        )
    try:
        yield Filler(producer, stderr)
        producer.communicate(timeout=60)
        assert producer.returncode == 0
    finally:
        producer.kill()
        producer.communicate()
