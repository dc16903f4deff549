"""Chaos for as long as you like, with real processes and a real PostgreSQL, and flat resources at the end.

    make soak ARGS="--minutes 30"

Applications emit at a steady pace, two of them beside poison. Agents and applications are killed, PostgreSQL
crashes, and the way to it is cut, hung, slowed and reset, at random. One agent and one application are spared, and
watched: memory, file descriptors and threads. In the end every event is accounted for and stored once.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from random import Random
from typing import NamedTuple

import psutil

from clew.delivery.accounts import read_account
from clew.delivery.dead_letters import DeadLetters
from clew.store.postgres.server import embedded
from clew.store.postgres.server.binaries import account_for, find_binaries, run
from clew.store.postgres.upkeep.migrate import migrate
from support.accounting import assert_accounted, returned_emits, wait_for
from support.agents import agent_process, drain_with_agent, steady_producer
from support.fix_proxy import FAULTS, Proxy

WARM_UP = 0.25  # share of the run before resources are compared
RSS_GROWTH_BYTES = 24 * 1024 * 1024
THREAD_GROWTH = 4
DESCRIPTOR_GROWTH = 48  # as many logs as may be at rest take; a leak of one a log would be thousands
LONGEST_TROUBLE_S = 2.0
ACTS_BETWEEN_LOOKS = 3
LOGS_AT_REST = 8
SETTLE_TIMEOUT_S = 180.0


class Sample(NamedTuple):
    """One look at a process."""

    rss: int
    fds: int
    threads: int


class Chaos:
    """Everything that runs, and what has been done to it."""

    def __init__(self, home: Path, seed: int) -> None:
        self.data, self.counters = home / "data", home / "counters"
        self.counters.mkdir()
        self.rng = Random(seed)
        self.clock = threading.Event()
        self.server = embedded.start(home / "postgres")
        migrate(self.server.dsn)
        self.proxy = Proxy(self.server.dsn)
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("CLEW_")} | {
            "CLEW_DATA_DIR": str(self.data),
            "CLEW_AGENT": "external",
            "CLEW_SERVICE": "soak",
            "CLEW_SEGMENT_BYTES": str(256 * 1024),
            "PYTHONPATH": str(Path(__file__).parent.parent / "tests"),
        }
        self.done: dict[str, int] = {}

    def pause(self, longest_s: float) -> None:
        """Let a random time pass."""
        self.clock.wait(self.rng.uniform(0, longest_s))

    def kill_an_agent(self) -> None:
        """Run a second agent for a moment."""
        with agent_process(self.environment, self.proxy.dsn):
            self.pause(2.0)

    def kill_an_application(self) -> None:
        """Run another application for a moment."""
        command = [sys.executable, "-m", "support.steady", str(self.counters)]
        victim = subprocess.Popen(command, env=self.environment, stdin=subprocess.PIPE)
        self.pause(2.0)
        victim.kill()
        victim.communicate()

    def crash_postgres(self) -> None:
        """Stop PostgreSQL without a shutdown, and start it again."""
        directory = self.server.directory
        command = ["pg_ctl", "stop", "-D", str(directory), "-m", "immediate", "-w", "-s"]
        run(find_binaries(None), account_for(directory), directory, command)
        self.pause(LONGEST_TROUBLE_S)
        users = self.server._users
        self.server = embedded.start(directory)
        os.close(users)

    def trouble_the_way(self) -> None:
        """Let the way to PostgreSQL misbehave."""
        fault = self.rng.choice(FAULTS)
        self.proxy.set(fault)
        self.pause(LONGEST_TROUBLE_S)
        self.proxy.set("none")
        self.done[fault] = self.done.get(fault, 0) + 1

    def settle(self) -> None:
        """Wait until what waits is shipped: a backlog is no leak."""
        wait_for(lambda: len(list(self.data.glob("spool/*/*/lock"))) <= LOGS_AT_REST, "the backlog", SETTLE_TIMEOUT_S)

    def act(self) -> None:
        """Do one bad thing, and let a moment pass."""
        action = self.rng.choice(
            [self.kill_an_agent, self.kill_an_application, self.crash_postgres, self.trouble_the_way]
        )
        action()
        self.done[action.__name__] = self.done.get(action.__name__, 0) + 1
        self.pause(1.0)


def look(pid: int) -> Sample:
    """Look at a process."""
    process = psutil.Process(pid)
    return Sample(process.memory_info().rss, process.num_fds(), process.num_threads())


def grown(samples: list[Sample]) -> tuple[Sample, Sample]:
    """Compare the first quarter after the warm-up with the last quarter, by medians."""
    rest = samples[int(len(samples) * WARM_UP) :]
    quarter = max(1, len(rest) // 4)

    def median(part: list[Sample]) -> Sample:
        return Sample(*(int(statistics.median(column)) for column in zip(*part, strict=True)))

    return median(rest[:quarter]), median(rest[-quarter:])


def soak(seconds: float, seed: int) -> int:
    """Run; return the exit code."""
    with tempfile.TemporaryDirectory(prefix="clew-soak-") as home:
        chaos = Chaos(Path(home), seed)
        watched: dict[str, list[Sample]] = {"agent": [], "application": []}
        with ExitStack() as running:
            agent = running.enter_context(agent_process(chaos.environment, chaos.proxy.dsn))
            producers = [
                running.enter_context(steady_producer(chaos.environment, chaos.counters, "--poison")) for _ in range(2)
            ]
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                for _ in range(ACTS_BETWEEN_LOOKS):
                    chaos.act()
                chaos.settle()
                assert agent.poll() is None, "the agent has ended"
                watched["agent"].append(look(agent.pid))
                watched["application"].append(look(producers[0].pid))
        drain_with_agent(chaos.environment, chaos.proxy.dsn, timeout_s=300)

        stored = assert_accounted(chaos.data, chaos.server.dsn, chaos.counters)
        totals = read_account(chaos.data / "spool").sinks["postgres"]
        poisoned = sum(int(path.read_text()) for path in chaos.counters.parent.glob("*.poison"))
        letters = len(DeadLetters(chaos.data / "spool", "postgres").read())
        assert poisoned == letters == totals.quarantined, (poisoned, letters, totals)
        print(f"seed {seed}, {seconds:.0f} s, done: {chaos.done}")
        print(f"emits returned {sum(returned_emits(chaos.counters).values())}, stored once {stored}, {totals}")
        chaos.proxy.close()
        chaos.server.stop()
        return report(watched)


def report(watched: dict[str, list[Sample]]) -> int:
    """Print how resources went; 1 if they grew."""
    failed = 0
    for name, samples in watched.items():
        before, after = grown(samples)
        is_flat = (
            after.rss - before.rss < RSS_GROWTH_BYTES
            and after.fds - before.fds <= DESCRIPTOR_GROWTH
            and after.threads - before.threads <= THREAD_GROWTH
        )
        failed |= not is_flat
        print(
            f"{name:12} rss {before.rss >> 20} → {after.rss >> 20} MiB, descriptors {before.fds} → {after.fds}, "
            f"threads {before.threads} → {after.threads}: {'flat' if is_flat else 'GROWN'}"
        )
    return failed


def main() -> int:
    """Read the arguments, and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    arguments = parser.parse_args()
    return soak(arguments.minutes * 60, arguments.seed)


if __name__ == "__main__":
    sys.exit(main())
