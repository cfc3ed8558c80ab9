"""Which messages ask nothing of the documents."""

from __future__ import annotations

import time

import pytest

from server.small_talk import is_small_talk


@pytest.mark.parametrize(
    "text",
    [
        "Hello there!",
        "hi, good morning",
        "Thank you so much for your help, bye",
        "OK, thanks",
        "Perfect, that\N{RIGHT SINGLE QUOTATION MARK}s all I needed. Cheers!",
        "Great, that worked. Thanks again!",
        "You've been very helpful, have a lovely evening",
        "No thank you, that is all for now",
    ],
)
def test_greetings_thanks_and_praise_ask_nothing(text: str) -> None:
    assert is_small_talk(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Great bags?",
        "Thanks. How long is the guarantee?",
        "OK, the blue one",
        "Hello, my zip is broken",
        "Perfect for rain",
        "That is all wet",
        "thanks " * 20,  # too long to be looked at
    ],
)
def test_what_may_ask_something_is_searched(text: str) -> None:
    assert not is_small_talk(text)


@pytest.mark.parametrize(
    "start", ["thank you ", "that is all ", "great, ", "you are so kind ", "  "]
)
def test_a_message_just_too_odd_is_judged_in_no_time(start: str) -> None:
    started = time.perf_counter()
    assert not is_small_talk((start * 40)[:79] + "x")
    assert time.perf_counter() - started < 0.1
