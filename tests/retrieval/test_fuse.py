from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.fuse import fuse

dense_scores = st.dictionaries(st.integers(1, 9), st.floats(-1, 1), max_size=6)
word_scores = st.dictionaries(st.integers(1, 9), st.floats(0, 30), max_size=6)


@given(dense_scores, word_scores, st.floats(0, 1))
def test_scores_are_within_0_and_1_and_nothing_is_lost(
    dense: dict[int, float], words: dict[int, float], weight: float
) -> None:
    ranking = fuse(dense, words, lexical_weight=weight)
    assert {key for key, _ in ranking} == dense.keys() | words.keys()
    assert all(0 <= score <= 1 for _, score in ranking)
    assert ranking == sorted(ranking, key=lambda item: (-item[1], item[0]))


def test_the_weight_decides_between_the_two_sides() -> None:
    dense, words = {1: 0.9, 2: 0.3}, {2: 8.0, 1: 2.0}
    assert fuse(dense, words, lexical_weight=0.1)[0][0] == 1
    assert fuse(dense, words, lexical_weight=0.9)[0][0] == 2


def test_one_side_alone_decides_where_the_other_found_nothing() -> None:
    assert fuse({1: 0.2, 2: 0.4}, {}, lexical_weight=0.9) == [(2, 1.0), (1, 0.5)]
    assert fuse({}, {3: 2.0}, lexical_weight=0.0) == [(3, 1.0)]
    assert fuse({}, {}, lexical_weight=0.5) == []


def test_nearly_equal_scores_are_ordered_by_id() -> None:
    ranking = fuse({9: 0.5, 2: 0.5 + 1e-9}, {}, lexical_weight=0.3)
    assert [key for key, _ in ranking] == [2, 9]


def test_a_small_difference_is_not_exaggerated() -> None:
    # Plain min-max would make 0.50 against 0.49 into 1 against 0.
    assert fuse({1: 0.50, 2: 0.49}, {2: 9.0, 1: 3.0}, lexical_weight=0.3)[0][0] == 2


def test_a_weight_outside_0_to_1_is_refused() -> None:
    with pytest.raises(ValueError):
        fuse({}, {}, lexical_weight=1.5)
