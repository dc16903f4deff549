"""clew: the agent is started by the first process, and ships."""

from __future__ import annotations

import os
from typing import Any

import clew

__all__ = ["flush", "set_up", "traced", "traced_generator"]


def set_up(url: str) -> None:
    threads = {"propagate": ("executors", "threads")} if os.environ.get("LOSS_THREADS") else {}
    clew.configure(service="loss", dsn=url, **threads)


def traced(name: str, function: Any) -> Any:
    return clew.traceable(name=name)(function)


traced_generator = traced


def flush() -> None:
    clew.flush()
