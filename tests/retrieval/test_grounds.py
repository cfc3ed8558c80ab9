"""A reader decides whether the documents answer; without one the embedder has to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest

from retrieval.embed import Embedder
from retrieval.grounds import MOST_VERIFIED, VERIFIED_HITS, Judge
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


# -- a verifier

Passages = Sequence[tuple[str | None, str]]
Spans = Sequence[list[tuple[int, int]]]


@dataclass
class Told:
    """A verifier that finds the answer where, and only where, it was told so."""

    answer: str
    name: str = "told"
    asked: list[Passages] = field(default_factory=list)

    def read(self, question: str, passages: Passages, spans: Spans) -> list[list[float]]:
        self.asked.append(passages)
        return [
            [10.0 if text[start:end] == self.answer else -10.0 for start, end in own]
            for (_, text), own in zip(passages, spans, strict=True)
        ]


class Unable:
    """A verifier that knows no language of these questions."""

    name = "unable"

    def read(self, question: str, passages: Passages, spans: Spans) -> None:
        return None


def test_a_verifier_reads_the_best_hits_and_is_believed(judge: Judge) -> None:
    others = ["The church has a bell.", "Moss grows on its roof.", "Bats live in it."]
    hits = [*HITS, *(hit(number, text) for number, text in enumerate(others, 3))]
    question = "Who runs the ferry?"
    doubting, sure = Told("nothing"), Told("Two brothers run the ferry.")
    doubted = replace(judge, verifier=doubting).find(question, hits, thorough=True)
    found = replace(judge, verifier=sure).find(question, hits, thorough=True)
    assert doubted.confidence < found.confidence
    assert found.sentences[0].text == sure.answer
    assert found.sentences[0].verified == MOST_VERIFIED
    (read,) = doubting.asked
    assert read[0] == ("Crossing", FERRY) and len(read) == VERIFIED_HITS < len(hits)
    everything = [*found.sentences, *found.others]
    assert {s.hit for s in everything} == set(range(len(hits)))
    assert len({s.hit for s in everything if s.verified is not None}) == VERIFIED_HITS


@pytest.mark.parametrize("answer", ["nothing", "Two brothers run the ferry."])
def test_a_verifier_is_asked_only_where_it_can_decide(judge: Judge, answer: str) -> None:
    question = "Who runs the ferry?"
    least, most = (
        replace(judge, verifier=Told(told)).find(question, HITS, thorough=True).confidence
        for told in ("nothing", "Two brothers run the ferry.")
    )
    chance = least if answer == "nothing" else most
    thresholds = [least - 1e-4, *(least + (most - least) * part / 8 for part in range(1, 8))]
    for threshold in [*thresholds, most + 1e-4]:
        verifier = Told(answer)
        found = replace(judge, verifier=verifier).find(question, HITS, threshold=threshold)
        assert bool(verifier.asked) == (least < threshold <= most)
        assert found.weak == (chance < threshold), "as if it had always been asked"


def test_what_the_first_hit_settles_is_not_read_on(judge: Judge) -> None:
    settled, unsettled = Told("Two brothers run the ferry."), Told("nothing")
    for verifier in (settled, unsettled):  # at a threshold that every hit might reach
        replace(judge, verifier=verifier).find("Who runs the ferry?", HITS, threshold=0.15)
    assert [len(some) for some in settled.asked] == [1]
    assert [len(some) for some in unsettled.asked] == [1, len(HITS) - 1]


def test_one_hit_and_a_verifier_that_cannot_read_are_judged(judge: Judge) -> None:
    question = "Who runs the ferry?"
    verifier = Told("nothing")
    assert replace(judge, verifier=verifier).find(question, HITS[:1], threshold=0.15).weak
    assert [len(some) for some in verifier.asked] == [1]
    unable = replace(judge, verifier=Unable())
    assert unable.find(question, HITS) == judge.find(question, HITS)


@pytest.mark.parametrize(
    "question", ["Can I bring my dog on the ferry?", "Wann legt die Fähre ab?"]
)
def test_a_verifier_is_asked_open_questions_in_its_language(judge: Judge, question: str) -> None:
    verifier = Told("nothing")
    verifying = replace(judge, verifier=verifier)
    assert verifying.find(question, HITS) == judge.find(question, HITS)
    assert not verifier.asked and verifying.name != judge.name
