"""Runs of any shape become events that every store takes; nothing that a client tells is a fault of ours."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from clew import config
from clew.dialects.langsmith.requests import Operation
from clew.dialects.langsmith.values import read_error
from clew.receivers.intake import Intake
from clew.receivers.langsmith import LangSmithReceiver
from clew.store.postgres import rows

if TYPE_CHECKING:
    from collections.abc import Iterable

    from clew.dialects.draft_event import DraftEvent

SETTINGS = config.load(service="receiver", agent="external")
RUN = "019ab000-0000-7000-8000-000000000001"
ROOT = "019ab000-0000-7000-8000-000000000002"
RUN_KEYS = [
    "name",
    "run_type",
    "trace_id",
    "parent_run_id",
    "dotted_order",
    "start_time",
    "end_time",
    "inputs",
    "outputs",
    "error",
    "events",
    "extra",
    "tags",
    "session_name",
    "attachments",
    "run_id",
    "key",
    "value",
    "comment",
    "feedback_source",
    "created_at",
    "correction",
    "score",
]
INNER_KEYS = [
    "input_tokens",
    "output_tokens",
    "total_cost",
    "input_cost",
    "input_token_details",
    "prompt_tokens",
    "page_content",
    "metadata",
    "type",
    "kwargs",
    "score",
    "name",
    "time",
    "message",
    "usage_metadata",
    "generations",
    "documents",
    "choices",
    "llm_output",
    "user_id",
    "ls_model_name",
]
ODD_TEXTS = [RUN, ROOT, "", "nan", "2026-11-23T10:30:58", f"20261123T103058123456Z{RUN}", "0001-01-01T00:00+14:00"]

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(ODD_TEXTS)
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=8) | st.sampled_from(INNER_KEYS), inner, max_size=5)
    ),
    max_leaves=25,
)
bodies = st.dictionaries(st.sampled_from(RUN_KEYS), values, max_size=12)
shaped = st.fixed_dictionaries(
    {},
    optional={
        "run_type": st.sampled_from(["llm", "retriever", "embedding", "chain", "tool"]),
        "extra": st.fixed_dictionaries({}, optional={"metadata": values, "invocation_params": values}),
        "outputs": st.fixed_dictionaries({}, optional={"generations": st.lists(values), "documents": st.lists(values)}),
        "events": st.lists(st.fixed_dictionaries({}, optional={"name": scalars, "time": scalars, "kwargs": values})),
        "end_time": st.sampled_from(["2026-11-23T10:30:59+00:00", 1795000000000, "x"]),
        "error": st.text(max_size=60),
        "parent_run_id": st.sampled_from([ROOT, RUN, "x"]),
    },
)
ids = st.sampled_from([RUN, ROOT, "019ab000-0000-7000-8000-000000000003"])
operations = st.builds(
    lambda kind, run_id, body: Operation(kind, run_id, {**body, "id": run_id}, 100),
    st.sampled_from(["post", "patch", "feedback"]),
    ids,
    bodies | shaped,
)


class EncodingIntake(Intake):
    """Encode what is handed in, and keep it."""

    payloads: list[bytes]

    def accept(self, events: Iterable[DraftEvent]) -> int:
        """Keep the encoded events."""
        encoded = [self.encode(event) for event in events]
        self.payloads += encoded
        return len(encoded)


@given(st.lists(st.lists(operations, max_size=4), max_size=4))
def test_whatever_is_told_becomes_sound_events(requests: list[list[Operation]]) -> None:
    """The store can take every event, and each run ends at most once."""
    with TemporaryDirectory() as home:
        intake = EncodingIntake(replace(SETTINGS, data_dir=Path(home)))
        intake.payloads = []
        receiver = LangSmithReceiver(intake)

        for request in requests:
            receiver.unknown(request)
            receiver.receive(request)

    stored = [rows._decode_row(payload) for payload in intake.payloads]
    ended = [row.span_id for row in stored if row.kind == "span"]
    assert receiver.counts.runs == len(ended) == len(set(ended))
    assert {row.status for row in stored} <= {None, "running", "ended", "ok", "error", "cancelled"}


@given(
    st.text(max_size=200) | st.sampled_from(["A()", "A('", "A('\\x')", "Traceback (most recent call last)\nA", "A: "])
)
def test_any_error_text_is_read(told: str) -> None:
    """An error has a type, a message and a stack, whatever its text."""
    found = read_error(told)

    assert list(found) == ["type", "message", "stack"]
    assert found["type"]


@given(st.from_regex(r"[A-Z][A-Za-z]{1,10}Error", fullmatch=True), st.text(max_size=50))
def test_what_python_writes_of_an_exception_is_read(name: str, message: str) -> None:
    """The repr of an exception gives back its type and message."""
    error: Any = type(name, (Exception,), {})(message)

    assert read_error(repr(error)) == {"type": name, "message": message, "stack": ""}
