"""The model of the provider: the extractive reader, which is given messages instead of chunks.

It sees what any model sees, the text of the prompt, and takes it apart again into passages and the question.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from clew.demo.generation.generate import Finish
from clew.demo.generation.prompt import Prompt
from clew.demo.generation.reader import ExtractiveReader
from clew.demo.ingestion.chunk import Chunk, ChunkerConfig, ChunkOrigin, cut
from clew.demo.ingestion.parse import UnreadableError, UnsupportedError, choose_parser
from clew.demo.retrieval.relevance import Relevance
from clew.demo.text import fingerprint

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clew.demo.corpus import Document
    from clew.demo.ingestion.embed import Embedder

__all__ = ["PromptReader"]

QUESTION: Final = "Question: "


class PromptReader:
    """Answers messages.

    Args:
        embedder: Makes vectors.

    Attributes:
        name: The model.
    """

    name = ExtractiveReader.name

    def __init__(self, embedder: Embedder) -> None:
        self._count = embedder.count_tokens
        self._relevance = Relevance(embedder)
        self._reader = ExtractiveReader(self._relevance, embedder.count_tokens)

    async def answer(self, system: str, user: str) -> tuple[list[str], Finish]:
        """Answer a prompt.

        Args:
            system: The instructions.
            user: The passages and the question.

        Returns:
            The words of the answer, each with the space after it, and how it ended.

        Raises:
            ModelError: The embedder failed.
        """
        prompt = await asyncio.to_thread(self._prompt, system, user)
        words: list[str] = []
        finish: Finish | None = None
        async for piece in self._reader.stream(prompt):
            if isinstance(piece, Finish):
                finish = piece
            else:
                words.append(piece)
        assert finish is not None, "the reader ends with a Finish"
        return words, finish

    def warm_up(self, documents: Sequence[Document]) -> None:
        """Compute the vectors of all sentences of documents, which the first calls would wait for."""
        origin = ChunkOrigin("", "", "", "", "", "", "", "")
        for document in documents:
            with suppress(UnreadableError, UnsupportedError):
                parsed = choose_parser(document.name, document.content_type, document.data).parse(document.data)
                for chunk in cut(parsed, origin, ChunkerConfig()):
                    self._relevance.sentence_vectors(chunk)

    def _prompt(self, system: str, user: str) -> Prompt:
        passages, question = split_prompt(user)
        return Prompt(
            query=self._relevance.prepare(question),
            chunks=tuple(_chunk(number, passage) for number, passage in enumerate(passages)),
            cut=(),
            system=system,
            user=user,
            tokens=self._count(system) + self._count(user),
        )


def split_prompt(user: str) -> tuple[list[str], str]:
    r"""Take the text of a prompt apart.

    Returns:
        The passages in the order of their numbers, and the question.

    Example:
        >>> split_prompt("[1] guide.md\nIt opens at six.\n\n[2] fees.md\nA berth costs 340.\n\nQuestion: When?")
        (['guide.md\nIt opens at six.', 'fees.md\nA berth costs 340.'], 'When?')
    """
    around, mark, question = f"\n\n{user}".rpartition(f"\n\n{QUESTION}")
    if not mark:
        return [], user
    passages: list[str] = []
    begin = around.find("\n\n[1] ")
    while begin >= 0:
        number = len(passages) + 1
        end = around.find(f"\n\n[{number + 1}] ", begin)
        passages.append(around[begin + len(f"\n\n[{number}] ") : end if end >= 0 else None])
        begin = end
    return passages, question


def _chunk(number: int, passage: str) -> Chunk:
    """Make a chunk of a passage: its first line says where it is from."""
    source, _, text = passage.partition("\n")
    origin = ChunkOrigin("", "", source, "", "", "", "", "")
    return Chunk(f"{number}-{fingerprint(passage)}", number, text, "", None, origin)
