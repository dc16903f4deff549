"""The model of the provider: it takes a prompt apart, and answers what the reader beside the index answers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from clew.demo.generation.generate import Finish
from clew.demo.generation.prompt import assemble
from clew.demo.generation.reader import ExtractiveReader
from clew.demo.provider.prompt_reader import PromptReader, split_prompt
from clew.demo.retrieval.relevance import Relevance
from support.fix_demo import GUIDE, chunks_of

if TYPE_CHECKING:
    from clew.demo.generation.prompt import Prompt
    from clew.demo.ingestion.embed import HashedWords

pytest_plugins = ["support.fix_demo"]


def prompt_for(question: str, words: HashedWords) -> Prompt:
    """Make the prompt of a question about the guide."""
    query = Relevance(words).prepare(question)
    chunks = chunks_of(GUIDE, max_chars=120, min_chars=1)
    return assemble(query, chunks, token_budget=2_000, count=words.count_tokens)


async def read(reader: ExtractiveReader, prompt: Prompt) -> str:
    """Have the reader beside the index answer."""
    return "".join([piece async for piece in reader.stream(prompt) if not isinstance(piece, Finish)])


def test_the_text_of_a_prompt_is_answered_like_the_chunks_it_was_made_of(words: HashedWords) -> None:
    """The answer with its citations is the same, through the text alone."""
    prompt = prompt_for("What does a berth cost a night?", words)

    answered, finish = asyncio.run(PromptReader(words).answer(prompt.system, prompt.user))
    expected = asyncio.run(read(ExtractiveReader(Relevance(words), words.count_tokens), prompt))

    assert "".join(answered) == expected
    assert "340 euros" in expected
    assert (finish.reason, finish.response_model) == ("stop", "extractive-reader-1")
    assert finish.tokens_in is not None
    assert finish.tokens_in > 0


def test_a_prompt_without_passages_is_one_question(words: HashedWords) -> None:
    """Anybody may ask the endpoint without a passage, and gets that there is no answer."""
    answered, _ = asyncio.run(PromptReader(words).answer("", "When does it open?"))

    assert "".join(answered) == "The documents do not answer this question."


@given(
    st.lists(st.text(st.characters(exclude_characters="["), min_size=1), max_size=5),
    st.text(st.characters(exclude_characters="\n"), min_size=1),
)
def test_passages_and_question_come_out_as_they_went_in(passages: list[str], question: str) -> None:
    """Whatever the texts hold, short of what looks like the number of the next passage or another question."""
    numbered = [f"[{number}] {passage}" for number, passage in enumerate(passages, start=1)]
    user = "\n\n".join([*numbered, f"Question: {question}"])

    assert split_prompt(user) == (passages, question)
