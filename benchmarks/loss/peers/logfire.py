"""Logfire, with a backend of one's own."""

from __future__ import annotations

from typing import Any

import logfire

__all__ = ["flush", "set_up", "traced", "traced_generator"]


def set_up(url: str) -> None:
    logfire.configure(
        token="pylf_v1_local_0123456789",
        send_to_logfire=True,
        service_name="loss",
        console=False,
        advanced=logfire.AdvancedOptions(base_url=url),
    )


def traced(name: str, function: Any) -> Any:
    return logfire.instrument(name, record_return=True)(function)


def traced_generator(name: str, function: Any) -> Any:
    return logfire.instrument(name, allow_generator=True)(function)


def flush() -> None:
    logfire.force_flush()
