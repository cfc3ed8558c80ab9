from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.vectors import INDEX_FILE, MANIFEST_FILE, Generation


def unit_rows(count: int, *, seed: int, dimension: int = 8) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(count, dimension)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def brute_force(
    ids: list[int], rows: np.ndarray, query: np.ndarray, allowed: set[int] | None
) -> dict[int, float]:
    best: dict[int, float] = {}
    for passage_id, row in zip(ids, rows, strict=True):
        if allowed is None or passage_id in allowed:
            best[passage_id] = max(best.get(passage_id, -2.0), float(row @ query))
    return best


@given(
    st.lists(st.integers(1, 12), min_size=1, max_size=30),
    st.integers(1, 15),
    st.none() | st.sets(st.integers(1, 15), max_size=6),
    st.sets(st.integers(1, 12), max_size=4),
    st.integers(0, 1000),
)
def test_search_equals_brute_force_over_the_best_windows(
    ids: list[int], k: int, allowed: set[int] | None, removed: set[int], seed: int
) -> None:
    rows, query = unit_rows(len(ids), seed=seed), unit_rows(1, seed=seed + 1)[0]
    generation = Generation(8, fingerprint="f")
    generation.add(np.array(ids), rows)
    generation.remove(sorted(removed))
    kept = [index for index, passage_id in enumerate(ids) if passage_id not in removed]
    expected = brute_force([ids[i] for i in kept], rows[kept], query, allowed)
    found = generation.search(query, k, ids=None if allowed is None else sorted(allowed))
    best = sorted(expected.values(), reverse=True)[:k]
    assert [score for _, score in found] == pytest.approx(best, abs=1e-5)
    assert all(score == pytest.approx(expected[key], abs=1e-5) for key, score in found)


def test_equal_scores_are_in_the_order_of_their_ids() -> None:
    generation = Generation(8, fingerprint="f")
    row = unit_rows(1, seed=0)
    generation.add(np.array([7, 3, 5]), np.repeat(row, 3, axis=0))
    assert [key for key, _ in generation.search(row[0], 3)] == [3, 5, 7]


def test_an_empty_generation_finds_nothing() -> None:
    generation = Generation(8, fingerprint="f")
    assert generation.search(unit_rows(1, seed=0)[0], 5) == []
    assert generation.search(unit_rows(1, seed=0)[0], 5, ids=[1]) == []


@pytest.mark.parametrize("rows", [np.ones((1, 9)), np.full((1, 8), np.nan)])
def test_rows_of_another_dimension_or_not_finite_are_refused(rows: np.ndarray) -> None:
    with pytest.raises(ValueError):
        Generation(8, fingerprint="f").add(np.array([1]), rows)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    generation = Generation(8, fingerprint="f")
    generation.add(np.arange(5), unit_rows(5, seed=3))
    generation.save(tmp_path, revision="r")
    return tmp_path


def load(folder: Path, **other: object) -> Generation | None:
    wanted: dict = {"dimension": 8, "fingerprint": "f", "revision": "r", **other}
    return Generation.load(folder, **wanted)


def test_what_is_saved_is_loaded_and_can_change(saved: Path) -> None:
    generation = load(saved)
    assert generation is not None and len(generation) == 5
    query = unit_rows(5, seed=3)[2]
    assert generation.search(query, 1)[0][0] == 2
    generation.remove([2])
    assert len(generation) == 4
    assert not list(saved.glob("*.part"))


@pytest.mark.parametrize("other", [{"fingerprint": "g"}, {"revision": "s"}, {"dimension": 9}])
def test_another_space_revision_or_dimension_is_not_loaded(saved: Path, other: dict) -> None:
    assert load(saved, **other) is None


@pytest.mark.parametrize("damage", ["absent", "torn", "flipped", "no manifest", "bad manifest"])
def test_a_damaged_generation_is_not_loaded(saved: Path, damage: str) -> None:
    index, manifest = saved / INDEX_FILE, saved / MANIFEST_FILE
    content = bytearray(index.read_bytes())
    if damage == "absent":
        index.unlink()
    elif damage == "torn":
        index.write_bytes(content[:-7])
    elif damage == "flipped":
        content[-9] ^= 1
        index.write_bytes(content)
    elif damage == "no manifest":
        manifest.unlink()
    else:
        manifest.write_text(json.dumps([1]))
    assert load(saved) is None


# -- the approximate index


