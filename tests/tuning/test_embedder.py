"""An embedder learns pairs, keeps the base where that is better, and mines with a margin."""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tuning.embedder import (
    STOCK,
    EmbedderConfig,
    Triple,
    _batches,
    _no_negatives,
    _sizes,
    mine,
    train_embedder,
)
from tuning.errors import Diverged, ExamplesError

PAIRS = [
    ("how long are returns taken", "returns are taken for days"),
    ("what is the price of a bag", "a bag is in the store"),
    ("is the lamp green", "the lamp is green and blue"),
    ("when is the store open", "the hours of the store are open"),
    ("does the tent keep off rain", "the tent is for rain"),
    ("what colour is the house", "the house is red"),
    ("is shipping closed", "shipping and order hours are closed"),
    ("what is the rack for", "the rack is for bags"),
]


@pytest.fixture
def model(tiny_embedder: Path) -> Iterator[Any]:
    from sentence_transformers import SentenceTransformer

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield SentenceTransformer(str(tiny_embedder), device="cpu")


def rows_of(model: Any, texts: list[str]) -> np.ndarray:
    rows: np.ndarray = model.encode(texts, normalize_embeddings=True, show_progress_bar=False)
    return rows


@pytest.fixture
def triples(model: Any) -> list[Triple]:
    queries = rows_of(model, [query for query, _ in PAIRS])
    passages = rows_of(model, [passage for _, passage in PAIRS])
    wrong = [PAIRS[(n + 1) % len(PAIRS)][1] for n in range(len(PAIRS))]
    return [
        Triple(query, passage, (wrong[n],), queries[n], passages[n])
        for n, (query, passage) in enumerate(PAIRS)
    ]


def found(model: Any) -> float:
    """The share of questions that find their passage first."""
    queries = rows_of(model, [query for query, _ in PAIRS])
    passages = rows_of(model, [passage for _, passage in PAIRS])
    return float(np.mean((queries @ passages.T).argmax(1) == np.arange(len(PAIRS))))


@pytest.mark.parametrize("guided", [True, False])
def test_pairs_are_learned(model: Any, triples: list[Triple], guided: bool) -> None:
    config = EmbedderConfig(learning_rate=5e-3, batch=8, max_epochs=40, guided=guided)
    losses: list[float] = []
    made = train_embedder(
        model, triples, config, dev=found, report=lambda step: losses.append(step["loss"])
    )
    assert made.steps == 40 == len(losses)
    assert made.mix > 0 and found(model) == made.dev_after > made.dev_before
    assert losses[-1] < losses[0]


def test_where_nothing_is_better_the_base_stays(model: Any, triples: list[Triple]) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    config = EmbedderConfig(learning_rate=1e-3, batch=4, max_epochs=1)
    made = train_embedder(model, triples, config, dev=lambda _: 0.5)
    assert (made.mix, made.dev_before, made.dev_after) == (0.0, 0.5, 0.5)
    assert all((before[name] == value).all() for name, value in model.state_dict().items())


def test_the_stock_recipe_keeps_what_it_has_learned(model: Any, triples: list[Triple]) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    made = train_embedder(model, triples, STOCK, dev=None)
    assert made.mix == 1
    assert any((before[name] != value).any() for name, value in model.state_dict().items())


def test_the_first_dimensions_learn_to_do_alone(model: Any, triples: list[Triple]) -> None:
    def short(model: Any) -> float:
        queries, passages = (rows_of(model, [p[side] for p in PAIRS])[:, :8] for side in (0, 1))
        queries, passages = (x / np.linalg.norm(x, axis=1)[:, None] for x in (queries, passages))
        return float(np.mean((queries @ passages.T).argmax(1) == np.arange(len(PAIRS))))

    config = EmbedderConfig(learning_rate=5e-3, batch=8, max_epochs=40, least_dimensions=8)
    made = train_embedder(model, triples, config, dev=short)
    assert made.dev_after > made.dev_before
    assert _sizes(384, 96) == [384, 192, 96] and _sizes(384, None) == [384]


