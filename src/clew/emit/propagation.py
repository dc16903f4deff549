"""Carry the context into threads, where Python itself does not.

asyncio tasks and ``asyncio.to_thread`` copy the context; ``ThreadPoolExecutor`` (and with it
``map`` and ``loop.run_in_executor``) and bare threads do not, so that work handed to them
falls out of its trace. Patching ``submit`` and ``Thread.start`` mends that for every library
in the process. Both patches can be undone.

The whole ``contextvars`` context is carried, as ``asyncio.to_thread`` does it.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import wraps
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["TARGETS", "install", "uninstall"]

TARGETS: Final = ("executors", "threads")
"""What can be patched: ``ThreadPoolExecutor.submit`` and ``threading.Thread``."""

_originals: dict[str, Callable[..., Any]] = {}


def install(targets: Iterable[str]) -> None:
    """Have exactly the *targets* patched; ``"threads"`` brings ``"executors"`` along.

    Names outside ``TARGETS`` are ignored.
    """
    wanted = set(targets)
    if "threads" in wanted:
        # A pool's threads outlive the work that started them; without this they would keep its trace.
        wanted.add("executors")
    if "executors" in wanted and "executors" not in _originals:
        _originals["executors"] = ThreadPoolExecutor.submit
        ThreadPoolExecutor.submit = _submit_in_context(ThreadPoolExecutor.submit)
    if "threads" in wanted and "threads" not in _originals:
        _originals["threads"] = threading.Thread.start
        threading.Thread.start = _start_in_context(threading.Thread.start)  # pyright: ignore[reportAttributeAccessIssue]
    if "executors" in _originals.keys() - wanted:
        ThreadPoolExecutor.submit = _originals.pop("executors")
    if "threads" in _originals.keys() - wanted:
        threading.Thread.start = _originals.pop("threads")


def uninstall() -> None:
    """Undo every patch."""
    install(())


def _submit_in_context(submit: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(submit)
    def submit_in_context(self: ThreadPoolExecutor, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        return submit(self, copy_context().run, fn, *args, **kwargs)

    return submit_in_context


def _start_in_context(start: Callable[[threading.Thread], None]) -> Callable[[threading.Thread], None]:
    @wraps(start)
    def start_in_context(self: threading.Thread) -> None:
        context = copy_context()

        def run_in_context() -> None:
            del self.run  # else the thread would hold itself, and what it was given, until the next collection
            context.run(self.run)

        self.run = run_in_context
        start(self)

    return start_in_context
