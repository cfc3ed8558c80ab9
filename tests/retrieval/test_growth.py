"""A store's index changes its kind as it grows; what is found stays right."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from retrieval.database import Database
from retrieval.embed import Embedder
from retrieval.filter import Filter
from retrieval.library import Library
from retrieval.parse import Parser
from retrieval.vectors import Generation

LARGE = 40  # vectors
WORDS = "returns refund warranty shipping days bag rack lamp price store".split()


@pytest.fixture
def open_library(
    database: Database, embedder: Embedder, parser: Parser, tmp_path: Path
) -> Callable[[], Library]:
    def opened() -> Library:
        return Library(
            database, embedder, folder=tmp_path / "generations", parser=parser, inverted_from=LARGE
        )

    return opened


def add(library: Library, numbers: range) -> None:
    for number in numbers:
        words = " ".join(WORDS[(number * step) % len(WORDS)] for step in range(1, 6))
        library.add(
            "vs",
            document_id=f"d{number}",
            name="",
            data=f"{words} {number}".encode(),
            attributes={"kind": "odd" if number % 2 else "even"},
        )


def dense(library: Library, query: str, **more) -> list[tuple[str, float]]:
    hits = library.search(["vs"], query, lexical=False, **more)
    return [(hit.passage.document_id, hit.dense) for hit in hits]


def brute_force(library: Library, embedder: Embedder, query: str) -> dict[str, float]:
    texts = {
        document.id: library.document_text("vs", document.id)
        for document in library.documents("vs")
    }
    rows = embedder.embed(list(texts.values()))
    scores = rows @ embedder.embed([query], queries=True)[0]
    return dict(zip(texts, scores.tolist(), strict=True))


def index_of(library: Library) -> Generation:
    return library._generations.get("vs", library.search_models.model("vs").embedder)


def test_a_store_that_grows_gets_an_approximate_index(open_library) -> None:
    library = open_library()
    library.stores.create("vs", owner="local")
    add(library, range(LARGE - 1))
    assert index_of(library).probes is None
    add(library, range(LARGE - 1, LARGE + 5))
    assert index_of(library).probes is None
    library.calibrations.tend()
    made = index_of(library)
    assert made.probes is not None and len(made) == LARGE + 5
    assert made.recall is not None and made.recall >= 0.98


@pytest.mark.parametrize("kind", [None, "odd"])
def test_a_large_store_finds_what_brute_force_finds(open_library, embedder, kind) -> None:
    library = open_library()
    library.stores.create("vs", owner="local")
    add(library, range(2 * LARGE))
    assert index_of(library).probes is not None
    only = Filter.parse({"type": "eq", "key": "kind", "value": kind}) if kind else None
    for query in ("refund bag 7", "warranty of a lamp"):
        right = brute_force(library, embedder, query)
        if kind:
            right = {key: score for key, score in right.items() if int(key[1:]) % 2}
        best = sorted(right.values(), reverse=True)[:10]
        found = [score for _, score in dense(library, query, k=10, filter=only)]
        assert np.mean([abs(a - b) < 1e-4 for a, b in zip(found, best, strict=True)]) >= (
            1.0 if kind else 0.9
        )


def test_a_large_store_follows_additions_and_deletions(open_library, embedder) -> None:
    library = open_library()
    library.stores.create("vs", owner="local")
    add(library, range(LARGE))
    assert index_of(library).probes is not None
    add(library, range(LARGE, LARGE + 1))
    assert f"d{LARGE}" in dict(dense(library, library.document_text("vs", f"d{LARGE}"), k=1))
    for number in range(0, LARGE, 2):
        library.remove("vs", f"d{number}")
    assert len(index_of(library)) == LARGE / 2 + 1
    found = dense(library, "refund", k=50)
    assert len(found) == LARGE / 2 + 1
    right = brute_force(library, embedder, "refund")
    assert all(score == pytest.approx(right[key], abs=1e-4) for key, score in found)


def test_a_large_index_is_loaded_as_it_was_saved(open_library) -> None:
    library = open_library()
    library.stores.create("vs", owner="local")
    add(library, range(LARGE))
    before = dense(library, "refund", k=20)
    library._generations.save()
    again = open_library()
    made = index_of(again)
    assert made.probes == index_of(library).probes
    assert dense(again, "refund", k=20) == before
