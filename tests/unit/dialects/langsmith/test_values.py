"""What clients of many kinds tell in a run, read."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from clew.dialects.langsmith.values import (
    documents_of,
    dotted_moment,
    hits_of,
    is_cancellation,
    moment_of,
    number,
    read_error,
    text,
    usage_of,
)

MOMENT = datetime(2026, 11, 23, 10, 30, 58, 500000, UTC)
TRACEBACK = "Traceback (most recent call last):\n"
FRAME = '  File "app.py", line 3, in answer\n    raise ValueError\n'
RUN = "019ab000-0000-7000-8000-000000000001"


@pytest.mark.parametrize(
    "told",
    [
        "2026-11-23T10:30:58.5",
        "2026-11-23T10:30:58.500000Z",
        "2026-11-23T11:30:58.500+01:00",
        1795429858500,
        1795429858500.0,
    ],
)
def test_moments_are_read_in_every_form(told: Any) -> None:
    """With a zone, without one, and as milliseconds, as JavaScript has them."""
    assert moment_of(told) == MOMENT


@pytest.mark.parametrize("told", [None, True, "", "yesterday", 1e300, -1e300, float("nan"), [], {}, "2026-13-01"])
def test_what_is_no_moment_is_none(told: Any) -> None:
    """Anything else is not guessed at."""
    assert moment_of(told) is None


def test_the_dotted_order_tells_when_a_run_began() -> None:
    """Its last segment is the run's own."""
    assert dotted_moment(f"20261123T103057000000Z{RUN}.20261123T103058500000Z{RUN}") == MOMENT
    for told in (None, "", RUN, f"20261399T103058500000Z{RUN}", "x.y"):
        assert dotted_moment(told) is None


@pytest.mark.parametrize(
    ("told", "kind", "message"),
    [
        ("ValueError('bad')", "ValueError", "bad"),
        ('ValueError("it\'s bad")', "ValueError", "it's bad"),
        ("ValueError('two\\nlines')", "ValueError", "two\nlines"),
        ("ValueError('\\x41\\u00e4\\U0001f600')", "ValueError", "Aä😀"),
        ("ValueError()", "ValueError", ""),
        ("OSError(2, 'No such file')", "OSError", "2, 'No such file'"),
        (f"ValueError('bad')\n\n{TRACEBACK}{FRAME}ValueError: bad\n", "ValueError", "bad"),
        (f"ValueError('bad'){TRACEBACK}\n\n{FRAME}\n\nValueError: bad", "ValueError", "bad"),
        (f"{TRACEBACK}{FRAME}app.errors.Refused: two\nlines\n", "Refused", "two\nlines"),
        (f"1 validation error\n\n{TRACEBACK}{FRAME}pydantic.ValidationError: 1 error", "ValidationError", "1 error"),
        ("CancelledError()\n\nNoneType: None\n", "CancelledError", ""),
        ("RateLimitError: try again", "RateLimitError", "try again"),
        ("the model said no", "Error", "the model said no"),
        ("", "Error", ""),
    ],
)
def test_errors_are_read_from_what_python_writes(told: str, kind: str, message: str) -> None:
    """By repr, by traceback, by both as the SDK and LangChain join them, or as free text."""
    found = read_error(told)

    assert (found["type"], found["message"]) == (kind, message)
    assert (TRACEBACK.strip() in found["stack"]) == ("Traceback" in told)


def test_who_asks_for_a_stop_did_not_fail() -> None:
    """Cancellations are told from failures by their types."""
    told = ["CancelledError()", "GeneratorExit()", "KeyboardInterrupt()", "GraphInterrupt(())", "ValueError()"]

    assert [is_cancellation(read_error(text)) for text in told] == [True, True, True, True, False]


@pytest.mark.parametrize(
    ("metadata", "outputs"),
    [
        ({"usage_metadata": {"input_tokens": 7, "output_tokens": 3, "input_token_details": {"cache_read": 2}}}, {}),
        ({}, {"usage_metadata": {"input_tokens": 7, "output_tokens": 3, "input_token_details": {"cache_read": 2}}}),
        ({}, {"usage": {"prompt_tokens": 7, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 2}}}),
        ({}, {"usage": {"input_tokens": 5, "output_tokens": 3, "cache_read_input_tokens": 2}}),
        ({"usage_metadata": {"input_tokens": 7}}, {"usage": {"output_tokens": 3, "cache_read_input_tokens": 2}}),
        (
            {},
            {
                "generations": [
                    [
                        {
                            "message": {
                                "kwargs": {
                                    "usage_metadata": {
                                        "input_tokens": 3,
                                        "output_tokens": 1,
                                        "input_token_details": {"cache_read": 2},
                                    }
                                }
                            }
                        },
                        {"message": {"usage_metadata": {"input_tokens": 4, "output_tokens": 2}}},
                    ]
                ]
            },
        ),
        (
            {},
            {
                "llm_output": {
                    "token_usage": {
                        "prompt_tokens": 7,
                        "completion_tokens": 3,
                        "prompt_tokens_details": {"cached_tokens": 2},
                    }
                }
            },
        ),
    ],
)
def test_tokens_are_found_wherever_clients_put_them(metadata: dict[str, Any], outputs: dict[str, Any]) -> None:
    """In the metadata, in the outputs, in messages, in what a provider answers."""
    assert usage_of(metadata, outputs, is_call=True) == {"tokens_in": 7, "tokens_out": 3, "tokens_cached": 2}


