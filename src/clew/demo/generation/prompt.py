"""The prompt: instructions, as many passages as the token budget holds, and the question."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from clew.demo.text import fingerprint

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from clew.demo.ingestion.chunk import Chunk
    from clew.demo.retrieval.relevance import PreparedQuery

__all__ = ["NO_ANSWER", "PROMPT_NAME", "PROMPT_VERSION", "Prompt", "QuestionTooLongError", "assemble"]

NO_ANSWER: Final = "The documents do not answer this question."
"""What a model has to say when the passages do not hold the answer."""

PROMPT_NAME: Final = "answer-from-passages"

INSTRUCTIONS: Final = f"""\
Answer the question from the numbered passages below, and from nothing else. Be brief. After each \
sentence name the passage that supports it, such as [1]. If the passages do not hold the answer, reply \
exactly: {NO_ANSWER}"""
PASSAGE: Final = "[{number}] {source}\n{text}"
QUESTION: Final = "Question: {question}"

PROMPT_VERSION: Final = fingerprint(INSTRUCTIONS, PASSAGE, QUESTION, length=12)
"""Changes with every change of the texts above."""


class QuestionTooLongError(Exception):
    """A question leaves no room for an answer."""


class Prompt(NamedTuple):
    """What a model is given.

    Attributes:
        query: The question.
        chunks: The passages: chunks in the order of their numbers.
        cut: Chunks for which the budget had no room.
        system: The instructions.
        user: Passages and question.
        tokens: Its length, as counted here.
    """

    query: PreparedQuery
    chunks: tuple[Chunk, ...]
    cut: tuple[Chunk, ...]
    system: str
    user: str
    tokens: int


def assemble(
    query: PreparedQuery, chunks: Sequence[Chunk], *, token_budget: int, count: Callable[[str], int]
) -> Prompt:
    """Make a prompt.

    Args:
        query: The question.
        chunks: Chunks to answer from, the best first.
        token_budget: Tokens that the prompt may take.
        count: Counts the tokens of a text.

    Returns:
        A prompt with the best chunks that fit: after the first one that does not, none is taken, so
        that no worse chunk stands in for a better one.

    Raises:
        QuestionTooLongError: The question alone is longer than the budget.
    """
    question = QUESTION.format(question=query.text)
    tokens = count(INSTRUCTIONS) + count(question)
    if tokens > token_budget:
        raise QuestionTooLongError(
            f"the question takes {tokens} tokens with its instructions, the budget is {token_budget}"
        )
    passages: list[str] = []
    for chunk in chunks:
        passage = PASSAGE.format(number=len(passages) + 1, source=_source(chunk), text=chunk.text)
        length = count(passage)
        if tokens + length > token_budget:
            break
        passages.append(passage)
        tokens += length
    used = len(passages)
    user = "\n\n".join([*passages, question])
    return Prompt(query, tuple(chunks[:used]), tuple(chunks[used:]), INSTRUCTIONS, user, tokens)


def _source(chunk: Chunk) -> str:
    page = None if chunk.page is None else f"page {chunk.page}"
    return ", ".join(part for part in (chunk.lineage.document_name, page, chunk.heading) if part)
