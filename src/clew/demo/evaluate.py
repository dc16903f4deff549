"""Judging an answer: is it supported, is it about the question, was the right text found.

A local judge without a model of its own. The scores carry the names of Ragas and mean the same
things; the way to them is simpler, which is why the judge and its version are in every event:

faithfulness
    Share of the answer's claims (its sentences) that a sentence of the context supports: close in
    meaning, holding most of the claim's terms, and every number in it.
answer_relevancy
    How far the best sentence of the answer answers the question (``relevance``), where 0.6 counts as
    fully; 0 for an answer that says there is none.
context_precision
    Mean of precision@k over the ranks k of the useful chunks of the context: 1 when the useful ones
    come first. A chunk is useful when one of its sentences answers the question.

``context_recall`` needs a reference answer, which a running service does not have.

Source:
    S. Es et al., "Ragas: Automated Evaluation of Retrieval Augmented Generation", 2023.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple, ParamSpec

import numpy as np
from msgspec import Struct, structs

from clew.demo.ingestion.embed import relatedness
from clew.demo.retrieval.relevance import ANSWERS, MIN_WORDS
from clew.demo.steps import Stopwatch
from clew.demo.text import content_terms, sentences, terms

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from clew.demo.generation.generate import Answer
    from clew.demo.generation.prompt import Prompt
    from clew.demo.ingestion.embed import Embedder, Vectors
    from clew.demo.retrieval.relevance import Relevance

__all__ = ["JUDGE", "JUDGE_VERSION", "Issue", "Judgement", "Score", "judge"]

P = ParamSpec("P")

JUDGE: Final = "sentence-support-judge"
JUDGE_VERSION: Final = "1"

FULLY = 0.6  # the relevance of a sentence that plainly answers
SUPPORTING_RELATEDNESS = 0.45
SUPPORTING_COVERAGE = 0.6
SUPPORTING_COVERAGE_OF_CHUNK = 0.95  # a claim may join sentences, as one that announces a list does
HIGH = (0.9, 0.7)  # faithfulness and answer relevancy of the tier "high", at least
MEDIUM = (0.6, 0.4)
_CITATION: Final = re.compile(r"\s*\[\d{1,3}\]")
_NUMBER: Final = re.compile(r"\d+(?:[.,]\d+)*")


class Score(Struct, frozen=True):
    """One aspect of an answer.

    Attributes:
        metric_name: What was scored, in the words of Ragas.
        score: 0 to 1.
        reason: Why.
        claim_count: Claims judged, for faithfulness.
        unsupported_count: Those without support.
        duration_ms: How long it took to find out, in milliseconds.
    """

    metric_name: str
    score: float
    reason: str
    claim_count: int | None = None
    unsupported_count: int | None = None
    duration_ms: float = 0.0


class Issue(Struct, frozen=True):
    """Something that is wrong with an answer.

    Attributes:
        issue: ``"no_answer"``, ``"unsupported_claim"`` or ``"off_topic"``.
        severity: ``"low"``, ``"medium"`` or ``"high"``.
        reason: What was seen.
        score: The score that shows it; None when none does.
    """

    issue: str
    severity: str
    reason: str
    score: float | None = None


class Judgement(Struct, frozen=True):
    """What the judge found.

    Attributes:
        scores: The scores; one that does not apply is not there.
        quality_tier: ``"high"``, ``"medium"``, ``"low"`` or ``"unanswered"``.
        reason: Why this tier.
        issues: What is wrong.
    """

    scores: list[Score]
    quality_tier: str
    reason: str
    issues: list[Issue]

    def score(self, metric_name: str) -> float | None:
        """Return one score; None when it does not apply."""
        return next((score.score for score in self.scores if score.metric_name == metric_name), None)


def judge(relevance: Relevance, embedder: Embedder, prompt: Prompt, answer: Answer) -> Judgement:
    """Judge an answer.

    Args:
        relevance: Scores sentences.
        embedder: Makes vectors.
        prompt: What the model was given.
        answer: What it made of it.
    """
    precision = _timed(_context_precision, relevance, prompt)
    if not answer.is_given:
        relevancy = Score("answer_relevancy", 0.0, "the answer says that there is none")
        severity, reason = ("medium", "though") if precision.score > 0 else ("low", "and")
        reason = f"no answer was given, {reason} {precision.reason}"
        return Judgement([relevancy, precision], "unanswered", reason, [Issue("no_answer", severity, reason)])
    claims = _claims(answer.text)
    vectors = embedder.embed_passages(claims)
    faithfulness = _timed(_faithfulness, relevance, embedder, prompt, claims, vectors)
    relevancy = _timed(_answer_relevancy, embedder, prompt, claims, vectors)
    tier, reason = _tier(faithfulness.score, relevancy.score)
    return Judgement([faithfulness, relevancy, precision], tier, reason, list(_issues(faithfulness, relevancy)))


def _timed(find: Callable[P, Score], *args: P.args, **kwargs: P.kwargs) -> Score:
    watch = Stopwatch()
    return structs.replace(find(*args, **kwargs), duration_ms=watch.ms)


def _claims(text: str) -> list[str]:
    plain = _CITATION.sub("", text)
    claims = [claim for claim in sentences(plain) if len(claim.split()) >= MIN_WORDS]
    return claims or [plain]


class _Support(NamedTuple):
    """A sentence of the context."""

    terms: frozenset[str]
    terms_of_chunk: frozenset[str]
    vector: Vectors


def _faithfulness(
    relevance: Relevance, embedder: Embedder, prompt: Prompt, claims: Sequence[str], vectors: Vectors
) -> Score:
    support: list[_Support] = []
    numbers: set[str] = set()
    for chunk in prompt.chunks:
        numbers.update(_NUMBER.findall(chunk.text))
        of_chunk = frozenset(terms(chunk.text))
        for text, vector in zip(*relevance.sentence_vectors(chunk), strict=True):
            support.append(_Support(frozenset(terms(text)), of_chunk, vector))
    unsupported = 0
    for claim, vector in zip(claims, vectors, strict=True):
        has_its_numbers = numbers.issuperset(_NUMBER.findall(claim))
        wanted = frozenset(content_terms(claim))
        if not (has_its_numbers and any(_supports(one, wanted, vector, embedder) for one in support)):
            unsupported += 1
    reason = f"the context supports {len(claims) - unsupported} of {len(claims)} claims"
    return Score("faithfulness", round(1 - unsupported / len(claims), 4), reason, len(claims), unsupported)


def _supports(sentence: _Support, wanted: frozenset[str], vector: Vectors, embedder: Embedder) -> bool:
    """Whether a sentence says what a claim says, alone or with the rest of its chunk."""
    if relatedness(float(vector @ sentence.vector), embedder) < SUPPORTING_RELATEDNESS:
        return False
    alone = len(wanted & sentence.terms) / max(len(wanted), 1)
    together = len(wanted & sentence.terms_of_chunk) / max(len(wanted), 1)
    return alone >= SUPPORTING_COVERAGE or together >= SUPPORTING_COVERAGE_OF_CHUNK


def _answer_relevancy(embedder: Embedder, prompt: Prompt, claims: Sequence[str], vectors: Vectors) -> Score:
    query = prompt.query
    related = relatedness(float(np.max(vectors @ query.vector)), embedder)
    around = set(terms("\n".join(chunk.searchable for chunk in prompt.chunks))) & query.terms
    inside = set(terms(" ".join(claims))) & query.terms
    coverage = (len(inside) + len(around - inside) / 2) / max(len(query.terms), 1)
    score = max((related + coverage) / 2, 0.75 * related)
    reason = f"it holds {len(inside)} of the question's {len(query.terms)} terms, and is {related:.2f} related to it"
    return Score("answer_relevancy", round(min(score / FULLY, 1.0), 4), reason)


def _context_precision(relevance: Relevance, prompt: Prompt) -> Score:
    useful = [
        any(passage.score >= ANSWERS for passage in relevance.passages(prompt.query, [chunk]))
        for chunk in prompt.chunks
    ]
    precisions = [sum(useful[:rank]) / rank for rank in range(1, len(useful) + 1) if useful[rank - 1]]
    score = sum(precisions) / len(precisions) if precisions else 0.0
    return Score("context_precision", round(score, 4), f"{sum(useful)} of {len(useful)} chunks bear on the question")


def _tier(faithfulness: float, relevancy: float) -> tuple[str, str]:
    reason = f"faithfulness {faithfulness:.2f}, answer relevancy {relevancy:.2f}"
    for tier, (least_faithfulness, least_relevancy) in (("high", HIGH), ("medium", MEDIUM)):
        if faithfulness >= least_faithfulness and relevancy >= least_relevancy:
            return tier, reason
    return "low", reason


def _issues(faithfulness: Score, relevancy: Score) -> list[Issue]:
    issues: list[Issue] = []
    if faithfulness.unsupported_count:
        severity = "high" if faithfulness.score < 0.5 else "medium"
        issues.append(Issue("unsupported_claim", severity, faithfulness.reason, faithfulness.score))
    if relevancy.score < MEDIUM[1]:
        issues.append(Issue("off_topic", "medium", relevancy.reason, relevancy.score))
    return issues
