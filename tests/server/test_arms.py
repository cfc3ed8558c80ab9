"""Arms: each asks as it would be served, and nothing is shown that it does not have."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from server.arms import ARMS, Arm, ask, choose_shots, open_arms
from server.prompt import Evidence, build
from tuning.records import Row

TALK = ({"role": "system", "content": "Be kind."}, {"role": "user", "content": "How long?"})
SHOTS = [
    {"role": "user", "content": "A lamp?"},
    {"role": "assistant", "content": "Seven, friend."},
]
EVIDENCE = [Evidence("Returns are taken for 45 days.", "Returns"), Evidence("We open at 9.")]


def count(text: str) -> int:
    return len(text.split())


def row(
    number: int, *, kind: str = "gold", split: Any = "train", reply: str = "Yes, friend."
) -> Row:
    return Row((), reply, split, kind, f"group {number}", question=f"Question {number}?")


@pytest.mark.parametrize("arm", ARMS, ids=lambda arm: arm.key)
def test_an_arm_shows_what_it_has_and_nothing_else(arm: Arm) -> None:
    prompt = ask(arm, TALK, EVIDENCE, shots=SHOTS, budget=100, count_tokens=count)
    whole = "\n".join(message["content"] for message in prompt.messages)
    assert ("45 days" in whole) is arm.search
    assert ("Seven, friend." in whole) is arm.few_shot
    assert whole.count("How long?") == 1 and "Be kind." in prompt.messages[0]["content"]
    assert [message["role"] for message in prompt.messages].count("system") == 1
    assert prompt.messages[-1]["role"] == "user"


@pytest.mark.parametrize("key", ["search", "search_voice"])
def test_an_arm_with_search_is_asked_as_it_is_served(key: str) -> None:
    arm = next(arm for arm in ARMS if arm.key == key)
    served = build(TALK, EVIDENCE, budget=100, count_tokens=count)
    asked = ask(arm, TALK, EVIDENCE, shots=SHOTS, budget=100, count_tokens=count)
    assert asked == served


def test_what_cannot_be_asked_is_left_out() -> None:
    all_ = open_arms(few_shot=True, search=True, voice=True, tuned=True)
    assert all_ == list(ARMS)
    untuned = open_arms(few_shot=True, search=True, voice=True)
    assert untuned == [arm for arm in ARMS if not arm.tuned]
    assert [arm.key for arm in open_arms(few_shot=False, search=False, voice=False)] == ["base"]
    keys = [arm.key for arm in open_arms(few_shot=True, search=False, voice=True)]
    assert keys == ["base", "few_shot", "voice"]


def test_shots_are_train_rows_of_different_groups_with_one_decline() -> None:
    rows = [
        *(row(n) for n in range(20)),
        row(3, reply="Twice the same group."),
        *(row(n, kind="withheld", reply="We don't have that.") for n in range(20, 25)),
        *(row(n, split="gate", reply="Held out.") for n in range(30, 35)),
        row(40, kind="replay", reply="I am an assistant."),
        replace(row(41, reply="Drilled."), group="drill:a.md"),
    ]
    shots = choose_shots(rows)
    assert [message["role"] for message in shots] == ["user", "assistant"] * 4
    replies = [message["content"] for message in shots if message["role"] == "assistant"]
    assert replies.count("We don't have that.") == 1
    assert not {"Held out.", "I am an assistant.", "Drilled."} & set(replies)
    assert len({message["content"] for message in shots if message["role"] == "user"}) == 4
    assert choose_shots(rows) == shots


def test_long_replies_are_no_shots_and_no_rows_give_none() -> None:
    rows = [row(n, reply="Short." if n else "Long. " * 200) for n in range(8)]
    assert all("Long." not in message["content"] for message in choose_shots(rows))
    assert choose_shots([]) == [] and choose_shots([row(1, split="gate")]) == []
