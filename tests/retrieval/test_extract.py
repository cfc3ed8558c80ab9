"""Hits that say the same again take up no room; those that differ in one figure or name do."""

from __future__ import annotations

import pytest

from retrieval.extract import distinct
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


def test_no_hits_are_no_hits() -> None:
    assert distinct([]) == []
