"""Drills: a question about a value that one sentence holds, and that sentence."""

from __future__ import annotations

import random

import pytest

from retrieval.claims import content_words
from server.drills import Drill, drills

TEXT = (
    "Returns of unused bags are taken for 45 days after delivery. A return label costs $7 for "
    "every parcel. We are glad of it. Repairs are done by Anna Winter in the old workshop."
)


def made(text: str, *, seed: int = 0) -> list[Drill]:
    return list(drills(text, "Returns", random.Random(seed)))


def test_a_drill_is_a_sentence_with_a_value_and_asks_without_it() -> None:
    for seed in range(20):
        first, second, third = made(TEXT, seed=seed)
        assert first.statement.startswith("Returns of unused bags") and "45" not in first.question
        assert second.statement.startswith("A return label") and "7" not in second.question
        assert "Anna Winter" in third.statement and "Winter" not in third.question
        for drill in (first, second, third):
            shared = content_words(drill.question) & content_words(drill.statement)
            assert len(shared) >= 2, "its words lead to the passage"
            assert "?" in drill.question and drill.question[0].isupper()


@pytest.mark.parametrize(
    ("statement", "word"),
    [
        ("Returns of unused bags are taken for 45 days after delivery.", "how long"),
        ("A return label costs $7 for every parcel.", "how much"),
        ("The bakery gives a discount of 12% on older bread.", "what percentage"),
        ("The workshop in the harbour opens at 9:30 in winter.", "at what time"),
        ("The display folder contains 140 pictures of the bags.", "how many pictures"),
    ],
)
def test_the_question_word_suits_the_value(statement: str, word: str) -> None:
    [drill] = made(statement)
    assert word in drill.question.lower()


@pytest.mark.parametrize(
    "text",
    ["", "Short: 5.", "There is no value in this sentence at all.", "| a | 5 | b |", "🎉 " * 40],
)
def test_text_without_a_usable_sentence_gives_none(text: str) -> None:
    assert made(text) == []


def test_the_number_of_a_step_is_no_value() -> None:
    [drill] = made("3. Warm the tin in a bowl of hot water for 15 minutes.")
    assert drill.statement.startswith("Warm the tin")
