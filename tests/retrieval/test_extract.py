"""Hits that say the same again take up no room; those that differ in one figure or name do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from retrieval.extract import distinct, is_open, quote, rank
from retrieval.records import Hit, Passage

ROW = "Bollard rear rack, black, $129, Ansel Brandt"


def hit(text: str, heading: str | None = None) -> Hit:
    passage = Passage(1, "file", "vs", 0, 0, len(text), text, None, heading, 9)
    return Hit(passage, "prices.csv", {}, 1.0, 1.0, 1.0, "g")


@pytest.mark.parametrize(
    "again", [ROW, ROW.upper(), f"  {ROW.replace(', ', '  ')}", "Bollard rear rack"]
)
def test_what_says_nothing_new_is_left_out(again: str) -> None:
    first, other = hit(ROW), hit("Returns are taken for 45 days.")
    assert distinct([first, hit(again), other]) == [first, other]


@pytest.mark.parametrize(
    ("text", "heading"),
    [
        (ROW.replace("129", "147"), None),
        (ROW.replace("black", "nickel"), None),
        (ROW.replace("Brandt", "Sorrel"), None),
        (ROW, "Wholesale"),
    ],
)
def test_what_differs_in_a_figure_a_name_or_its_heading_stays(
    text: str, heading: str | None
) -> None:
    hits = [hit(ROW), hit(text, heading)]
    assert distinct(hits) == hits


LONG = (
    "Returns of tents are taken for 45 days after delivery, if the tent is clean, dry and packed "
    "in its own sack. Write the return number on the parcel, hand it in at any post office and "
    "keep the receipt until the refund has reached your account, which mostly takes a week. "
    "Ask Mina Sorrel."
)


@pytest.mark.parametrize(
    "again",
    [
        LONG.replace("mostly", "usually"),
        LONG.replace("any post office", "any of our post offices"),
        f"{LONG} So we do it in spring, too.",
    ],
)
def test_what_says_nearly_the_same_again_is_left_out(again: str) -> None:
    assert distinct([hit(LONG), hit(again)]) == [hit(LONG)]
    assert distinct([hit(again), hit(LONG)]) == [hit(again)], "the longer one may come later"


@pytest.mark.parametrize(
    "other",
    [
        LONG.replace("45", "30"),
        LONG.replace("Sorrel", "Petrel"),
        LONG.replace("are taken", "are not taken"),
        LONG.replace("a week", "no week"),
        f"{LONG} Wet tents are dried in the loft by the workshop for a small fee.",
    ],
)
def test_what_says_nearly_the_same_with_another_meaning_stays(other: str) -> None:
    assert len(distinct([hit(LONG), hit(other)])) == 2
    assert len(distinct([hit(other), hit(LONG)])) == (1 if LONG in other else 2)


@pytest.mark.parametrize(
    "question",
    [
        "What does a label cost?",
        "My cape is wet. How long until it dries?",
        "Could you tell me when the shop opens?",
        "do you know who runs the ferry",
        "Is it late? When do you close?",
        "We'd like 30 bags, and what comes off?",
        "Can I wash it?\nWhat about the lamp?",
    ],
)
def test_what_asks_for_a_detail_is_open(question: str) -> None:
    assert is_open(question)


@pytest.mark.parametrize(
    "question",
    [
        "Can I put my canvas bag in the machine?",
        "Can I see how the bags are made?",
        "I'm only touring for a week. Do you hire out panniers?",
        "Write a sign for the wax room",
        "my cape has stopped beading water",
        "Return policy on seconds please",
        "What about the lamp?\nCan I wash it?",
        "",
    ],
)
def test_requests_complaints_and_yes_no_questions_are_not_open(question: str) -> None:
    assert not is_open(question)


@pytest.mark.parametrize(
    ("text", "titles"),
    [
        ("Ropewalk lock\n\nIt costs $64.", ["Ropewalk lock"]),
        ("It is dry.\n\n9. Gift cards, and more\n\nThey cost $25.", ["Gift cards, and more"]),
        ("It costs $64.\n\nWays to pay", ["Ways to pay"]),
        ("Fees\nA label costs $7.", []),
        ("We open at nine\n\nTom Reyes runs the desk.", []),
        ("Mayor\n\nGreta Olsen\n\nClerk\n\nTom Reyes is new.", []),
        ("Payment methods\n\nVisa, Mastercard and PayPal", []),
        ("What colours come in the box?\n\nRed, blue and green\n\nHow heavy is it?", []),
        ("It is dry.\n\nThe shop\n\nThe way in\n\nIt is on the left.", ["The shop"]),
        ("Opening hours: nine to five\n\nWe are closed in May.", []),
        ("Price $310\n\nIt is light.", []),
        ("It is light.", []),
    ],
)
def test_a_title_is_not_quoted_where_anything_else_can_be(text: str, titles: list[str]) -> None:
    class Alike:
        def embed(self, texts: Sequence[str], *, queries: bool = False) -> NDArray[np.float32]:
            return np.ones((len(texts), 1), dtype=np.float32)

    ranked = rank("Where is the lock?", [hit(text, heading="The shop")], Alike())
    assert [sentence.text for sentence in ranked if sentence.is_title] == titles
    assert not any(sentence.is_title for sentence in quote(ranked))
    assert quote([replace(ranked[0], is_title=True)])


def test_no_hits_are_no_hits() -> None:
    assert distinct([]) == []
