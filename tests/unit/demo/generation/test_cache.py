"""The semantic cache."""

from __future__ import annotations

import numpy as np
import pytest

from clew.demo.generation.cache import SemanticCache
from clew.demo.generation.generate import Answer, Finish


def unit(*numbers: float) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """Make a vector of length 1."""
    vector = np.array(numbers, np.float32)
    return vector / np.linalg.norm(vector)


def answer(text: str) -> Answer:
    """Make an answer."""
    return Answer(f"answer-{text}", text, [], [], "model", "local", Finish("stop", "model"), 0)


class Clock:
    """A clock that stands until it is moved."""

    now = 100.0

    def __call__(self) -> float:
        """Tell the time."""
        return self.now


def test_a_question_that_means_the_same_is_served() -> None:
    """With how alike the questions are, and how old the answer is."""
    clock = Clock()
    cache = SemanticCache(0.9, now=clock)
    cache.keep(unit(1, 0), "v1", answer("one"))
    cache.keep(unit(0, 1), "v1", answer("two"))
    clock.now += 30

    found = cache.look_up(unit(1, 0.1), "v1")

    assert found.answer == answer("one")
    assert found.similarity == pytest.approx(0.995, abs=0.001)
    assert found.age_s == 30


def test_a_question_that_is_only_like_another_is_not() -> None:
    """How close it came is told all the same."""
    cache = SemanticCache(0.9)
    cache.keep(unit(1, 0), "v1", answer("one"))

    found = cache.look_up(unit(1, 1), "v1")

    assert (found.answer, found.age_s) == (None, None)
    assert found.similarity == pytest.approx(0.707, abs=0.001)


def test_an_empty_cache_knows_nothing() -> None:
    """There is no similarity to nothing."""
    assert SemanticCache(0.9).look_up(unit(1, 0), "v1") == (None, None, None)


def test_what_answers_depend_on_is_part_of_the_question() -> None:
    """Another index, prompt or model has other answers."""
    cache = SemanticCache(0.9)
    cache.keep(unit(1, 0), "v1", answer("old"))

    assert cache.look_up(unit(1, 0), "v2").answer is None


def test_an_answer_grows_too_old() -> None:
    """After its time it is as if it had never been there."""
    clock = Clock()
    cache = SemanticCache(0.9, max_age_s=60, now=clock)
    cache.keep(unit(1, 0), "v1", answer("one"))
    clock.now += 61

    assert cache.look_up(unit(1, 0), "v1") == (None, None, None)


def test_the_oldest_answer_makes_room() -> None:
    """The memory it takes is bounded."""
    cache = SemanticCache(0.9, capacity=2)
    for number, name in enumerate(("one", "two", "three")):
        cache.keep(unit(*(float(place == number) for place in range(3))), "v1", answer(name))

    assert cache.look_up(unit(1, 0, 0), "v1").answer is None
    assert cache.look_up(unit(0, 0, 1), "v1").answer == answer("three")
