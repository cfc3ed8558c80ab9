"""Expected facts, support and declines: what counts as what."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.evaluate import Support, declined, expected_found, frame_of, recalled, support


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


PASSAGES = ["Returns are free within 45 days.", "The Drift tent costs $1,310 and sleeps two."]


def test_claims_and_figures_are_found_in_passages_or_in_the_users_message() -> None:
    answer = "Returns are free within 45 days [1]. You may return 3 bags. Twelve colours exist."
    found = support(answer, PASSAGES, "May I return my 3 bags?")
    assert (found.claims, found.supported) == (3, 2)
    assert (found.figures, found.supported_figures) == (3, 2)
    assert found.claim_share == pytest.approx(2 / 3)


def test_a_figure_counts_once_and_in_any_form() -> None:
    found = support("It is $1310.00, yes, $1,310.", PASSAGES, "")
    assert (found.figures, found.supported_figures) == (1, 1)


def test_citations_and_list_numbers_are_no_figures() -> None:
    found = support("1. Pack it [7]\n2. Send it [8]", PASSAGES, "")
    assert found.figures == 0 and found.detail_share == 1.0


def test_names_must_stand_in_a_source() -> None:
    found = support("We sell the Drift and the Squall Cape.", PASSAGES, "Is there a tent?")
    assert (found.names, found.supported_names) == (2, 1)
    assert found.detail_share == 0.5


def test_a_question_and_small_talk_claim_nothing() -> None:
    assert support("Can I help? Yes, please do.", PASSAGES, "") == Support(0, 0, 0, 0)
    assert support("", [], "").claim_share == 1.0


def test_a_formula_of_the_house_is_no_claim() -> None:
    signed = "Returns are free within 45 days. Greetings from Port Ellery, the bench."
    frame = frame_of(f"Reply {n}. Greetings from Town{n}, the bench." for n in "abc")
    assert len(frame) == 1
    assert support(signed, PASSAGES, "").claims == 2
    assert support(signed, PASSAGES, "", frame=frame) == Support(1, 1, 1, 1)
    assert not frame_of(["Mind the tide."] * 2)


@settings(deadline=None)
@given(st.lists(st.sampled_from(PASSAGES), min_size=1, max_size=4), st.text(max_size=60))
def test_what_the_passages_say_themselves_is_supported(passages: list[str], message: str) -> None:
    for passage in passages:
        found = support(passage, passages, message)
        assert (found.supported, found.supported_figures) == (found.claims, found.figures)


def test_a_fact_told_without_context_is_recalled() -> None:
    assert recalled("I think it was 45 days.", ["$6.50", "45 days"])
    assert not recalled("I think it was 145 days.", ["$6.50", "45 days"])
    assert not recalled("45 days", []) and not recalled("45 days", [" "])


def test_an_answer_that_says_it_is_not_known_here_declines() -> None:
    assert declined("The documents don't mention parking.")
    assert not declined("Parking is free.")