def test_what_several_messages_report_is_added_up_with_its_details() -> None:
    """Two generations of one call: what each read from the cache, wrote to it and thought counts."""
    usage = {
        "input_tokens": 10,
        "output_tokens": 4,
        "input_token_details": {"cache_read": 3, "cache_creation": 2},
        "output_token_details": {"reasoning": 1},
    }
    outputs = {"generations": [[{"message": {"usage_metadata": usage}}], [{"message": {"usage_metadata": usage}}]]}

    assert usage_of({}, outputs, is_call=True) == {
        "tokens_in": 20,
        "tokens_out": 8,
        "tokens_cached": 6,
        "tokens_cache_written": 4,
        "tokens_reasoning": 2,
    }


def test_a_report_that_leaves_the_cache_out_is_joined_to_one_that_has_it() -> None:
    """An older wrapper's metadata say what was read beside the cache, the answer says the cache: more than was read."""
    metadata = {"usage_metadata": {"input_tokens": 500, "output_tokens": 100}}
    outputs = {"usage": {"cache_read_input_tokens": 8000, "output_tokens": 100}}

    assert usage_of(metadata, outputs, is_call=True) == {"tokens_in": 8500, "tokens_out": 100, "tokens_cached": 8000}


def test_only_models_are_believed_about_answers() -> None:
    """A chain's outputs may hold the usage of a model inside it, which has told it already."""
    outputs = {"usage": {"prompt_tokens": 7}, "generations": [{"message": {"usage_metadata": {"input_tokens": 7}}}]}

    assert usage_of({}, outputs, is_call=False) == {}


@pytest.mark.parametrize(
    ("usage", "cost"),
    [({"total_cost": 0.5}, 0.5), ({"input_cost": 0.25, "output_cost": 0.25}, 0.5), ({"output_cost": 0.5}, 0.5)],
)
def test_money_is_read_whole_or_in_parts(usage: dict[str, float], cost: float) -> None:
    """The total counts; without one, its parts."""
    assert usage_of({"usage_metadata": usage}, {}, is_call=False) == {"cost_usd": cost}


DUMPED = {
    "lc": 1,
    "type": "constructor",
    "id": ["Document"],
    "kwargs": {"page_content": "one", "metadata": {"score": 0.5}},
}
RENDERED = {
    "page_content": "two",
    "type": "Document",
    "metadata": {"id": "c2", "source": "a.pdf", "relevance_score": "0.25"},
}


@pytest.mark.parametrize(
    "outputs",
    [
        {"documents": [DUMPED, RENDERED]},
        {"output": [DUMPED, RENDERED]},
        [DUMPED, RENDERED],
        {"question": ["no", "documents"], "context": [DUMPED, RENDERED]},
    ],
)
def test_documents_are_found_in_every_shape(outputs: Any) -> None:
    """As LangSmith renders them, as LangChain dumps them, under any name."""
    assert hits_of(documents_of(outputs)) == [
        {"rank": 1, "score": 0.5, "content": "one"},
        {"chunk_id": "c2", "document_id": "a.pdf", "rank": 2, "score": 0.25, "content": "two"},
    ]


@pytest.mark.parametrize("outputs", [None, "text", {}, {"output": []}, {"output": ["a"]}, {"documents": [DUMPED, "a"]}])
def test_what_are_no_documents_are_none(outputs: Any) -> None:
    """A list that holds anything else as well is not one of documents."""
    assert documents_of(outputs) == []


def test_long_texts_and_lists_of_hits_are_cut() -> None:
    """Hits describe the documents, which stand in the outputs."""
    hits = hits_of([{"page_content": "x" * 1000, "metadata": {}}] * 500)

    assert len(hits) == 200
    assert len(hits[0]["content"]) == 300


def test_texts_and_numbers_are_read_from_each_other() -> None:
    """An id may be a number and a number a text; nothing else is either."""
    assert [text(value) for value in ("a", 7, "", None, True, [])] == ["a", "7", None, None, None, None]
    assert [number(value) for value in (7, "7.5", "nan", "x", True, None, 10**30)] == [
        7,
        7.5,
        None,
        None,
        None,
        None,
        10**30,
    ]
