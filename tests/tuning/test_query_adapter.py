"""A query adapter learns what the documents' words are asked by, and never makes search worse."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tuning.errors import ExamplesError
from tuning.query_adapter import Asked, QueryAdapter, QueryAdapterConfig, fit, mrr

DIM, PASSAGES = 32, 120
SHORT = QueryAdapterConfig(rank=32, max_steps=60)


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def passages() -> np.ndarray:
    return unit(np.random.default_rng(0).normal(size=(PASSAGES, DIM)))


def turned(passages: np.ndarray, indexes: range, *, seed: int = 1) -> Asked:
    """Questions that stand where their passage would be after a rotation: it can be learned."""
    random_ = np.random.default_rng(seed)
    rotation, _ = np.linalg.qr(np.random.default_rng(7).normal(size=(DIM, DIM)))
    noise = 0.05 * random_.normal(size=(len(indexes), DIM))
    queries = unit(0.5 * passages[indexes] + passages[indexes] @ rotation + noise)
    return Asked(queries, [[index] for index in indexes])


def test_it_learns_to_find_what_the_base_misses(passages: np.ndarray) -> None:
    train, dev = turned(passages, range(80)), turned(passages, range(80, 100), seed=2)
    gate = turned(passages, range(100, 120), seed=3)
    made = fit(train, dev, passages, SHORT)
    assert made.adapter.changes and made.dev_after > made.dev_before + 0.1
    assert made.seconds < 15
    before = mrr(gate.queries, gate, passages)
    assert mrr(made.adapter(gate.queries), gate, passages) > before + 0.1
    assert np.allclose(np.linalg.norm(made.adapter(gate.queries), axis=1), 1, atol=1e-5)


def test_what_cannot_be_learned_leaves_the_questions_as_they_are(passages: np.ndarray) -> None:
    random_ = np.random.default_rng(5)
    # Train and dev contradict each other: the train questions belong to passages drawn by chance.
    queries = unit(passages[:60] + 0.1 * random_.normal(size=(60, DIM)))
    wrong = Asked(queries[:40], [[int(i)] for i in random_.permutation(PASSAGES)[:40]])
    dev = Asked(queries[40:], [[index] for index in range(40, 60)])
    made = fit(wrong, dev, passages, SHORT)
    assert made.dev_after >= made.dev_before == 1
    assert not made.adapter.changes
    assert np.allclose(made.adapter(queries), queries, atol=1e-6)


def test_it_is_kept_under_its_digest(passages: np.ndarray, tmp_path: Path) -> None:
    made = fit(turned(passages, range(80)), turned(passages, range(80, 100)), passages, SHORT)
    made.adapter.save(tmp_path / "adapter.safetensors")
    again = QueryAdapter.load(tmp_path / "adapter.safetensors")
    assert again.digest == made.adapter.digest
    assert np.array_equal(again(passages), made.adapter(passages))
    other = QueryAdapter(again.down, again.up, again.scale / 2)
    assert other.digest != again.digest


def test_the_same_data_give_the_same_adapter(passages: np.ndarray) -> None:
    data = turned(passages, range(80)), turned(passages, range(80, 100))
    config = QueryAdapterConfig(max_steps=30, max_seconds=60)
    assert (
        fit(*data, passages, config).adapter.digest == fit(*data, passages, config).adapter.digest
    )


def test_many_passages_are_drawn_from(passages: np.ndarray) -> None:
    config = replace(SHORT, max_passages=50)
    made = fit(turned(passages, range(80)), turned(passages, range(80, 100)), passages, config)
    assert made.dev_after > made.dev_before


def test_a_question_without_a_passage_and_too_few_questions_are_refused(
    passages: np.ndarray,
) -> None:
    with pytest.raises(ExamplesError, match="no passage"):
        Asked(passages[:1], [[]])
    with pytest.raises(ValueError, match="1 queries, 2 positives"):
        Asked(passages[:1], [[1], [2]])
    nothing = Asked(passages[:0], [])
    with pytest.raises(ExamplesError, match="too few"):
        fit(nothing, turned(passages, range(5)), passages)
