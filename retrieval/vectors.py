"""A generation: the FAISS index of one store under one embedder's fingerprint.

It is a cache. The truth is in SQLite, so whatever is missing, torn or foreign on the disk is
answered with None by `Generation.load`, and the library builds a new one from the stored
vectors. It knows neither texts nor SQL; ids are passage ids, and a passage that was embedded
in several windows has its id several times and counts by its best window.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

logger = logging.getLogger(__name__)

INDEX_FILE = "index.faiss"
MANIFEST_FILE = "manifest.json"

Rows = NDArray[np.float32]  # (n, dim) float32, unit rows
Ids = NDArray[np.int64]  # (n,)


class Generation:
    """Exact inner-product search over unit rows; safe to use from any thread."""

    def __init__(self, dimension: int, *, fingerprint: str) -> None:
        self.dimension = dimension
        self.fingerprint = fingerprint
        # FAISS releases the GIL, so an unguarded search beside an add is a real race.
        self._lock = threading.Lock()
        self._index: Any = faiss.IndexIDMap2(faiss.IndexFlatIP(dimension))

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def add(self, ids: Ids, vectors: Rows) -> None:
        """Add one row for each id; an id may occur more than once."""
        rows = np.ascontiguousarray(vectors, dtype=np.float32)
        self._check(rows)
        if len(ids) != len(rows):
            raise ValueError(f"{len(ids)} ids for {len(rows)} vectors")
        if len(rows):
            with self._lock:
                self._index.add_with_ids(rows, np.asarray(ids, dtype=np.int64))

    def remove(self, ids: Sequence[int]) -> None:
        """Remove every row of these passages; unknown ids are ignored."""
        if ids:
            with self._lock:
                self._index.remove_ids(np.asarray(ids, dtype=np.int64))

    def search(
        self, vector: NDArray[np.float32], k: int, *, ids: Sequence[int] | None = None
    ) -> list[tuple[int, float]]:
        """Return the k passages closest to `vector` as (id, cosine), best first.

        With `ids`, only those are considered. Equal scores are in the order of their ids.
        """
        query = np.ascontiguousarray(vector, dtype=np.float32).reshape(1, -1)
        self._check(query)
        if ids is not None and len(ids) == 0:
            return []
        with self._lock:
            rows = int(self._index.ntotal)
            fetch = min(k, rows)
            while fetch:
                best = self._search_rows(query, fetch, ids)
                # Several windows of one passage may have taken places of other passages.
                if len(best) >= k or fetch == rows:
                    break
                fetch = min(rows, fetch * 4)
        return sorted(best.items(), key=lambda item: (-item[1], item[0]))[:k] if rows else []

    def save(self, folder: Path, *, revision: str) -> None:
        """Write the index aside, then rename; the manifest goes last and makes it valid."""
        with self._lock:
            content = faiss.serialize_index(self._index).tobytes()
            count = len(self)
        manifest = {
            "count": count,
            "dimension": self.dimension,
            "fingerprint": self.fingerprint,
            "revision": revision,
            "sha256": hashlib.sha256(content).hexdigest(),
        }
        folder.mkdir(parents=True, exist_ok=True)
        (folder / MANIFEST_FILE).unlink(missing_ok=True)
        _write_aside(folder / INDEX_FILE, content)
        _write_aside(folder / MANIFEST_FILE, json.dumps(manifest).encode())

    @classmethod
    def load(
        cls, folder: Path, *, dimension: int, fingerprint: str, revision: str
    ) -> Generation | None:
        """Read what `save` wrote, or None if it is not exactly the one asked for."""
        try:
            manifest = json.loads((folder / MANIFEST_FILE).read_bytes())
            wanted = {"dimension": dimension, "fingerprint": fingerprint, "revision": revision}
            if {key: manifest.get(key) for key in wanted} != wanted:
                return None
            content = (folder / INDEX_FILE).read_bytes()
            if hashlib.sha256(content).hexdigest() != manifest["sha256"]:
                logger.warning("the index in %s is damaged; it is built again", folder)
                return None
            index = faiss.deserialize_index(np.frombuffer(content, dtype=np.uint8))
        except (OSError, ValueError, KeyError, AttributeError, RuntimeError) as error:
            if not isinstance(error, FileNotFoundError):
                logger.warning("the index in %s cannot be read; it is built again", folder)
            return None
        if index.ntotal != manifest["count"] or index.d != dimension:
            return None
        generation = cls(dimension, fingerprint=fingerprint)
        generation._index = index
        return generation

    def _search_rows(self, query: Rows, fetch: int, ids: Sequence[int] | None) -> dict[int, float]:
        """Search `fetch` rows under the lock and keep each passage's best."""
        parameters = None
        if ids is not None:
            selector = faiss.IDSelectorBatch(np.asarray(ids, dtype=np.int64))
            parameters = faiss.SearchParameters(sel=selector)  # type: ignore[call-arg]
        scores, found = self._index.search(query, fetch, params=parameters)
        best: dict[int, float] = {}
        for passage_id, score in zip(found[0].tolist(), scores[0].tolist(), strict=True):
            if passage_id != -1:  # FAISS pads a short result with -1
                best.setdefault(passage_id, score)
        return best

    def _check(self, rows: Rows) -> None:
        # FAISS checks by `assert`, which vanishes under python -O.
        if rows.ndim != 2 or rows.shape[1] != self.dimension:
            raise ValueError(f"expected rows of {self.dimension} numbers, got shape {rows.shape}")
        if not np.isfinite(rows).all():
            raise ValueError("a vector holds a number that is not finite")


def _write_aside(path: Path, content: bytes) -> None:
    aside = path.with_name(path.name + ".part")
    with aside.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
