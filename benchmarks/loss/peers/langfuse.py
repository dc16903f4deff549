"""Langfuse."""

from __future__ import annotations

from typing import Any

from langfuse import Langfuse, get_client, observe

__all__ = ["flush", "set_up", "traced", "traced_generator"]


def set_up(url: str) -> None:
    Langfuse(public_key="pk-lf-local", secret_key="sk-lf-local", base_url=url)


def traced(name: str, function: Any) -> Any:
    return observe(name=name)(function)


traced_generator = traced


def flush() -> None:
    get_client().flush()