def test_lora_trains_few_weights_and_is_folded_into_the_model(
    model: Any, triples: list[Triple]
) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    config = EmbedderConfig(learning_rate=5e-3, batch=8, max_epochs=40, lora_rank=4)
    made = train_embedder(model, triples, config, dev=found)
    assert made.mix > 0 and found(model) == made.dev_after > made.dev_before
    after = model.state_dict()
    assert after.keys() == before.keys()
    changed = {name for name in before if (before[name] != after[name]).any()}
    assert changed and not any("embeddings" in name or "norm" in name.lower() for name in changed)


def test_the_time_is_kept(model: Any, triples: list[Triple]) -> None:
    ticks = iter(range(1000))
    config = EmbedderConfig(batch=4, max_epochs=50, max_minutes=0.2)
    made = train_embedder(model, triples, config, dev=None, clock=lambda: float(next(ticks)))
    assert 1 < made.steps < 12 and made.seconds <= 13


def test_a_rate_that_breaks_the_model_is_told(model: Any, triples: list[Triple]) -> None:
    config = EmbedderConfig(learning_rate=1e30, clip=1e30, batch=4, max_epochs=5)
    with pytest.raises(Diverged, match="step"):
        train_embedder(model, triples, config, dev=None)


def test_no_pairs_are_refused(model: Any) -> None:
    with pytest.raises(ExamplesError, match="no question"):
        train_embedder(model, [], EmbedderConfig(), dev=None)


def test_mined_negatives_are_near_but_never_near_the_right_one() -> None:
    passages = np.eye(4, dtype=np.float32)
    query = np.array([[0.7, 0.69, 0.15, 0.1]], dtype=np.float32)
    assert mine(query, passages, [[0]], count=5) == [[2, 3]]  # 1 is too near to be surely wrong
    assert mine(query, passages, [[0]], count=1) == [[2]]
    assert mine(query, passages, [[0, 2]], count=5) == [[3]]


def plain(number: int, angle: float, **more: Any) -> Triple:
    row = np.array([np.cos(angle), np.sin(angle)], dtype=np.float32)
    return Triple(f"q{number}", f"p{number}", (), row, row, **more)


def test_a_batch_holds_groups_of_questions_that_are_alike() -> None:
    triples = [plain(number, (number % 4) + 0.01 * number) for number in range(16)]
    config = EmbedderConfig(batch=8, group=4)
    batches = list(_batches(triples, config, random.Random(0)))
    assert sorted(triple.query for batch in batches for triple in batch) == sorted(
        triple.query for triple in triples
    )
    for batch in batches:
        for start in (0, 4):
            assert len({int(triple.query[1:]) % 4 for triple in batch[start : start + 4]}) == 1


@pytest.mark.parametrize("count", [1, 2, 7, 9])
def test_every_question_is_in_one_batch(count: int) -> None:
    triples = [plain(number, number) for number in range(count)]
    for group in (1, 3, 8):
        config = EmbedderConfig(batch=4, group=group)
        seen = [t.query for batch in _batches(triples, config, random.Random(1)) for t in batch]
        assert len(seen) == len(set(seen)) and count - len(seen) <= 1


def test_what_may_be_right_is_no_negative() -> None:
    batch = [
        plain(0, 0.0, others=frozenset({"p2"})),
        plain(1, 1.5),
        plain(2, 3.0),
        Triple("q3", "p1", (), plain(3, 0.0).query_row, plain(3, 0.1).passage_row),
    ]
    known = _no_negatives(batch, ["p1", "p9"], EmbedderConfig(guided=False)).tolist()
    assert known[0][:4] == [False, False, True, False], "another passage that answers it"
    assert known[1][:4] == [False, False, False, True], "the same passage"
    assert [row[4] for row in known] == [False, True, False, True], "another's hard negative"
    assert not any(row[5] for row in known)
    wrong = Triple("q4", "p4", (), plain(4, 0.0).query_row, plain(4, 2.0).passage_row)
    guided = _no_negatives([batch[0], wrong], [], EmbedderConfig(margin=0.1)).tolist()
    assert guided[1] == [True, False], "the base likes it much better than the right one"
    assert not _no_negatives([batch[0], wrong], [], EmbedderConfig(margin=3.0)).any()
