"""The generations in use, one for each store: loaded, built anew, and made to follow commits.

It knows the stored vectors but not how they are made. The caller holds `changing` while it
commits a change and calls `follow`, so that no generation is built between the two. On the
disk, a generation counts only if it has the very revision of the store's rows.
"""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from retrieval import passages, store
from retrieval.database import Database
from retrieval.vectors import INVERTED_FROM, Generation, Ids, Rows, RowsOf

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Served:
    """A generation in memory, the revision of the rows it holds, and whether it is saved."""

    generation: Generation
    revision: str
    saved: bool


class Generations:
    """The generation of each store under one embedder; safe to use from any thread."""

    def __init__(
        self,
        database: Database,
        folder: Path,
        *,
        fingerprint: str,
        dimension: int,
        inverted_from: int = INVERTED_FROM,
    ) -> None:
        self.changing = threading.RLock()
        self._database = database
        self._folder = folder
        self._fingerprint = fingerprint
        self._dimension = dimension
        self._inverted_from = inverted_from
        self._served: dict[str, _Served] = {}

    def get(self, store_id: str) -> Generation:
        """Return a store's generation: from memory, else the disk, else built from the rows."""
        served = self._served.get(store_id)
        if served is None:
            with self.changing:
                served = self._served.get(store_id) or self._load(store_id)
                self._served[store_id] = served
        return served.generation

    def follow(
        self,
        store_id: str,
        revision: str,
        *,
        removed: Sequence[int] = (),
        added: Sequence[tuple[int, NDArray[np.float32]]] = (),
    ) -> None:
        """Apply a committed change: passage ids that went, and (id, rows) that came."""
        if removed:
            # What is on the disk holds vectors of what was deleted.
            shutil.rmtree(self._folder / store_id, ignore_errors=True)
        served = self._served.get(store_id)
        if served is None:
            return
        served.generation.remove(removed)
        if added:
            ids = [passage_id for passage_id, rows in added for _ in rows]
            vectors = np.concatenate([rows for _, rows in added])
            served.generation.add(np.array(ids, dtype=np.int64), vectors)
        served.revision, served.saved = revision, False

    def loaded(self, store_id: str) -> Generation | None:
        """Return a store's generation if it is in memory."""
        served = self._served.get(store_id)
        return served.generation if served else None

    def grow(self, store_id: str) -> bool:
        """Build a generation that has outgrown its kind anew while the old one serves.

        Returns whether it was replaced: not, where the store has changed in the meantime.
        """
        served = self._served.get(store_id)
        if served is None or not served.generation.is_outgrown(self._inverted_from):
            return False
        built = self._build(store_id)
        with self.changing:
            if self._served.get(store_id) is not served or served.revision != built.revision:
                return False
            self._served[store_id] = built
        return True

    def drop(self, store_id: str) -> None:
        """Forget a store's generation, in memory and on the disk."""
        with self.changing:
            self._served.pop(store_id, None)
            shutil.rmtree(self._folder / store_id, ignore_errors=True)

    def save(self) -> None:
        """Save what has changed, so that the next start need not build it."""
        with self.changing:
            for store_id, served in self._served.items():
                if not served.saved:
                    folder = self._folder / store_id / self._fingerprint
                    served.generation.save(folder, revision=served.revision)
                    served.saved = True

    def _load(self, store_id: str) -> _Served:
        folder = self._folder / store_id / self._fingerprint
        with self._database.read() as connection:
            revision = store.revision(connection, store_id)
            saved = Generation.load(
                folder,
                dimension=self._dimension,
                fingerprint=self._fingerprint,
                revision=revision,
                rows_of=self._rows_of(store_id),
            )
            if saved is not None:
                return _Served(saved, revision, saved=True)
        return self._build(store_id)

    def _build(self, store_id: str) -> _Served:
        with self._database.read() as connection:
            revision = store.revision(connection, store_id)
            ids, vectors = passages.find_vectors(connection, store_id, self._fingerprint)
        generation = Generation.build(
            ids,
            vectors,
            dimension=self._dimension,
            fingerprint=self._fingerprint,
            rows_of=self._rows_of(store_id),
            inverted_from=self._inverted_from,
        )
        logger.info("built the generation of %s from %d stored vectors", store_id, len(ids))
        return _Served(generation, revision, saved=False)

    def _rows_of(self, store_id: str) -> RowsOf:
        def rows_of(passage_ids: Sequence[int]) -> tuple[Ids, Rows]:
            with self._database.read() as connection:
                return passages.find_rows(connection, store_id, self._fingerprint, passage_ids)

        return rows_of
