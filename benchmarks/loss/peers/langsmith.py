"""LangSmith; its endpoint and key come from the environment, which ``contestants`` sets."""

from __future__ import annotations

from typing import Any

from langsmith import traceable
from langsmith.run_trees import get_cached_client

__all__ = ["flush", "set_up", "traced", "traced_generator"]


def set_up(url: str) -> None:
    assert get_cached_client().api_url == url


def traced(name: str, function: Any) -> Any:
    return traceable(name=name)(function)


traced_generator = traced


def flush() -> None:
    get_cached_client().flush()
