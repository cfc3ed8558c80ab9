"""The generations in use, of each store and embedder: loaded, built anew, following commits.

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

from retrieval import passages, store
from retrieval.database import Database
from retrieval.draft import Came
from retrieval.models import EmbedsTexts
from retrieval.vectors import INVERTED_FROM, Generation, Ids, Rows, RowsOf

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Served:
    """A generation in memory, the revision of the rows it holds, and whether it is saved."""

    generation: Generation
    revision: str
    saved: bool


class Generations:
    """The generation of each store under each embedder; safe to use from any thread."""

    def __init__(
        self, database: Database, folder: Path, *, inverted_from: int = INVERTED_FROM
    ) -> None:
        self.changing = threading.RLock()
        self._database = database
        self._folder = folder
        self._inverted_from = inverted_from
        self._served: dict[tuple[str, str], _Served] = {}  # by store and fingerprint

    def get(self, store_id: str, embedder: EmbedsTexts) -> Generation:
        """Return a store's generation: from memory, else the disk, else built from the rows."""
        key = (store_id, embedder.fingerprint)
        served = self._served.get(key)
        if served is None:
            with self.changing:
                served = self._served.get(key) or self._load(store_id, embedder)
                self._served[key] = served
        return served.generation

    def follow(
        self,
        store_id: str,
        revision: str,
        *,
        removed: Sequence[int] = (),
        added: Came | None = None,
    ) -> None:
        """Apply a committed change: passage ids that went, and rows that came."""
        if removed:
            # What is on the disk holds vectors of what was deleted.
            shutil.rmtree(self._folder / store_id, ignore_errors=True)
        for (held, fingerprint), served in self._served.items():
            if held != store_id:
                continue
            served.generation.remove(removed)
            came = (added or {}).get(fingerprint, ())
            if came:
                ids = [passage_id for passage_id, rows in came for _ in rows]
                vectors = np.concatenate([rows for _, rows in came])
                served.generation.add(np.array(ids, dtype=np.int64), vectors)
            served.revision, served.saved = revision, False

    def loaded(self, store_id: str, embedder: EmbedsTexts) -> Generation | None:
        """Return a store's generation if it is in memory."""
        served = self._served.get((store_id, embedder.fingerprint))
        return served.generation if served else None

    def grow(self, store_id: str, embedder: EmbedsTexts) -> bool:
        """Build a generation that has outgrown its kind anew while the old one serves.

        Returns whether it was replaced: not, where the store has changed in the meantime.
        """
        served = self._served.get((store_id, embedder.fingerprint))
        if served is None or not served.generation.is_outgrown(self._inverted_from):
            return False
        return self._replace(store_id, embedder)

    def renew(self, store_id: str, embedder: EmbedsTexts) -> None:
        """Build a generation anew from the stored vectors, while the old one serves if there is."""
        while not self._replace(store_id, embedder):
            pass  # the store has changed in the meantime

    def _replace(self, store_id: str, embedder: EmbedsTexts) -> bool:
        key = (store_id, embedder.fingerprint)
        served = self._served.get(key)
        built = self._build(store_id, embedder)
        with self.changing:
            with self._database.read() as connection:
                current = store.revision(connection, store_id) == built.revision
            if not current or self._served.get(key) is not served:
                return False
            shutil.rmtree(self._folder / store_id / embedder.fingerprint, ignore_errors=True)
            self._served[key] = built
        return True

    def drop(self, store_id: str, embedder: EmbedsTexts | None = None) -> None:
        """Forget a store's generations, or one of them, in memory and on the disk."""
        with self.changing:
            for key in [key for key in self._served if key[0] == store_id]:
                if embedder is None or key[1] == embedder.fingerprint:
                    del self._served[key]
            folder = self._folder / store_id
            shutil.rmtree(folder / embedder.fingerprint if embedder else folder, ignore_errors=True)

    def save(self) -> None:
        """Save what has changed, so that the next start need not build it."""
        with self.changing:
            for (store_id, fingerprint), served in self._served.items():
                if not served.saved:
                    folder = self._folder / store_id / fingerprint
                    served.generation.save(folder, revision=served.revision)
                    served.saved = True

    def _load(self, store_id: str, embedder: EmbedsTexts) -> _Served:
        fingerprint, dimension = embedder.fingerprint, embedder.dimension
        folder = self._folder / store_id / fingerprint
        with self._database.read() as connection:
            revision = store.revision(connection, store_id)
            saved = Generation.load(
                folder,
                dimension=dimension,
                fingerprint=fingerprint,
                revision=revision,
                rows_of=self._rows_of(store_id, fingerprint),
            )
            if saved is not None:
                return _Served(saved, revision, saved=True)
        return self._build(store_id, embedder)

    def _build(self, store_id: str, embedder: EmbedsTexts) -> _Served:
        fingerprint = embedder.fingerprint
        with self._database.read() as connection:
            revision = store.revision(connection, store_id)
            ids, vectors = passages.find_vectors(connection, store_id, fingerprint)
        generation = Generation.build(
            ids,
            vectors,
            dimension=embedder.dimension,
            fingerprint=fingerprint,
            rows_of=self._rows_of(store_id, fingerprint),
            inverted_from=self._inverted_from,
        )
        logger.info("built the generation of %s from %d stored vectors", store_id, len(ids))
        return _Served(generation, revision, saved=False)

    def _rows_of(self, store_id: str, fingerprint: str) -> RowsOf:
        def rows_of(passage_ids: Sequence[int]) -> tuple[Ids, Rows]:
            with self._database.read() as connection:
                return passages.find_rows(connection, store_id, fingerprint, passage_ids)

        return rows_of
