"""A generation: the FAISS index of one store under one embedder's fingerprint.

It is a cache. The truth is in SQLite, so whatever is missing, torn or foreign on the disk is
answered with None by `Generation.load`, and the library builds a new one from the stored
vectors. It knows neither texts nor SQL; ids are passage ids, and a passage that was embedded
in several windows has its id several times and counts by its best window. Exact while it is
small; from `INVERTED_FROM` rows on the lists of `inverted.py` offer candidates, and the rows
themselves decide. Read `search` first.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from retrieval import inverted

logger = logging.getLogger(__name__)

INDEX_FILE = "index.faiss"
MANIFEST_FILE = "manifest.json"
INVERTED_FROM = 200_000  # rows
# So few passages are compared row by row rather than looked for in the lists.
COMPARED_AT_ONCE = 1_000
FLOAT_ERROR = 1e-5

Rows = NDArray[np.float32]  # (n, dim) float32, unit rows
Ids = NDArray[np.int64]  # (n,)
RowsOf = Callable[[Sequence[int]], tuple[Ids, Rows]]


class Generation:
    """Inner-product search over unit rows; safe to use from any thread.

    `rows_of` returns (passage ids, rows) of passages, all their windows: an approximate index
    keeps rounded rows only. With `ids` a search is exact always; scores are exact always.
    `probes` and `recall` tell of the approximate index, as measured when it was built: None
    where the index is exact.
    """

    def __init__(self, dimension: int, *, fingerprint: str, rows_of: RowsOf | None = None) -> None:
        self.dimension = dimension
        self.fingerprint = fingerprint
        self.probes: int | None = None
        self.recall: float | None = None
        self._rows_of = rows_of
        self._error = 0.0  # the most by which a score of the index is off
        self._built_from = 0  # rows
        # FAISS releases the GIL, so an unguarded search beside an add is a real race.
        self._lock = threading.Lock()
        self._index: Any = faiss.IndexIDMap2(faiss.IndexFlatIP(dimension))

    @classmethod
    def build(
        cls,
        ids: Ids,
        vectors: Rows,
        *,
        dimension: int,
        fingerprint: str,
        rows_of: RowsOf | None = None,
        inverted_from: int = INVERTED_FROM,
    ) -> Generation:
        """Build the generation of these rows: exact, or approximate from `inverted_from` on."""
        generation = cls(dimension, fingerprint=fingerprint, rows_of=rows_of)
        if rows_of is None or len(ids) < inverted_from:
            if len(ids):
                generation.add(ids, vectors)
            return generation
        generation._check(vectors)
        made = inverted.build(np.asarray(ids, dtype=np.int64), vectors)
        generation._index, generation._error = made.index, made.error
        generation.probes, generation.recall = made.probes, made.recall
        generation._built_from = len(ids)
        logger.info(
            "%d rows in %d lists; %d are read, for a recall@10 of %.3f",
            len(ids),
            made.index.nlist,
            made.probes,
            made.recall,
        )
        return generation

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def is_outgrown(self, inverted_from: int = INVERTED_FROM) -> bool:
        """Whether a generation built anew would serve better: it is too large for its kind."""
        if self.probes is None:
            return self._rows_of is not None and len(self) >= inverted_from
        return len(self) >= 2 * self._built_from

    def add(self, ids: Ids, vectors: Rows) -> None:
        """Add one row for each id; an id may occur more than once."""
        rows = np.ascontiguousarray(vectors, dtype=np.float32)
        self._check(rows)
        if len(ids) != len(rows):
            raise ValueError(f"{len(ids)} ids for {len(rows)} vectors")
        if len(rows):
            with self._lock:
                self._index.add_with_ids(rows, np.asarray(ids, dtype=np.int64))
                if self.probes is not None:
                    self._error = max(self._error, inverted.rounding_error(self._index, rows))

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
        if not len(self) or (ids is not None and len(ids) == 0):
            return []
        if self.probes is None:
            best = self._search_exact(query, k, ids)
        elif ids is None:
            best = self._search_lists(query, k)
        else:
            best = self._search_filtered(query, k, ids)
        return sorted(best.items(), key=lambda item: (-item[1], item[0]))[:k]

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
        if self.probes is not None:
            manifest |= {"probes": self.probes, "recall@10": self.recall}
            manifest |= {"error": self._error, "built_from": self._built_from}
        folder.mkdir(parents=True, exist_ok=True)
        (folder / MANIFEST_FILE).unlink(missing_ok=True)
        _write_aside(folder / INDEX_FILE, content)
        _write_aside(folder / MANIFEST_FILE, json.dumps(manifest).encode())

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        dimension: int,
        fingerprint: str,
        revision: str,
        rows_of: RowsOf | None = None,
    ) -> Generation | None:
        """Read what `save` wrote, or None if it is not exactly the one asked for."""
        generation = cls(dimension, fingerprint=fingerprint, rows_of=rows_of)
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
            if "probes" in manifest:
                generation.probes, generation.recall = manifest["probes"], manifest["recall@10"]
                generation._error = manifest["error"]
                generation._built_from = manifest["built_from"]
        except (OSError, ValueError, KeyError, AttributeError, RuntimeError) as error:
            if not isinstance(error, FileNotFoundError):
                logger.warning("the index in %s cannot be read; it is built again", folder)
            return None
        if index.ntotal != manifest["count"] or index.d != dimension:
            return None
        if generation.probes is not None and rows_of is None:
            return None
        generation._index = index
        return generation

    def _search_exact(self, query: Rows, k: int, ids: Sequence[int] | None) -> dict[int, float]:
        """Search the exact index and keep each passage's best row."""
        parameters = None
        if ids is not None:
            parameters = faiss.SearchParameters(sel=_selector(ids))  # type: ignore[call-arg]
        best: dict[int, float] = {}
        with self._lock:
            rows = int(self._index.ntotal)
            fetch = min(k, rows)
            while fetch:
                best = _best(*self._index.search(query, fetch, params=parameters))
                # Several windows of one passage may have taken places of other passages.
                if len(best) >= k or fetch == rows:
                    break
                fetch = min(rows, fetch * 4)
        return best

    def _search_lists(self, query: Rows, k: int) -> dict[int, float]:
        """The nearest lists offer candidates; the rows themselves decide."""
        probes = self.probes or 1
        near = self._candidates(query, inverted.OFFERED * k, probes)
        while len(near) < k and probes < self._index.nlist:  # deletions have emptied them
            probes = min(2 * probes, self._index.nlist)
            near = self._candidates(query, inverted.OFFERED * k, probes)
        return self._compare(query, list(near))

    def _search_filtered(self, query: Rows, k: int, ids: Sequence[int]) -> dict[int, float]:
        """Exactly the best k of `ids`: no list is left out, and no candidate by its rounding."""
        if len(ids) <= COMPARED_AT_ONCE:
            return self._compare(query, ids)
        wanted = k
        while True:
            wanted *= 4
            near = self._candidates(query, wanted, self._index.nlist, ids)
            best = self._compare(query, list(near))
            if len(near) < wanted or len(best) < k:
                return best
            kth = sorted(best.values(), reverse=True)[k - 1]
            if min(near.values()) + self._error + FLOAT_ERROR < kth:
                return best

    def _candidates(
        self, query: Rows, wanted: int, probes: int, ids: Sequence[int] | None = None
    ) -> dict[int, float]:
        """At least `wanted` passages with their rounded scores; fewer if there are no more."""
        selector = None if ids is None else _selector(ids)
        parameters = faiss.SearchParametersIVF(  # type: ignore[call-arg]
            nprobe=probes, sel=selector
        )
        with self._lock:
            rows = int(self._index.ntotal)
            fetch = min(wanted, rows)
            while True:
                scores, found = self._index.search(query, fetch, params=parameters)
                best = _best(scores, found)
                if len(best) >= wanted or fetch == rows or found[0, -1] == -1:
                    return best
                fetch = min(rows, fetch * 4)

    def _compare(self, query: Rows, ids: Sequence[int]) -> dict[int, float]:
        """The exact scores of these passages; those that are no longer there have none."""
        if self._rows_of is None:
            raise ValueError("an approximate generation needs `rows_of`")
        owners, rows = self._rows_of(ids)
        best: dict[int, float] = {}
        for owner, score in zip(owners.tolist(), (rows @ query[0]).tolist(), strict=True):
            best[owner] = max(best.get(owner, score), score)
        return best

    def _check(self, rows: Rows) -> None:
        # FAISS checks by `assert`, which vanishes under python -O.
        if rows.ndim != 2 or rows.shape[1] != self.dimension:
            raise ValueError(f"expected rows of {self.dimension} numbers, got shape {rows.shape}")
        if not np.isfinite(rows).all():
            raise ValueError("a vector holds a number that is not finite")


def _selector(ids: Sequence[int]) -> Any:
    return faiss.IDSelectorBatch(np.asarray(ids, dtype=np.int64))


def _best(scores: Rows, found: NDArray[np.int64]) -> dict[int, float]:
    """Each passage's best score, of one query's results."""
    best: dict[int, float] = {}
    for passage_id, score in zip(found[0].tolist(), scores[0].tolist(), strict=True):
        if passage_id != -1:  # FAISS pads a short result with -1
            best.setdefault(passage_id, score)
    return best


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
