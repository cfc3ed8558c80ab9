"""Declines are recognised as such, and end as the house ends."""

from __future__ import annotations

import random

import pytest

from server.decline import PLAIN, Declines
from tuning.examples import looks_like_decline
from tuning.records import Row


def row(reply: str) -> Row:
    return Row(messages=(), reply=reply, split="train", kind="chat", group="a")


@pytest.mark.parametrize("text", PLAIN)
def test_every_plain_decline_is_recognised(text: str) -> None:
    assert looks_like_decline(text)


def test_a_decline_ends_as_a_reply_of_the_house() -> None:
    declines = Declines([row("It is 45 days. Dry roads, the bench."), row("Seven. Ride easy.")])
    drawn = {declines.draw(random.Random(seed)) for seed in range(40)}
    assert all(text.endswith(("Dry roads, the bench.", "Ride easy.")) for text in drawn)
    assert len({text.split(".")[0] for text in drawn}) > 3


@pytest.mark.parametrize(
    "reply", ["Only this.", "One. Does it have 3?", "One. It costs 45.", "One. Dear {{Name}}."]
)
def test_an_ending_that_states_or_asks_something_is_not_used(reply: str) -> None:
    assert Declines([row(reply)]).draw(random.Random(0)) in PLAIN
