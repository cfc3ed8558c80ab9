"""A reader decides whether the documents answer; without one the embedder has to."""

from __future__ import annotations

import pytest

from retrieval.embed import Embedder
from retrieval.grounds import Judge
from retrieval.read import Reader
from retrieval.records import Hit, Passage

FERRY = "The ferry leaves the east quay at 9:00. Two brothers run the ferry. Dogs stay on deck."
INN = "The inn on the quay has eleven rooms, and breakfast is served from 7:00."


def hit(number: int, text: str, heading: str | None = None) -> Hit:
    passage = Passage(number, f"file-{number}", "vs", 0, 0, len(text), text, None, heading, 9)
    return Hit(passage, "island.md", {}, 1.0, 1.0, 1.0, "g")


HITS = [hit(1, FERRY, "Crossing"), hit(2, INN)]


@pytest.fixture(scope="module")
def judge() -> Judge:
    return Judge(Embedder(device="cpu"), Reader(device="cpu"))


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("Who runs the ferry?", "Two brothers run the ferry."),
        ("How many rooms does the inn have?", INN),
    ],
)
def test_an_answer_comes_first_and_is_believed(judge: Judge, question: str, answer: str) -> None:
    found = judge.find(question, HITS)
    assert found.sentences[0].text == answer
    assert found.confidence > found.threshold


@pytest.mark.parametrize(
    "question",
    ["What does a ticket for the ferry cost?", "Who is the owner of the inn's parking garage?"],
)
def test_a_near_miss_is_weak_evidence(judge: Judge, question: str) -> None:
    found = judge.find(question, HITS)
    assert found.confidence < found.threshold
    assert found.sentences, "what is closest is told all the same"


@pytest.mark.parametrize(
    ("question", "answered"),
    [
        ("Can I bring my dog on the ferry?", True),
        ("Draft a notice about the ferry and its dogs", True),
        ("I'm staying at the inn. Do you serve breakfast?", True),
        ("Can I pay the plumber by card?", False),
        ("Write a poem about tax law", False),
    ],
)
def test_a_closed_question_or_a_request_is_judged_by_closeness(
    judge: Judge, question: str, answered: bool
) -> None:
    assert judge.find(question, HITS).weak != answered


def test_without_a_reader_or_in_another_language_the_embedder_judges(
    judge: Judge,
) -> None:
    alone = Judge(judge.embedder)
    for question in ("Who runs the ferry?", "Wann legt die Fähre ab?"):
        found = alone.find(question, HITS)
        assert 0 < found.confidence < 1
        assert all(sentence.reading is None for sentence in found.sentences)
    german = "Wann legt die Fähre ab?"
    assert judge.find(german, HITS) == alone.find(german, HITS)
    assert judge.find("Who?", []).confidence == alone.find("Who?", []).confidence == 0
