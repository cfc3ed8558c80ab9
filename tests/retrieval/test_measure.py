from __future__ import annotations

import pytest

from retrieval.measure import difference, hit, interval, ndcg, recall, reciprocal_rank

JUDGED = {"a": 2.0, "b": 1.0, "c": 0.0}


def test_measures_of_a_known_ranking() -> None:
    ranking = ["x", "b", "a"]
    assert hit(ranking, JUDGED) == 0
    assert hit(ranking, JUDGED, k=2) == 1
    assert recall(ranking, JUDGED, k=2) == 0.5
    assert reciprocal_rank(ranking, JUDGED) == 0.5
    # (1/log2(3) + 2/log2(4)) / (2/log2(2) + 1/log2(3))
    assert ndcg(ranking, JUDGED) == pytest.approx(0.6199, abs=1e-4)


def test_a_perfect_ranking_scores_1_and_an_empty_one_0() -> None:
    assert ndcg(["a", "b"], JUDGED) == recall(["a", "b"], JUDGED, k=10) == 1
    for measure in (ndcg, reciprocal_rank, hit):
        assert measure([], JUDGED) == 0
        assert measure(["a"], {}) == 0


def test_an_irrelevant_judged_document_is_no_hit() -> None:
    assert hit(["c"], JUDGED) == reciprocal_rank(["c"], JUDGED) == 0


def test_the_interval_holds_the_mean_and_is_the_same_every_time() -> None:
    values = [0.0, 1.0] * 50
    found = interval(values)
    assert found == interval(values)
    assert found.low < found.mean == 0.5 < found.high
    assert found.high - found.low == pytest.approx(0.2, abs=0.05)


def test_a_paired_difference_is_narrower_than_the_spread_of_its_sides() -> None:
    base = [index / 100 for index in range(100)]
    found = difference([value + 0.1 for value in base], base)
    assert (found.low, found.high) == pytest.approx((0.1, 0.1))
    with pytest.raises(ValueError, match="not paired"):
        difference([1.0], [])


def test_no_values_have_a_mean_of_0() -> None:
    assert interval([]).mean == 0


def test_copies_of_a_query_make_no_interval_narrower() -> None:
    once = [float(n % 3 == 0) for n in range(30)]
    alone = interval(once)
    thrice = interval(once * 3, groups=list(range(30)) * 3)
    assert (thrice.mean, thrice.low, thrice.high) == pytest.approx(
        (alone.mean, alone.low, alone.high)
    )
    assert interval(once * 3).low > alone.low
    assert interval(once, groups=range(30)) == alone
