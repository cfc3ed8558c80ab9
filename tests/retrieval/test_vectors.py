from __future__ import annotations

import json
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
