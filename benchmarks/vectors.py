"""How fast is search in a large store, and how much of the exact result does it find?

    python -m benchmarks.vectors [--rows 1000000] [--passages 10000] [--queries 300]

The dense part: a store of `--rows` vectors of 384 dimensions, a seeded mixture of 1,000 clusters,
in a real database; queries from the same mixture, compared with brute force. Then a search end to
end (query embedding, dense, words, fusion, reading the hits) over `--passages` passages made of
the demo's sentences, with seeded vectors in place of their own. Prints a table and, last, one JSON
line.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import quantiles
from typing import Any

import faiss
import numpy as np
import psutil
from numpy.typing import NDArray

from retrieval.database import Database
from retrieval.embed import Embedder
from retrieval.generations import Generations
from retrieval.library import Library
from retrieval.migrations import MIGRATIONS

DIMENSION, CLUSTERS = 384, 1_000
SPREAD = 0.7  # a row's distance from its centre, which has length 1
RECALL_AT = 10
ROWS_AT_ONCE = 50_000
DEMO = Path("data/demo")

Rows = NDArray[np.float32]  # (n, dim) float32, unit rows


class Mixture:
    """Unit rows around seeded centres."""

    def __init__(self, dimension: int, seed: int = 0) -> None:
        self._chance = np.random.default_rng(seed)
        centres = self._chance.normal(size=(CLUSTERS, dimension)).astype(np.float32)
        self._centres = centres / np.linalg.norm(centres, axis=1, keepdims=True)

    def rows(self, count: int) -> Rows:
        chosen = self._centres[self._chance.integers(CLUSTERS, size=count)]
        noise = self._chance.standard_normal(chosen.shape, dtype=np.float32)
        rows = chosen + noise * np.float32(SPREAD / chosen.shape[1] ** 0.5)
        unit: Rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return unit


class SeededPassages:
    """An embedder whose questions are embedded as ever and whose passages get seeded rows."""

    def __init__(self, embedder: Embedder) -> None:
        self.fingerprint, self.dimension = embedder.fingerprint, embedder.dimension
        self.count_tokens, self.embed = embedder.count_tokens, embedder.embed
        self._mixture = Mixture(embedder.dimension)

    def embed_windows(
        self, texts: Sequence[str], *, progress: Callable[[int, int], None] | None = None
    ) -> tuple[NDArray[np.int64], Rows]:
        return np.arange(len(texts)), self._mixture.rows(len(texts))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="latency and recall of search")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--passages", type=int, default=10_000)
    parser.add_argument("--queries", type=int, default=300)
    options = parser.parse_args(arguments)
    report: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        if options.passages:
            report["end_to_end"] = measure_search(
                Path(folder) / "small", options.passages, options.queries
            )
        if options.rows:
            report["dense"] = measure_dense(Path(folder) / "large", options.rows, options.queries)
    for name, figures in report.items():
        print(f"{name:12}" + "  ".join(f"{key} {value}" for key, value in figures.items()))
    print(json.dumps(report))


def measure_search(folder: Path, passages: int, queries: int) -> dict[str, Any]:
    """Latency of `Library.search` over that many passages, in milliseconds."""
    sentences = [
        line.strip()
        for path in sorted((DEMO / "documents").glob("*.md"))
        for line in re.split(r"(?<=[.!?])\s+|\n+", path.read_text())
        if len(line.split()) > 4
    ]
    asked = [json.loads(line)["question"] for line in (DEMO / "questions.jsonl").open()]
    chance = random.Random(0)
    database = Database(folder / "houseword.db")
    library = Library(database, SeededPassages(Embedder()), folder=folder)
    library.stores.create("store", owner="benchmark")
    while (there := library.stores.get("store").passages) < passages:
        text = "\n\n".join(" ".join(chance.sample(sentences, 3)) for _ in range(100))
        library.add("store", document_id=f"d{there}", name="", data=text.encode(), max_tokens=64)
    taken = _times(
        lambda query: library.search(["store"], query, k=10),
        [chance.choice(asked) for _ in range(queries)],
    )
    library.close()
    database.close()
    return {"passages": there, **taken}


def measure_dense(folder: Path, count: int, queries: int) -> dict[str, Any]:
    """Latency and recall@10 of one generation's search, and what it takes to build."""
    mixture = Mixture(DIMENSION)
    database = Database(folder / "houseword.db")
    database.migrate("retrieval", MIGRATIONS)
    rows = mixture.rows(count)
    embedder = SeededPassages(Embedder())
    _fill(database, rows, embedder.fingerprint)
    asked = mixture.rows(queries)
    _, right = faiss.knn(asked, rows, RECALL_AT, metric=faiss.METRIC_INNER_PRODUCT)
    del rows
    before = psutil.Process().memory_info().rss
    began = time.perf_counter()
    generations = Generations(database, folder)
    generation = generations.get("store", embedder)
    built = time.perf_counter() - began
    # What was needed to build it is given back by the allocator only in part: saved and loaded
    # is what a restarted server holds.
    generations.save()
    size = sum(path.stat().st_size for path in folder.rglob("index.faiss"))
    recall = np.mean(
        [
            len({key - 1 for key, _ in generation.search(query, RECALL_AT)} & set(own.tolist()))
            / RECALL_AT
            for query, own in zip(asked, right, strict=True)
        ]
    )
    taken = _times(lambda query: generation.search(query, 100), list(asked))
    figures = {
        "rows": count,
        **taken,
        "recall@10": round(float(recall), 4),
        "recall_told": generation.recall,
        "probes": generation.probes,
        "build_seconds": round(built, 1),
        "index_mb": round(size / 1e6),
        "grown_mb": round((psutil.Process().memory_info().rss - before) / 1e6),
    }
    database.close()
    return figures


def _fill(database: Database, rows: Rows, fingerprint: str) -> None:
    """One passage without text for each row, in one store."""

    def fill(connection: Any) -> None:
        connection.execute(
            "INSERT INTO stores (id, owner, name, metadata, created_at, last_active_at, revision) "
            "VALUES ('store', 'benchmark', '', '{}', 0, 0, 'r')"
        )
        connection.execute(
            "INSERT INTO documents VALUES ('store', 'd', '', '', 0, '', 0, '{}', NULL, 0, '')"
        )
        for start in range(0, len(rows), ROWS_AT_ONCE):
            part = range(start, min(start + ROWS_AT_ONCE, len(rows)))
            connection.executemany(
                "INSERT INTO passages VALUES (?, 'store', 'd', ?, 0, 0, NULL, NULL, 0, '', '', '')",
                [(number + 1, number) for number in part],
            )
            connection.executemany(
                "INSERT INTO vectors VALUES (?, ?, 0, ?)",
                [(number + 1, fingerprint, rows[number].tobytes()) for number in part],
            )

    database.write(fill)


def _times(search: Callable[[Any], Any], queries: Sequence[Any]) -> dict[str, float]:
    """Milliseconds of the clock, and of the processor: on a shared machine these two differ."""
    for query in queries[:5]:
        search(query)
    taken, worked = [], []
    for query in queries:
        began, busy = time.perf_counter(), time.process_time()
        search(query)
        taken.append(1000 * (time.perf_counter() - began))
        worked.append(1000 * (time.process_time() - busy))
    cuts = quantiles(taken, n=20)
    return {
        "p50_ms": round(cuts[9], 2),
        "p95_ms": round(cuts[18], 2),
        "p50_processor_ms": round(quantiles(worked, n=20)[9], 2),
    }


if __name__ == "__main__":
    main()
