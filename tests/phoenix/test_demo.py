"""A request of the demo: the same tree in PostgreSQL, in LangSmith's API and in a real Phoenix."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
from msgspec import json

from e2e.test_backends import demo, environment, get, tree, up, wait_for
from support.programs import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = ["up"]

PAGE = 1000


def test_a_request_of_the_demo_is_the_same_tree_in_all_three(
    tmp_path: Path, phoenix: str, up: Callable[..., dict[str, Any]]
) -> None:
    """Every span is there by name, id and parent, with its end; none is there that we have not."""
    smith = up("smith")
    told = environment(
        tmp_path / "home",
        CLEW_OTLP_ENDPOINT=phoenix,
        CLEW_LANGSMITH_ENDPOINT=f"{smith['url']}/langsmith",
        CLEW_LANGSMITH_API_KEY="test",
    )
    there: dict[str, str | None] = {}
    with demo(told) as home:
        trace = home["question_trace_id"]
        at_home = json.decode(get(f"{home['url']}/api/traces/{trace}"))
        wanted = tree(at_home["spans"])
        at_smith = wait_for(smith["url"], trace, lambda shown: tree(shown["spans"]) == wanted)
        ours = dict(_edges(at_home["spans"]))

        def is_there() -> bool:
            there.update(_asked(phoenix, at_home["summary"]["services"], trace))
            return len(there) >= len(ours)

        assert until(is_there, 60.0), (there, ours)

    assert len(ours) > 3
    assert there == ours
    assert tree(at_smith["spans"]) == wanted


def _edges(spans: list[dict[str, Any]], parent: str | None = None) -> Iterator[tuple[str, str | None]]:
    """List (span with its name and end, id of its parent) of a tree, ids as OpenTelemetry has them."""
    for span in spans:
        own = span["span_id"].replace("-", "")[16:]
        yield f"{own} {span['message']} {_code(span['status'])}", parent
        yield from _edges(span["children"], own)


def _asked(phoenix: str, services: list[str], trace: str) -> Iterator[tuple[str, str | None]]:
    """Ask Phoenix for the same."""
    for service in services:
        found = httpx.get(f"{phoenix}/v1/projects/{service}/spans", params={"limit": PAGE}, timeout=30, trust_env=False)
        for span in found.json()["data"] if found.is_success else []:
            if span["context"]["trace_id"] == trace.replace("-", ""):
                yield f"{span['context']['span_id']} {span['name']} {span['status_code']}", span["parent_id"]


def _code(status: str) -> str:
    return {"ok": "OK", "error": "ERROR", "aborted": "ERROR"}.get(status, "UNSET")
