"""The sinks that pass through the conformance suite, each with the system behind it: ``SINKS`` is the list.

A *rig* is a system of its own for one test. It makes sinks that ship to it, tells what it holds, and can be brought into
the troubles that a system has. Events are finished spans, each with a message and a service of its own, by which the system
is asked what it holds.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlsplit, urlunsplit

import psycopg
from msgspec import json

from clew import config
from clew.ids import uuid7
from clew.sinks.base import Batch, Producer
from clew.sinks.console import ConsoleSink
from clew.sinks.langsmith.sink import make as make_langsmith
from clew.sinks.otlp.sink import make as make_otlp
from clew.sinks.prometheus.sink import PrometheusSink
from clew.sinks.prometheus.sink import make as make_prometheus
from clew.spool.directory import create_producer_directory, new_producer_id
from clew.spool.format import position_of
from clew.store.postgres.sink import PostgresSink
from support import langsmith_server, otlp_server
from support.fix_proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import pytest

    from clew.config import Settings
    from clew.sinks.base import Sink

__all__ = ["CLAUSES", "SINKS", "Rig", "batch_of", "named"]

CLAUSES = {
    "once": "a batch that comes again, whole or in part, by the same sink or by the next one, is there once",
    "lost answer": "a batch that was taken and whose answer was lost is there once",
    "poison": "what is no event is named by its place, and the rest is taken",
    "refusal": "what the system refuses becomes a dead letter, and nothing else does",
    "away": "a system that is away is waited for, and gets everything once it is back",
    "interrupt": "an attempt that hangs ends when another thread interrupts it, and may be made again",
    "retry-after": "the time that a system asks for is handed on",
    "misconfigured": "what only a person can put right is said to be that",
}
"""What a sink promises. A rig says in ``without`` which of them mean nothing for it, and why."""

NO_EVENTS = (b"no json", b"[]", b'{"kind":"log"}')


def named(name: str, **values: Any) -> bytes:
    """Encode a span that has just ended, known by *name*."""
    id_ = uuid7(1_700_000_000_000_000_000)
    event: dict[str, Any] = {
        "timestamp": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
        "kind": "span",
        "level": "INFO",
        "message": name,
        "trace_id": id_,
        "span_id": id_,
        "user_id": None,
        "service": name,
        "stage": "other",
        "run_type": "chain",
        "status": "ok",
        "context": {},
        "metrics": {"duration_ms": 1.0},
    }
    return json.encode({**event, **values})


def batch_of(producer: Producer, *payloads: bytes, first: int = 0) -> Batch:
    """Make a batch of events that stand a hundred bytes apart, the first in a place of its own."""
    places = [position_of(1, 64 + 100 * (first + index)) for index in range(len(payloads) + 1)]
    return Batch(producer, list(zip(places, payloads, strict=False)), places[0], places[-1])


class Rig(ABC):
    """A system, and sinks to it.

    Attributes:
        without: Clauses that mean nothing for this sink, each with the reason.
        poisons: Payloads that its sinks refuse by themselves.
        wrong: In which ways it can be misconfigured.
        settings: Where the spool is.
        producer: Whose log the events are from; its directory is there.
    """

    without: ClassVar[Mapping[str, str]] = {}
    poisons: ClassVar[tuple[bytes, ...]] = NO_EVENTS
    wrong: ClassVar[tuple[str, ...]] = ()

    def __init__(self, directory: Path, request: pytest.FixtureRequest) -> None:
        self.settings: Settings = config.load(data_dir=directory)
        self.producer = Producer(new_producer_id(1_700_000_000_000_000_000), "rag-api")
        create_producer_directory(self.settings.spool_dir, self.producer.service, self.producer.id)
        self._made: list[Sink] = []
        self.start(request)

    @abstractmethod
    def start(self, request: pytest.FixtureRequest) -> None:
        """Start the system; *request* gives the fixtures of the suite."""

    def sink(self) -> Sink:
        """Make a sink, as an agent does that has just started; the one before is closed, as by an agent that ended."""
        for before in self._made:
            before.close()
        self._made.append(self.make())
        return self._made[-1]

    @abstractmethod
    def make(self) -> Sink:
        """Make a sink that ships to the system."""

    @abstractmethod
    def taken(self) -> Counter[str]:
        """Tell how often the system holds each event, by name."""

    def close(self) -> None:
        """End the system and the sinks."""
        for sink in self._made:
            sink.close()

    def go_away(self) -> None:
        """Take nothing any more."""
        raise NotImplementedError

    def come_back(self) -> None:
        """Be as before."""
        raise NotImplementedError

    def hang(self) -> None:
        """Take connections, and say nothing."""
        raise NotImplementedError

    def is_hanging(self) -> bool:
        """Whether somebody waits for an answer by now."""
        raise NotImplementedError

    def lose_the_next_answer(self) -> None:
        """Take the next batch, and do not say so."""
        raise NotImplementedError

    def ask_to_wait(self, seconds: int) -> None:
        """Have the next attempt come back after some seconds."""
        raise NotImplementedError

    def refusing(self, name: str) -> bytes:
        """Return an event of this name that the sink sends and the system never takes."""
        raise NotImplementedError

    def misconfigured(self, how: str) -> Sink:
        """Make a sink that is misconfigured in one of the ways of ``wrong``."""
        raise NotImplementedError


class BehindProxy(Rig):
    """A system that is reached over the network, through a proxy that misbehaves as it is told."""

    proxy: Proxy

    def close(self) -> None:
        super().close()
        self.proxy.close()

    def go_away(self) -> None:
        self.proxy.set("refuse")

    def come_back(self) -> None:
        self.proxy.set("none")

    def hang(self) -> None:
        self.proxy.hits = 0
        self.proxy.set("hang")

    def is_hanging(self) -> bool:
        return self.proxy.hits > 0


class Postgres(BehindProxy):
    """A real PostgreSQL."""

    without: ClassVar[Mapping[str, str]] = {"retry-after": "PostgreSQL names no time"}
    poisons: ClassVar[tuple[bytes, ...]] = (
        *NO_EVENTS,
        named("x", trace_id="abc"),
        named("x", level="LOUD"),
        named("x", context=[1]),
        named("no UTF-8: ?").replace(b"?", b"\xff"),
    )
    wrong: ClassVar[tuple[str, ...]] = ("no tables", "no such database", "no such user")

    def start(self, request: pytest.FixtureRequest) -> None:
        self._dsn: str = request.getfixturevalue("postgres")
        self._server: str = request.getfixturevalue("postgres_server")
        self.proxy = Proxy(self._dsn)

    def make(self) -> Sink:
        return PostgresSink(self.proxy.dsn)

    def taken(self) -> Counter[str]:
        with psycopg.connect(self._dsn) as connection:
            return Counter(message for (message,) in connection.execute("SELECT message FROM events").fetchall())

    def lose_the_next_answer(self) -> None:
        self.proxy.set("lost-answer")

    def refusing(self, name: str) -> bytes:
        return named(name, user_id=os.urandom(15_000).hex())  # no index takes it

    def misconfigured(self, how: str) -> Sink:
        told = urlsplit(self._dsn)
        wrong = {
            "no tables": self._server,  # its maintenance database, which nobody migrates
            "no such database": urlunsplit(told._replace(path="/minotaur")),
            "no such user": urlunsplit(told._replace(netloc=f"minotaur@{told.netloc.rpartition('@')[2]}")),
        }
        return PostgresSink(wrong[how])


class Langsmith(BehindProxy):
    """The stand-in for LangSmith."""

    poisons: ClassVar[tuple[bytes, ...]] = (*NO_EVENTS, b'{"kind":"span"}', named("x", timestamp="some day"))
    wrong: ClassVar[tuple[str, ...]] = ("401", "402", "403", "404", "415")

    def start(self, request: pytest.FixtureRequest) -> None:
        self.server = langsmith_server.LangsmithServer(poison="refused")
        self.proxy = Proxy(self.server.url)

    def close(self) -> None:
        super().close()
        self.server.close()

    def make(self) -> Sink:
        return make_langsmith(
            config.load(
                data_dir=self.settings.data_dir,
                langsmith_endpoint=f"http://127.0.0.1:{self.proxy.port}",
                langsmith_api_key="key-1",
            ),
            {},
        )

    def taken(self) -> Counter[str]:
        return Counter(run["name"] for run in self.server.runs.values())

    def lose_the_next_answer(self) -> None:
        self.server.answer_next(langsmith_server.Answer(500, has_taken=True))

    def ask_to_wait(self, seconds: int) -> None:
        self.server.answer_next(langsmith_server.Answer(429, (("Retry-After", str(seconds)),)))

    def refusing(self, name: str) -> bytes:
        self.server.refuse(name)
        return named(name)

    def misconfigured(self, how: str) -> Sink:
        self.server.answer_next(*[langsmith_server.Answer(int(how))] * 3)
        return self.make()


class Otlp(BehindProxy):
    """The stand-in for a backend of OpenTelemetry."""

    poisons: ClassVar[tuple[bytes, ...]] = (*NO_EVENTS, named("x", trace_id="0"), named("x", timestamp="noon"))
    wrong: ClassVar[tuple[str, ...]] = ("401", "403", "404")

    def start(self, request: pytest.FixtureRequest) -> None:
        self.server = otlp_server.OtlpServer()
        self.proxy = Proxy(self.server.url)

    def close(self) -> None:
        super().close()
        self.server.close()

    def make(self) -> Sink:
        endpoint = f"http://127.0.0.1:{self.proxy.port}"
        return make_otlp(config.load(data_dir=self.settings.data_dir, otlp_endpoint=endpoint))

    def taken(self) -> Counter[str]:
        return Counter(span["name"] for span in self.server.spans.values())

    def lose_the_next_answer(self) -> None:
        self.server.answer_next(otlp_server.Answer(0, is_cut=True, has_taken=True))

    def ask_to_wait(self, seconds: int) -> None:
        self.server.answer_next(otlp_server.Answer(429, (("Retry-After", str(seconds)),)))

    def refusing(self, name: str) -> bytes:
        self.server.refuse(name)
        return named(name)

    def misconfigured(self, how: str) -> Sink:
        self.server.answer_next(*[otlp_server.Answer(int(how))] * 3)
        return self.make()


class Prometheus(Rig):
    """The counters that a Prometheus scrapes."""

    without: ClassVar[Mapping[str, str]] = {
        "lost answer": "its system is a file: what was not saved is told",
        "refusal": "it counts whatever is an event",
        "interrupt": "it waits for nobody",
        "retry-after": "it asks nobody",
        "misconfigured": "there is nothing to configure",
    }
    poisons: ClassVar[tuple[bytes, ...]] = (*NO_EVENTS, named("x", context=[{}]))

    def start(self, request: pytest.FixtureRequest) -> None:
        self._good = -1

    def make(self) -> Sink:
        return make_prometheus(self.settings)

    def taken(self) -> Counter[str]:
        samples = [sample for family in self._sink.families() for sample in family.samples]
        return Counter(
            {
                sample.labels["service"]: int(sample.value)
                for sample in samples
                if sample.name == "clew_requests_total" and sample.value
            }
        )

    def go_away(self) -> None:
        slot = self._sink._slot
        self._good, slot._fd = slot._fd, os.open(slot._path, os.O_RDONLY)  # a disk that takes nothing

    def come_back(self) -> None:
        slot = self._sink._slot
        os.close(slot._fd)
        slot._fd = self._good

    @property
    def _sink(self) -> PrometheusSink:
        sink = self._made[-1]
        assert isinstance(sink, PrometheusSink)
        return sink


class Console(Rig):
    """Lines in a file."""

    without: ClassVar[Mapping[str, str]] = {
        "once": "a line that was written cannot be asked for",
        "lost answer": "a file does not answer",
        "poison": "it writes down whatever it is given",
        "refusal": "a file takes everything or nothing",
        "away": "a file that cannot be written to is not a system that comes back",
        "interrupt": "it waits for nobody",
        "retry-after": "it asks nobody",
        "misconfigured": "a file that cannot be opened is said at the start",
    }

    def start(self, request: pytest.FixtureRequest) -> None:
        self._path = self.settings.data_dir / "events.jsonl"

    def make(self) -> Sink:
        return ConsoleSink(self._path.open("ab"))

    def taken(self) -> Counter[str]:
        return Counter(json.decode(line)["message"] for line in self._path.read_bytes().splitlines())


SINKS: dict[str, type[Rig]] = {
    "postgres": Postgres,
    "langsmith": Langsmith,
    "otlp": Otlp,
    "prometheus": Prometheus,
    "console": Console,
}
"""Every sink there is. A new one begins with its line here."""
