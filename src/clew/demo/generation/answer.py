"""Answering a question: cache, search, rerank, prompt, generate, judge, each reporting its event."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Final

from msgspec import Struct, structs

from clew.demo.evaluate import JUDGE, JUDGE_VERSION, Issue, judge
from clew.demo.generation.generate import Answer, generate
from clew.demo.generation.prompt import PROMPT_NAME, PROMPT_VERSION, assemble
from clew.demo.retrieval.rerank import RERANKER, rerank
from clew.demo.retrieval.retrieve import FUSION, SEARCH_MODE, describe_hits, hybrid_search
from clew.demo.steps import StepFacts, record, step
from clew.emit.context import mint_id
from clew.emit.tracing import span

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from clew.demo.evaluate import Judgement
    from clew.demo.generation.cache import SemanticCache
    from clew.demo.generation.generate import Model
    from clew.demo.generation.prompt import Prompt
    from clew.demo.ingestion.chunk import Chunk
    from clew.demo.ingestion.embed import Embedder
    from clew.demo.retrieval.index import Index, Snapshot
    from clew.demo.retrieval.relevance import PreparedQuery, Relevance
    from clew.demo.retrieval.retrieve import Hit
    from clew.demo.settings import DemoSettings

__all__ = ["AnswerOutcome", "Answering", "Source", "Sources"]

SURVIVABLE: Final = (ArithmeticError, LookupError, OSError, RuntimeError, ValueError)
"""What may go wrong with the cache or the judge, and leave the answer as it is."""


class Source(Struct, frozen=True):
    """A passage that an answer may cite.

    Attributes:
        number: What it is cited as.
        chunk_id: The chunk.
        document_name: Its document.
        heading: The headings above it.
        page: Its page; None where there are no pages.
    """

    number: int
    chunk_id: str
    document_name: str
    heading: str
    page: int | None


class Sources(Struct, frozen=True):
    """What an answer is going to be made from.

    Attributes:
        answer_id: The answer.
        sources: Its passages.
    """

    answer_id: str
    sources: list[Source]


class AnswerOutcome(Struct, frozen=True):
    """What became of a question.

    Attributes:
        answer_id: The answer; the same again when the cache served it.
        text: The answer.
        is_given: Whether the question was answered, rather than answered that it cannot be.
        is_cached: Whether the cache served it.
        model: The model that wrote it.
        attempts: How often the model was asked; 0 when the cache served the answer.
        has_usage: Whether the model reported the tokens it used.
        scores: Scores by name; empty when it was not judged.
        quality_tier: Its tier; None when it was not judged.
        issues: What is wrong with it.
    """

    answer_id: str
    text: str
    is_given: bool
    is_cached: bool
    model: str
    attempts: int
    has_usage: bool
    scores: dict[str, float]
    quality_tier: str | None
    issues: list[Issue]


class Answering:
    """Answers questions.

    Args:
        settings: How many hits, how many tokens, how often to try.
        embedder: Makes vectors.
        relevance: Scores sentences.
        index: What is known.
        cache: What was answered.
        model: Who answers.
    """

    def __init__(
        self,
        settings: DemoSettings,
        *,
        embedder: Embedder,
        relevance: Relevance,
        index: Index,
        cache: SemanticCache,
        model: Model,
    ) -> None:
        self._settings = settings
        self._embedder = embedder
        self._relevance = relevance
        self._index = index
        self._cache = cache
        self._model = model

    async def answer(self, question: str) -> AsyncGenerator[Sources | str | AnswerOutcome]:
        """Answer a question.

        Yields:
            What the answer is made from, once the model has begun; its pieces as they come; and at last
            the outcome. An answer out of the cache comes in one piece, without sources.

        Raises:
            ModelError: The model did not answer.
            QuestionTooLongError: The question leaves no room for passages.
        """
        facts: StepFacts = {
            "query": question,
            "query_chars": len(question),
            "top_k": self._settings.top_k,
            "embedding_model": self._embedder.name,
        }
        record("query_received", facts)
        snapshot = self._index.snapshot
        valid_for = f"{snapshot.version} {PROMPT_VERSION} {self._model.name}"
        query = await self._prepare(question, facts)
        cached = self._ask_cache(query, valid_for, facts)
        if cached is not None:
            yield cached.text
            yield AnswerOutcome(
                cached.answer_id, cached.text, cached.is_given, True, cached.model, 0, False, {}, None, []
            )
            return
        answer_id = f"answer-{mint_id()}"
        facts |= {"answer_id": answer_id}
        chunks = await self._retrieve(query, snapshot, facts)
        prompt = await self._assemble(query, chunks, facts)
        sources = Sources(answer_id, [_source(number, chunk) for number, chunk in enumerate(prompt.chunks, start=1)])
        answer: Answer | None = None
        async with aclosing(generate(self._model, prompt, answer_id, self._settings.retry)) as pieces:
            async for piece in pieces:
                if sources is not None:
                    yield sources
                    sources = None
                if isinstance(piece, Answer):
                    answer = piece
                else:
                    yield piece
        assert answer is not None
        if answer.is_given:
            self._cache.keep(query.vector, valid_for, answer)
        verdict = await self._evaluate(prompt, answer, facts)
        yield _outcome(answer, verdict)

    async def _prepare(self, question: str, facts: StepFacts) -> PreparedQuery:
        with step("embed_query", facts, failure="search_failed", stage="retrieval", run_type="embedding"):
            return await asyncio.to_thread(self._relevance.prepare, question)

    def _ask_cache(self, query: PreparedQuery, valid_for: str, facts: StepFacts) -> Answer | None:
        """Look for an answer; a cache that fails is as good as one that knows nothing."""
        facts |= {"cache_threshold": self._cache.threshold}
        try:
            with step("check_cache", facts, failure="cache_failed", stage="retrieval") as this:
                found = self._cache.look_up(query.vector, valid_for)
                this.record(
                    "cache_checked",
                    cache_hit=found.answer is not None,
                    cache_similarity=None if found.similarity is None else round(found.similarity, 4),
                    cache_age_s=None if found.age_s is None else round(found.age_s, 3),
                    answer_id=found.answer.answer_id if found.answer else None,
                )
                return found.answer
        except SURVIVABLE:
            return None

    async def _retrieve(self, query: PreparedQuery, snapshot: Snapshot, facts: StepFacts) -> list[Chunk]:
        """Search, and put what was found in order."""
        with span("retrieve", stage="retrieval", top_k=self._settings.top_k):
            facts |= {"search_mode": SEARCH_MODE, "fusion": FUSION, "index_name": self._index.name}
            facts |= {"index_version": snapshot.version}
            with step("hybrid_search", facts, failure="search_failed", run_type="retriever") as this:
                hits = await asyncio.to_thread(hybrid_search, snapshot, query.text, query.vector, self._settings.top_k)
                described = describe_hits(hits)
                this.record(
                    "hybrid_search_complete", hit_count=len(hits), hits=described, top_score=_top(hits), cost_usd=0.0
                )
            facts |= {"reranker": RERANKER, "hits_before": described}
            with step("rerank", facts, failure="reranking_failed", run_type="retriever") as this:
                best = await asyncio.to_thread(rerank, self._relevance, query, hits, self._settings.keep)
                this.record("reranking_complete", hits_after=describe_hits(best), top_score=_top(best), cost_usd=0.0)
            return [hit.chunk for hit in best]

    async def _assemble(self, query: PreparedQuery, chunks: list[Chunk], facts: StepFacts) -> Prompt:
        budget = self._settings.token_budget
        facts |= {"prompt_name": PROMPT_NAME, "prompt_version": PROMPT_VERSION, "token_budget": budget}
        with step("assemble_prompt", facts, failure="prompt_assembly_failed", run_type="prompt") as this:
            count = self._embedder.count_tokens
            prompt = await asyncio.to_thread(assemble, query, chunks, token_budget=budget, count=count)
            this.record(
                "prompt_assembled",
                chunk_ids_used=[chunk.chunk_id for chunk in prompt.chunks],
                chunk_ids_cut=[chunk.chunk_id for chunk in prompt.cut],
                prompt_tokens=prompt.tokens,
            )
            return prompt

    async def _evaluate(self, prompt: Prompt, answer: Answer, facts: StepFacts) -> Judgement | None:
        """Judge the answer; an answer that cannot be judged is still an answer."""
        facts |= {"judge": JUDGE, "judge_version": JUDGE_VERSION}
        try:
            with step("evaluate_answer", facts, failure="evaluation_failed", stage="evaluation") as this:
                verdict = await asyncio.to_thread(judge, self._relevance, self._embedder, prompt, answer)
                for score in verdict.scores:
                    record("score_computed", facts | structs.asdict(score) | {"cost_usd": 0.0})
                scores = {score.metric_name: score.score for score in verdict.scores}
                this.record("metrics_evaluated", **scores, cost_usd=0.0)
                record(
                    "quality_tier_assigned", facts | {"quality_tier": verdict.quality_tier, "reason": verdict.reason}
                )
                for issue in verdict.issues:
                    record("issue_detected", facts | structs.asdict(issue))
                return verdict
        except SURVIVABLE:
            return None


def _top(hits: list[Hit]) -> float | None:
    return round(hits[0].score, 4) if hits else None


def _source(number: int, chunk: Chunk) -> Source:
    return Source(number, chunk.chunk_id, chunk.lineage.document_name, chunk.heading, chunk.page)


def _outcome(answer: Answer, verdict: Judgement | None) -> AnswerOutcome:
    return AnswerOutcome(
        answer.answer_id,
        answer.text,
        answer.is_given,
        False,
        answer.model,
        answer.retry_count + 1,
        answer.finish.tokens_out is not None,
        {score.metric_name: score.score for score in verdict.scores} if verdict else {},
        verdict.quality_tier if verdict else None,
        verdict.issues if verdict else [],
    )
