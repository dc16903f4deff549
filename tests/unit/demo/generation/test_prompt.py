"""The prompt and its budget."""

from __future__ import annotations

import pytest

from clew.demo.generation.prompt import INSTRUCTIONS, NO_ANSWER, QuestionTooLongError, assemble
from clew.demo.ingestion.embed import HashedWords
from clew.demo.retrieval.relevance import Relevance
from support.fix_demo import chunks_of

CHUNKS = [chunks_of(f"Passage {name} has six words.", name=f"{name}.md")[0] for name in ("one", "two", "three")]
QUERY = Relevance(HashedWords()).prepare("How many words?")


def count(text: str) -> int:
    """Count words."""
    return len(text.split())


def test_passages_are_numbered_and_named_and_the_question_comes_last() -> None:
    """What a model is given, in full."""
    prompt = assemble(QUERY, CHUNKS[:2], token_budget=1000, count=count)

    assert prompt.user == (
        "[1] one.md\nPassage one has six words.\n\n[2] two.md\nPassage two has six words.\n\nQuestion: How many words?"
    )
    assert NO_ANSWER in prompt.system
    assert prompt.tokens == count(prompt.system) + count(prompt.user)


def test_what_does_not_fit_is_cut_from_the_first_that_does_not() -> None:
    """A worse chunk never stands in for a better one; what was cut is told."""
    room_for_one = count(INSTRUCTIONS) + count("Question: How many words?") + 7
    prompt = assemble(QUERY, CHUNKS, token_budget=room_for_one, count=count)

    assert (prompt.chunks, prompt.cut) == ((CHUNKS[0],), (CHUNKS[1], CHUNKS[2]))
    assert prompt.tokens <= room_for_one


def test_a_question_that_leaves_no_room_is_refused() -> None:
    """With the numbers that show it."""
    with pytest.raises(QuestionTooLongError, match="the budget is 10"):
        assemble(QUERY, CHUNKS, token_budget=10, count=count)


def test_a_prompt_without_passages_still_asks() -> None:
    """An empty index has no passages; the model is to say so."""
    assert assemble(QUERY, [], token_budget=1000, count=count).user == "Question: How many words?"
