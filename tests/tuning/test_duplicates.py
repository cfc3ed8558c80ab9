"""Near duplicates against the slow and obvious: every pair compared exactly."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tuning.duplicates import THRESHOLD, clusters, jaccard, shingles

WORDS = "bag lamp tent rack cape lock bell pump stove flask strap cable hook light glove".split()
TEXT = st.lists(st.sampled_from(WORDS), min_size=1, max_size=14).map(" ".join)


def exactly(texts: list[str]) -> list[list[int]]:
    """The clusters by comparing each text with the first of every cluster so far."""
    firsts: list[int] = []
    found: dict[int, list[int]] = {}
    for place, text in enumerate(texts):
        similar = {first: jaccard(shingles(text), shingles(texts[first])) for first in firsts}
        best = max(similar, key=similar.__getitem__, default=None)
        if best is not None and similar[best] >= THRESHOLD:
            found.setdefault(best, [best]).append(place)
        else:
            firsts.append(place)
    return list(found.values())


@settings(max_examples=60, deadline=None)
@given(st.lists(TEXT, max_size=12), st.data())
def test_what_is_reported_is_similar_for_sure(texts: list[str], data: st.DataObject) -> None:
    if texts:
        texts += [data.draw(st.sampled_from(texts)) + " today" for _ in range(4)]
    for first, *others in clusters(texts):
        for other in others:
            assert jaccard(shingles(texts[first]), shingles(texts[other])) >= THRESHOLD


def test_what_exact_comparison_finds_minhash_finds() -> None:
    long = [" ".join(WORDS[(i * k) % 15] + str(i * k % 7) for i in range(60)) for k in range(1, 40)]
    texts = [*long, *(f"{text} today" for text in long), *(f"now {text}" for text in long)]
    assert clusters(texts) == exactly(texts)
    assert len(clusters(texts)) > 30


def test_similarity_is_that_of_runs_of_three_words() -> None:
    assert shingles("The Bag, costs 45!") == {b"the bag costs", b"bag costs 45"}
    assert shingles("Yes.") == {b"yes"} and shingles(" … ") == set()
    assert jaccard({b"a", b"b"}, {b"b", b"c"}) == 1 / 3
    assert clusters(["", "", "!"]) == []


def test_scripts_without_spaces_are_compared_by_characters() -> None:
    one = "您的订单将在三个工作日内发货请您耐心等待谢谢您的支持和理解"
    assert clusters([one, one + "哦", "我们周一到周五营业欢迎光临本店选购自行车配件"]) == [[0, 1]]


def test_many_copies_cost_no_more_than_they_are() -> None:
    assert clusters(["the same words again and again"] * 3000) == [list(range(3000))]
