"""Ingestion against `SentenceTransformer.encode` alone on the same passages, in one run.

    python -m benchmarks.ingest [--documents data/demo/documents]

The reference is sentence-transformers at its defaults (fp32, batches of 32); ours is the whole
of `Library.add`: read, split, embed, SQLite, full text and index. The two take turns, and the
best of each counts. Prints a table and, last, one JSON line: `ratio` is the reference's time
divided by ours (more than 1: ingestion is faster), `cosine` compares the vectors.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from retrieval.database import Database
from retrieval.embed import Embedder
from retrieval.errors import HousewordRetrievalError
from retrieval.library import Library
from server.settings import Settings


def main(arguments: Sequence[str] | None = None) -> None:
    options = _options().parse_args(arguments)
    files = sorted(path for path in options.documents.rglob("*") if path.is_file())
    files = files[: options.files]
    embedder = Embedder(options.embedder)
    from sentence_transformers import SentenceTransformer

    reference = SentenceTransformer(str(embedder.folder), device="cpu")
    passages = ingest(files, embedder)[1]  # warms up, and says what the passages are
    reference.encode(passages[:64])
    embedder.embed(passages[:64])
    ours, theirs, alone = [], [], []
    for _ in range(options.rounds):
        theirs.append(timed(lambda: reference.encode(passages, normalize_embeddings=True)))
        alone.append(timed(lambda: embedder.embed(passages)))
        ours.append(ingest(files, embedder)[0])
    rows = reference.encode(passages, normalize_embeddings=True)
    cosines = (rows * embedder.embed(passages)).sum(axis=1)
    print(f"{len(files)} files, {len(passages)} passages, embedder in {embedder.numeric_mode}\n")
    for name, seconds in (
        ("SentenceTransformer.encode", min(theirs)),
        ("Embedder.embed", min(alone)),
        ("Library.add, all of it", min(ours)),
    ):
        print(f"{name:28} {seconds:7.2f} s {len(passages) / seconds:8.1f} passages/s")
    print(
        json.dumps(
            {
                "passages": len(passages),
                "ratio": round(min(theirs) / min(ours), 3),
                "ratio_embedding_only": round(min(theirs) / min(alone), 3),
                "cosine_mean": round(float(np.mean(cosines)), 5),
                "cosine_min": round(float(np.min(cosines)), 5),
                "passages_per_second": round(len(passages) / fmean(ours), 1),
            }
        )
    )


def ingest(files: Sequence[Path], embedder: Embedder) -> tuple[float, list[str]]:
    """Add every file to a new library: (seconds, what was embedded)."""
    with tempfile.TemporaryDirectory() as folder:
        database = Database(Path(folder) / "houseword.db")
        library = Library(database, embedder, folder=Path(folder) / "generations")
        library.stores.create("store", owner="benchmark")
        started = time.perf_counter()
        for number, path in enumerate(files):
            try:
                library.add(
                    "store",
                    document_id=str(number),
                    name=path.name,
                    data=path.read_bytes(),
                    max_tokens=Settings().passage_tokens,
                    overlap_tokens=Settings().overlap_tokens,
                )
            except HousewordRetrievalError as error:
                print(f"left out {path.name}: {error}")
        seconds = time.perf_counter() - started
        texts = [
            passage.text
            for document in library.documents("store")
            for passage in library.passages("store", document.id)
        ]
        library.close()
        database.close()
    return seconds, texts


def timed(work: Any) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="ingestion against SentenceTransformer.encode")
    parser.add_argument("--documents", type=Path, default=Path("data/demo/documents"))
    parser.add_argument("--files", type=int, default=None, help="only the first so many")
    parser.add_argument("--embedder", default="all-minilm-l6-v2")
    parser.add_argument("--rounds", type=int, default=2)
    return parser


if __name__ == "__main__":
    main()
