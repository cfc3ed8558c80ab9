"""Copied runs and ROUGE-L, against slow and obvious references."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuning.style import copied_ngram, copied_ngrams, rouge_l

WORDS = st.lists(st.sampled_from(["tide", "bench", "road", "friend"]), max_size=12).map(" ".join)


def slow_copied(text: str, corpus: list[str]) -> int:
    words = text.split()
    runs = [words[i:j] for i in range(len(words)) for j in range(i + 1, len(words) + 1)]
    return max(
        (len(r) for r in runs if any(f" {' '.join(r)} " in f" {d} " for d in corpus)), default=0
    )


def slow_common(a: list[str], b: list[str]) -> int:
    if not a or not b:
        return 0
    if a[-1] == b[-1]:
        return 1 + slow_common(a[:-1], b[:-1])
    return max(slow_common(a[:-1], b), slow_common(a, b[:-1]))


@settings(deadline=None)
@given(st.lists(WORDS, max_size=4), st.lists(WORDS, max_size=4))
def test_the_longest_copied_run_is_the_one_that_all_runs_give(
    texts: list[str], corpus: list[str]
) -> None:
    assert copied_ngrams(texts, corpus) == [slow_copied(text, corpus) for text in texts]


def test_a_run_is_copied_from_one_reply_whatever_its_case_and_marks() -> None:
    corpus = ["Hood up, the bench.", "Go gently, friend"]
    assert copied_ngram("So: HOOD UP the bench! Go", corpus) == 4
    assert copied_ngram("the bench go gently", corpus) == 2
    assert copied_ngram("nothing", corpus) == copied_ngram("", corpus) == 0
    assert copied_ngram("hood", []) == 0


def test_two_hundred_answers_against_a_thousand_replies_take_seconds() -> None:
    corpus = [" ".join(f"w{(i * 31 + j * j) % 5000}" for j in range(200)) for i in range(1000)]
    started = time.perf_counter()
    assert copied_ngrams(corpus[:200], corpus) == [200] * 200
    assert time.perf_counter() - started < 20


@settings(deadline=None)
@given(WORDS, WORDS)
def test_rouge_l_is_the_f1_of_the_longest_common_subsequence(a: str, b: str) -> None:
    first, second = a.split()[:7], b.split()[:7]
    common, whole = slow_common(first, second), len(first) + len(second)
    assert rouge_l(" ".join(first), " ".join(second)) == pytest.approx(
        2 * common / whole if whole else 0.0
    )


def test_rouge_l_of_lins_example() -> None:
    reference = "police killed the gunman"
    assert rouge_l("Police kill the gunman.", reference) == 0.75
    assert rouge_l("the gunman kill police", reference) == 0.5
