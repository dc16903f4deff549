"""/api/costs: what it answers from a real store, and how it says no."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

from support.stored import make_event, store_events

if TYPE_CHECKING:
    from support.fix_server import AskServer


def test_costs_of_the_last_day_by_line(ask_server: AskServer, postgres: str) -> None:
    """Without parameters: by line, the last 24 hours."""
    now = datetime.now(UTC)
    for hours, user in ((1, "ann"), (2, "bob"), (30, "ann")):
        spent = {"message": "reranking_complete", "stage": "retrieval", "metrics": {"cost_usd": 0.25}, "user_id": user}
        store_events(postgres, make_event(now - timedelta(hours=hours), trace_id=uuid4(), **spent))

    told = ask_server(postgres, "/api/costs").json()
    of_ann = ask_server(postgres, "/api/costs?by=user&since=48h&user_id=ann").json()

    assert [(part["key"], part["cost_usd"], part["requests"]) for part in told["costs"]] == [("reranking", 0.5, 2)]
    assert told["total"]["cost_usd"] == 0.5
    assert [(part["key"], part["cost_usd"]) for part in of_ann["costs"]] == [("ann", 0.5)]


def test_what_cannot_be_meant_is_refused(ask_server: AskServer, postgres: str) -> None:
    """A wrong key says which there are; a limit out of bounds is refused."""
    wrong_key = ask_server(postgres, "/api/costs?by=colour")
    backwards = ask_server(postgres, "/api/costs?since=1h&until=2h")

    assert wrong_key.status_code == 400
    assert "line, stage, model" in wrong_key.json()["error"]["hint"]
    assert backwards.status_code == 400
    assert ask_server(postgres, "/api/costs?limit=0").status_code == 400
