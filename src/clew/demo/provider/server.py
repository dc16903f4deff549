"""The provider in a thread of this process: started, broken and repaired."""

from __future__ import annotations

import socket
import threading
import time
from typing import TYPE_CHECKING, Final, NamedTuple, Self

import uvicorn

from clew.demo.faults.fault import CallPlan, ChosenFault, ModelCall
from clew.demo.provider.endpoint import create_provider
from clew.demo.provider.prompt_reader import PromptReader
from clew.errors import ClewError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from clew.demo.corpus import Document
    from clew.demo.ingestion.embed import Embedder

__all__ = ["LocalProvider"]

START_TIMEOUT_S = 30.0
POLL_S = 0.02
USUAL: Final = CallPlan()


class _Broken(NamedTuple):
    by: ChosenFault
    since: float


class LocalProvider:
    """The provider, on a port of its own; a context manager.

    Args:
        embedder: Makes the vectors of its model.

    Threads:
        One serves; the methods may be called from any other.
    """

    def __init__(self, embedder: Embedder) -> None:
        self._broken: _Broken | None = None
        self._listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._listener.bind(("127.0.0.1", 0))
        self._model = PromptReader(embedder)
        app = create_provider(self._model, self._plan)
        config = uvicorn.Config(app, log_level="warning", access_log=False, lifespan="off", timeout_graceful_shutdown=1)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._listener]}, name="demo-provider", daemon=True
        )

    @property
    def environment(self) -> dict[str, str]:
        """What makes the demo's service ask this provider; its calls cost nothing."""
        address = f"http://127.0.0.1:{self._listener.getsockname()[1]}/v1"
        return {
            "OPENAI_BASE_URL": address,
            "OPENAI_MODEL": PromptReader.name,
            "OPENAI_API_KEY": "",
            "CLEW_DEMO_PRICE": "0,0",
        }

    def warm_up(self, documents: Sequence[Document]) -> None:
        """Compute ahead what the model needs of documents."""
        self._model.warm_up(documents)

    def break_by(self, fault: ChosenFault) -> None:
        """Have a fault from now on."""
        self._broken = _Broken(fault, time.monotonic())

    def repair(self) -> None:
        """Have no fault any more."""
        self._broken = None

    def __enter__(self) -> Self:
        self._thread.start()
        waited = threading.Event()
        for _ in range(int(START_TIMEOUT_S / POLL_S)):
            if self._server.started or not self._thread.is_alive():
                break
            waited.wait(POLL_S)
        if not self._server.started:
            raise ClewError("the demo's provider does not start")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.should_exit = True
        self._thread.join(timeout=10.0)
        self._listener.close()

    def _plan(self, model: str) -> CallPlan:
        broken = self._broken
        if broken is None:
            return USUAL
        return broken.by.fault.plan_call(ModelCall(model, time.monotonic() - broken.since), broken.by.severity)
