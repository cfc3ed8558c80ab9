"""Expected facts: what counts as found."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.evaluate import expected_found


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("You have 45 days, friend.", ["45 days"]),
        ("You have 45 Days [1].", ["45 days"]),
        ("You have 45 [1] days.", ["45 days"]),
        ("It costs $1,000.00 in all.", ["$1000"]),
        ("It costs $1000.", ["$1,000.00"]),
        ("It costs $ 1,000.", ["$1000"]),
        ("It costs $6.50, no more.", ["$6.50"]),
        ("1,234,567 miles", ["1234567 miles"]),
        ("Ships in 3-5 working days.", ["3-5 working days"]),
        ("The ﬁrst of May", ["first of May"]),
        ("Ring 555-0142\nbefore\tnoon", ["555-0142 before noon"]),
        ("Anything at all", []),
        ("12% off, and 8% off for ten.", ["8%", "12%"]),
        ("(45 days)", ["45 days"]),
        ("A fine of $6.50.", ["$6.50"]),
    ],
)
def test_a_stated_fact_is_found(answer: str, expected: list[str]) -> None:
    assert expected_found(answer, expected)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("You have 145 days.", ["45 days"]),
        ("You have 45 days.", ["5 days"]),
        ("It costs $6.50.", ["$6"]),
        ("It costs $1,000.", ["$1"]),
        ("It costs $1,000.", ["$000"]),
        ("It takes 1.5 days", ["5 days"]),
        ("See [45].", ["45"]),
        ("12% off.", ["12%", "8%"]),
        ("Rackets are not sold.", ["rack"]),
        ("", ["45 days"]),
    ],
)
def test_a_part_of_another_fact_is_not_found(answer: str, expected: list[str]) -> None:
    assert not expected_found(answer, expected)


@given(st.lists(st.from_regex(r"[a-z]{1,8}", fullmatch=True), min_size=1, max_size=6))
def test_every_word_of_an_answer_is_found_in_it(words: list[str]) -> None:
    assert expected_found(" ".join(words).upper() + ".", words)
