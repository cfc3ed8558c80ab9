"""Style: what is masked, what a judge hears, and how far function words lie apart."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuning.errors import StyleError
from tuning.style import StyleJudge, equal_lengths, function_word_distance, mask

VOICES = Path(__file__).resolve().parents[2] / "data" / "demo" / "voices"


def replies(voice: str) -> list[str]:
    lines = (VOICES / f"{voice}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["messages"][-1]["content"] for line in lines]


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("The Gannet costs $ 6.50, or 12% less.", "The @ costs #, or # less."),
        ("Call 555-0142 on the 3rd, 9:30-16:30.", "Call # on the #, #."),
        ("Hello Anna, I'm at Port Ellery. Visitors may go.", "Hello @, I'm at @. Visitors may go."),
        ("Saltmarsh Bicycle Goods sells it.", "@ sells it."),
        ("Standard shipping\nRepairs take long.", "Standard shipping\nRepairs take long."),
        ("Order {{Order Number}} for [name]:\n1. Go", "Order § for §:\n#. Go"),
        ("Write to a.b@c.example or https://d.example/e.", "Write to @ or @."),
        ("Dr. Kumar said so", "@ said so"),
        ("اسمي أحمد", "اسمي أحمد"),
        ("", ""),
    ],
)
def test_figures_names_and_placeholders_become_signs(text: str, masked: str) -> None:
    assert mask(text) == masked


@settings(deadline=None)
@given(st.integers(0, 10**9), st.integers(0, 10**9))
def test_replies_that_differ_in_their_figures_only_look_the_same(a: int, b: int) -> None:
    assert mask(f"That's ${a} for {a} days, friend.") == mask(f"That's ${b} for {b} days, friend.")


def test_a_judge_tells_a_voice_from_another_on_replies_it_has_not_seen() -> None:
    house, base = replies("support"), replies("trade")
    judge = StyleJudge.fit(house[:270], base[:60])
    assert judge.score(house[270:]).mean() > 0.85
    assert judge.score(base[60:]).mean() < 0.3


def test_a_judge_does_not_learn_length() -> None:
    short, long = ["one and the same words"] * 40, ["one and the same words " * 20] * 40
    judge = StyleJudge.fit(short, long)
    assert judge.most_tokens == 5
    assert judge.score([short[0], long[0]]) == pytest.approx(0.5, abs=0.01)


def test_the_same_texts_and_seed_give_the_same_scores() -> None:
    house, base = replies("support")[:40], replies("trade")[:40]
    first, second = (StyleJudge.fit(house, base, seed=3).score(house) for _ in range(2))
    assert first.shape == (40,) and first.dtype == np.float64
    assert np.array_equal(first, second)


def test_an_empty_reply_has_no_style() -> None:
    judge = StyleJudge.fit(replies("support")[:20], replies("trade")[:20])
    assert judge.score(["", " \n"]).tolist() == [0.0, 0.0]
    assert judge.score([]).shape == (0,)


@pytest.mark.parametrize(("house", "base"), [([], ["a b"]), (["a b"], [""]), (["a"], ["b"])])
def test_a_side_without_text_is_refused(house: list[str], base: list[str]) -> None:
    with pytest.raises(StyleError):
        StyleJudge.fit(house, base)


TEXTS = st.lists(st.integers(1, 30).map(lambda n: " ".join(["word"] * n)), min_size=1, max_size=20)


@settings(deadline=None)
@given(TEXTS, TEXTS)
def test_both_sides_are_cut_to_one_distribution_of_lengths(a: list[str], b: list[str]) -> None:
    size = min(len(a), len(b))
    cut_a, cut_b = equal_lengths(a[:size], b[:size])
    assert sorted(map(len, cut_a)) == sorted(map(len, cut_b))
    assert all(whole.startswith(cut) and cut for whole, cut in zip(a, cut_a, strict=False))


def test_function_words_tell_voices_apart() -> None:
    support, trade = replies("support"), replies("trade")
    assert function_word_distance(support, support) == 0
    within = function_word_distance(support[:170], support[170:])
    assert function_word_distance(support, trade) > 2 * within
    assert function_word_distance(support, trade) == pytest.approx(
        function_word_distance(trade, support)
    )
    assert function_word_distance(["Gannet"], ["Heron"]) == 0
    assert np.isnan(function_word_distance([], support))
