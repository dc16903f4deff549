"""The extractive reader: the model for machines without one.

It writes nothing of its own: it picks the sentences of the passages that answer the question best,
puts them in reading order, and cites each. When none answers, it says so. Its name in the events is
``extractive-reader-1``, its provider ``local``, its price nothing.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Final

from clew.demo.generation.generate import Finish, ModelError
from clew.demo.generation.prompt import NO_ANSWER
from clew.demo.retrieval.relevance import ANSWERS

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from clew.demo.generation.prompt import Prompt
    from clew.demo.retrieval.relevance import Passage, Relevance

__all__ = ["ExtractiveReader"]

MAX_SENTENCES = 3
NEARLY_AS_GOOD = 0.8  # of the best score: what else is worth saying
REPEATS = 0.97  # cosine from which a sentence says what another one has said
MAX_LIST_LINES = 6
_PROSE: Final = re.compile(r"[\w\s,.;:!?'\"’“”()\[\]/–—-]")
_CODE_PROMPT: Final = re.compile(r"\s*(?:\$|>>>|#!|import |from \w+ import )")


class ExtractiveReader:
    """Answers with sentences of the passages.

    Args:
        relevance: Scores sentences.
        count: Counts the tokens of a text.
    """

    provider = "local"
    name = "extractive-reader-1"
    temperature = 0.0
    max_output_tokens = 400

    def __init__(self, relevance: Relevance, count: Callable[[str], int]) -> None:
        self._relevance = relevance
        self._count = count

    async def stream(self, prompt: Prompt) -> AsyncGenerator[str | Finish]:
        """Give the answer word by word, then how it ended.

        Raises:
            ModelError: The embedder failed.
        """
        try:
            text = await asyncio.to_thread(self._read, prompt)
            tokens_out = await asyncio.to_thread(self._count, text)
        except (ArithmeticError, LookupError, OSError, RuntimeError, ValueError) as error:
            raise ModelError(f"the reader failed: {error or type(error).__name__}") from error
        for word in re.findall(r"\S+\s*", text):
            yield word
        yield Finish("stop", self.name, tokens_in=prompt.tokens, tokens_out=tokens_out, cost_usd=0.0)

    def _read(self, prompt: Prompt) -> str:
        passages = self._relevance.passages(prompt.query, prompt.chunks)
        chosen = _choose([passage for passage in passages if _is_prose(passage.text)])
        if not chosen:
            return NO_ANSWER
        numbers = {chunk.chunk_id: number for number, chunk in enumerate(prompt.chunks, start=1)}
        in_order = sorted(chosen, key=lambda passage: (numbers[passage.chunk.chunk_id], passage.place))
        said = [f"{_with_list(passage, passages)} [{numbers[passage.chunk.chunk_id]}]" for passage in in_order]
        return " ".join(said)


def _choose(passages: list[Passage]) -> list[Passage]:
    """Choose what to say: the best sentence, and others that are nearly as good and add to it."""
    ranked = sorted(passages, key=lambda passage: -passage.score)
    chosen: list[Passage] = []
    for passage in ranked:
        if passage.score < ANSWERS or passage.score < NEARLY_AS_GOOD * ranked[0].score or len(chosen) == MAX_SENTENCES:
            break
        if all(float(passage.vector @ other.vector) < REPEATS for other in chosen):
            chosen.append(passage)
    return chosen


def _is_prose(text: str) -> bool:
    return not _CODE_PROMPT.match(text) and len(_PROSE.findall(text)) >= 0.95 * len(text)


def _with_list(passage: Passage, passages: list[Passage]) -> str:
    """Return a sentence, and with it the list that it announces."""
    if not passage.text.endswith(":"):
        return passage.text
    following = [other.text for other in passages if other.chunk is passage.chunk and other.place > passage.place][
        :MAX_LIST_LINES
    ]
    return f"{passage.text} {'; '.join(line.rstrip('.;,') for line in following)}." if following else passage.text