class Kept:
    """The rows as the store would keep them: `Kept` is the `rows_of` of a generation."""

    def __init__(self, ids: np.ndarray, rows: np.ndarray) -> None:
        self.ids, self.rows = ids, rows

    def __call__(self, wanted: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        chosen = np.isin(self.ids, np.asarray(wanted))
        return self.ids[chosen], self.rows[chosen]

    def remove(self, gone: list[int]) -> None:
        stays = ~np.isin(self.ids, gone)
        self.ids, self.rows = self.ids[stays], self.rows[stays]

    def add(self, ids: np.ndarray, rows: np.ndarray) -> None:
        self.ids, self.rows = np.concatenate([self.ids, ids]), np.concatenate([self.rows, rows])

    def best(self, query: np.ndarray, k: int, allowed: set[int] | None = None) -> list[float]:
        scores = brute_force(self.ids.tolist(), self.rows, query, allowed)
        return sorted(scores.values(), reverse=True)[:k]


def clustered_rows(count: int, *, seed: int, dimension: int = 32) -> np.ndarray:
    chance = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(20, dimension))
    rows = centres[chance.integers(20, size=count)] + 0.7 * chance.normal(size=(count, dimension))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def inverted_of(count: int = 4000) -> tuple[Generation, Kept]:
    """A large store: every fourth passage has two windows."""
    ids = np.sort(np.concatenate([np.arange(count), np.arange(0, count, 4)]))
    kept = Kept(ids, clustered_rows(len(ids), seed=1))
    generation = Generation.build(
        ids, kept.rows, dimension=32, fingerprint="f", rows_of=kept, inverted_from=1000
    )
    return generation, kept


def scores(found: list[tuple[int, float]]) -> list[float]:
    return [score for _, score in found]


def test_a_small_generation_is_exact_and_a_large_one_is_not() -> None:
    rows = clustered_rows(1000, seed=1)
    for count, probes in ((999, False), (1000, True)):
        kept = Kept(np.arange(count), rows[:count])
        made = Generation.build(
            kept.ids, kept.rows, dimension=32, fingerprint="f", rows_of=kept, inverted_from=1000
        )
        assert len(made) == count and (made.probes is not None) is probes


def test_the_recall_that_is_told_is_reached() -> None:
    generation, kept = inverted_of()
    assert generation.recall is not None and generation.recall >= 0.98
    shares = []
    for query in clustered_rows(200, seed=2):
        found, right = generation.search(query, 10), kept.best(query, 10)
        shares.append(len([s for s in scores(found) if s >= right[-1] - 1e-6]) / 10)
    assert np.mean(shares) >= 0.97


def test_scores_of_an_approximate_index_are_exact() -> None:
    generation, kept = inverted_of()
    query = clustered_rows(1, seed=2)[0]
    exact = brute_force(kept.ids.tolist(), kept.rows, query, None)
    found = generation.search(query, 50)
    assert len(found) == 50 and scores(found) == sorted(scores(found), reverse=True)
    assert all(score == pytest.approx(exact[key], abs=1e-5) for key, score in found)


@pytest.mark.parametrize("share", [0.001, 0.05, 0.4, 0.9, 1.0])
def test_filters_of_an_approximate_index_equal_brute_force(share: float) -> None:
    generation, kept = inverted_of()
    chance = np.random.default_rng(5)
    allowed = {int(key) for key in np.unique(kept.ids) if chance.random() < share} | {9999}
    for query in clustered_rows(20, seed=3):
        found = generation.search(query, 15, ids=sorted(allowed))
        assert scores(found) == pytest.approx(kept.best(query, 15, allowed), abs=1e-5)
        assert {key for key, _ in found} <= allowed


def test_an_approximate_index_forgets_and_learns() -> None:
    generation, kept = inverted_of()
    gone = list(range(0, 4000, 3))
    generation.remove(gone)
    kept.remove(gone)
    assert len(generation) == len(kept.ids)
    new = unit_rows(5, seed=7, dimension=32)
    generation.add(np.arange(5000, 5005), new)
    kept.add(np.arange(5000, 5005), new)
    assert [generation.search(row, 1)[0][0] for row in new] == [5000, 5001, 5002, 5003, 5004]
    for query in clustered_rows(20, seed=4):
        assert not {key for key, _ in generation.search(query, 30)} & set(gone)
        found = generation.search(query, 10, ids=range(5005))
        assert scores(found) == pytest.approx(kept.best(query, 10), abs=1e-5)


def test_lists_that_deletions_have_emptied_do_not_shorten_a_result() -> None:
    generation, kept = inverted_of()
    query = clustered_rows(1, seed=2)[0]
    gone = [key for key, _ in generation.search(query, 3000)]
    generation.remove(gone)
    kept.remove(gone)
    assert len(generation.search(query, 10)) == 10


def test_an_approximate_index_is_saved_with_its_recall(tmp_path: Path) -> None:
    generation, kept = inverted_of()
    generation.save(tmp_path, revision="r")
    manifest = json.loads((tmp_path / MANIFEST_FILE).read_text())
    assert (manifest["recall@10"], manifest["probes"]) == (generation.recall, generation.probes)
    loaded = load(tmp_path, dimension=32, rows_of=kept)
    assert loaded is not None and loaded.recall == generation.recall
    query = clustered_rows(1, seed=2)[0]
    assert loaded.search(query, 10) == generation.search(query, 10)
    assert load(tmp_path, dimension=32) is None, "without the rows it could not tell scores"


def test_a_generation_says_when_it_has_outgrown_its_kind() -> None:
    generation, kept = inverted_of()
    assert not generation.is_outgrown(1000)
    generation.add(np.arange(5000, 10_000), clustered_rows(5000, seed=8))
    assert generation.is_outgrown(1000)
    small = Generation(32, fingerprint="f", rows_of=kept)
    small.add(np.arange(1000), clustered_rows(1000, seed=1))
    assert small.is_outgrown(1000) and not small.is_outgrown(1001)
