"""Varied values: alike everywhere, of the same shape, and nothing else is touched."""

from __future__ import annotations

import random
import re
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.vary import house_names, vary

PASSAGES = ["Returns: taken for 45 days, label $7.", "The Squall cape, 480 g, from Monday 9:30."]


def varied(reply: str, *, question: str = "Well?", seed: int = 0) -> tuple[list[str], str, str]:
    return vary(PASSAGES, question, reply, house_names={"Bench"}, random_=random.Random(seed))


def shape(text: str) -> str:
    return re.sub(r"\d+", "9", re.sub(r"[A-Z][a-z]+", "Name", text))


@given(seed=st.integers(0, 10_000))
def test_a_value_of_the_reply_is_in_the_passages_afterwards_too(seed: int) -> None:
    passages, _, reply = varied("It has 45 days, the Squall 480 g, Monday at 9:30.", seed=seed)
    shown = " ".join(passages)
    for value in re.findall(r"\d+(?::\d+)?|(?<=the )[A-Z]\w+|\w+day\b", reply):
        assert value in shown
    for value in ("45", "480", "9:30", "Squall", "Monday"):
        assert not re.search(rf"(?<![\w:]){value}\b", f"{reply} {shown}")


@given(seed=st.integers(0, 10_000))
def test_the_form_stays(seed: int) -> None:
    reply = "It has 45 days, the Squall 480 g, Monday at 9:30."
    passages, _, changed = varied(reply, seed=seed)
    assert shape(changed) == shape(reply)
    assert [shape(text) for text in passages] == [shape(text) for text in PASSAGES]


def test_a_value_in_the_question_changes_alike() -> None:
    _, question, reply = varied("For 45 days.", question="Is it 45 days?")
    assert re.findall(r"\d+", question) == re.findall(r"\d+", reply) != ["45"]


@pytest.mark.parametrize(
    ("date", "form"),
    [
        ("15.03.2024", "%d.%m.%Y"),
        ("5.3.24", "%d.%m.%y"),
        ("2024-03-15", "%Y-%m-%d"),
        ("03/31/2024", "%m/%d/%Y"),
        ("31/03", "%d/%m"),
        ("12/30", "%m/%d"),
        ("31.12", "%d.%m"),
        ("31 March 2024", "%d %B %Y"),
        ("May 31, 1999", "%B %d, %Y"),
    ],
)
@given(seed=st.integers(0, 10_000))
def test_a_date_becomes_another_date(date: str, form: str, seed: int) -> None:
    random_ = random.Random(seed)
    [passage], _, reply = vary([f"It is {date}, then."], "", f"On {date}.", random_=random_)
    other = reply.removeprefix("On ").removesuffix(".")
    assert other != date and other in passage
    year = "" if "%y" in form.casefold() else " 2024"
    datetime.strptime(other + year, form + " %Y" * bool(year))


def test_the_month_of_a_day_that_stays_has_that_day() -> None:
    for seed in range(50):
        [passage], _, _ = vary(
            ["It is 31 May 2024."], "", "We meet in May.", random_=random.Random(seed)
        )
        datetime.strptime(passage, "It is %d %B %Y.")


@pytest.mark.parametrize(
    "reply", ["Thanks, Bench.", "Call 999.", "Monthly.", "", "🎉 שלום", "Our 12 friends."]
)
def test_what_only_the_reply_says_stays(reply: str) -> None:
    assert varied(reply) == (PASSAGES, "Well?", reply)


def test_a_house_name_is_a_name_of_many_replies() -> None:
    replies = [f"Dear friend, number {n}. Yours, Saltmarsh." for n in range(20)]
    assert house_names([*replies, "I am Squall."]) == {"Saltmarsh"}
