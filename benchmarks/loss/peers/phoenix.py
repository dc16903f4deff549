"""Phoenix's OpenTelemetry set-up; ``LOSS_BATCH`` chooses its batch processor."""

from __future__ import annotations

import functools
import os
from typing import Any

from phoenix.otel import register

__all__ = ["flush", "set_up", "traced", "traced_generator"]

_state: dict[str, Any] = {}


def set_up(url: str) -> None:
    _state["provider"] = register(
        endpoint=f"{url}/v1/traces",
        protocol="http/protobuf",
        project_name="loss",
        batch=bool(os.environ.get("LOSS_BATCH")),
        verbose=False,
    )
    _state["tracer"] = _state["provider"].get_tracer("loss")


def traced(name: str, function: Any) -> Any:
    return _state["tracer"].chain(name=name)(function)


def traced_generator(name: str, function: Any) -> Any:
    """Use the context manager: the decorator takes no generators."""

    @functools.wraps(function)
    def call(*args: Any) -> Any:
        with _state["tracer"].start_as_current_span(name, openinference_span_kind="chain"):
            yield from function(*args)

    return call


def flush() -> None:
    _state["provider"].force_flush()
