"""What searches a store: an embedder, and maybe a query adapter; opened once, then shared.

It knows neither rows nor indexes. A model that cannot be opened is told in the log, and the base
stands in for it: a search never fails for a file that is gone. Read `SearchModel` first.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from retrieval.versions import Version

logger = logging.getLogger(__name__)

MOST_OPEN = 4  # tuned embedders in memory at once, beside the base; the oldest goes first

Rows = NDArray[np.float32]  # (n, dim) float32, unit rows
MovesQueries = Callable[[Rows], Rows]


class EmbedsTexts(Protocol):
    """What the library needs of an embedder; `retrieval.embed.Embedder` is the real one."""

    fingerprint: str
    dimension: int
    max_tokens: int

    def count_tokens(self, texts: Sequence[str]) -> list[int]: ...
    def embed(self, texts: Sequence[str], *, queries: bool = False) -> Rows: ...
    def embed_windows(
        self,
        texts: Sequence[str],
        *,
        progress: Callable[[int, int], None] | None = None,
    ) -> tuple[NDArray[np.int64], Rows]: ...


@dataclass(frozen=True, slots=True)
class SearchModel:
    """An embedder for passages and questions, and what moves the questions afterwards."""

    embedder: EmbedsTexts
    adapter: MovesQueries | None = None
    adapter_digest: str | None = None

    @property
    def name(self) -> str:
        """What it is named by, in every hit: the fingerprint, and the adapter's digest if any."""
        fingerprint = self.embedder.fingerprint
        return f"{fingerprint}+{self.adapter_digest}" if self.adapter else fingerprint

    def embed_query(self, query: str) -> NDArray[np.float32]:
        """Return the unit row (dim,) that a question is searched by."""
        row: NDArray[np.float32] = self.embed_queries([query])[0]
        return row

    def embed_queries(self, queries: Sequence[str]) -> Rows:
        """Return the unit rows (n, dim) that questions are searched by."""
        rows = self.embedder.embed(queries, queries=True)
        return self.adapter(rows) if self.adapter else rows


class Models:
    """The base embedder and the tuned models of stores; safe to use from any thread.

    `open_embedder` and `open_adapter` open what a digest names; they may raise `ValueError`,
    `KeyError` or `OSError` where it is gone or broken.
    """

    def __init__(
        self,
        base: EmbedsTexts,
        *,
        open_embedder: Callable[[str], EmbedsTexts] | None = None,
        open_adapter: Callable[[str], MovesQueries] | None = None,
    ) -> None:
        self.base = base
        self._open_embedder = open_embedder
        self._open_adapter = open_adapter
        self._embedders: dict[str, EmbedsTexts] = {}
        self._adapters: dict[str, MovesQueries] = {}
        self._broken: set[str] = set()
        self._opening = threading.RLock()

    def of(self, version: Version | None) -> SearchModel:
        """Return the model of a version; the base's where there is none or it cannot be opened."""
        embedder = self.embedder(version.embedder if version else None)
        if version is None or version.adapter is None:
            return SearchModel(embedder)
        if embedder.fingerprint != version.fingerprint:
            self._tell(version.adapter, "it was trained for another embedder")
            return SearchModel(embedder)
        adapter = self._adapter(version.adapter)
        return SearchModel(embedder, adapter, version.adapter if adapter else None)

    def embedder(self, digest: str | None) -> EmbedsTexts:
        """Return a tuned embedder by its digest, or the base (None, or one that is broken)."""
        if digest is None or self._open_embedder is None:
            return self.base
        opened = self._embedders.get(digest)  # without the lock: no search waits for a loading
        if opened is not None:
            return opened
        with self._opening:
            opened = self._embedders.get(digest)
            if opened is None:
                try:
                    opened = self._open_embedder(digest)
                except (ValueError, KeyError, OSError) as error:
                    self._tell(digest, error)
                    return self.base
                self._embedders[digest] = opened
                if len(self._embedders) > MOST_OPEN:
                    del self._embedders[next(iter(self._embedders))]
            return opened

    def _adapter(self, digest: str) -> MovesQueries | None:
        with self._opening:
            if digest not in self._adapters and self._open_adapter is not None:
                try:
                    self._adapters[digest] = self._open_adapter(digest)
                except (ValueError, KeyError, OSError) as error:
                    self._tell(digest, error)
            return self._adapters.get(digest)

    def _tell(self, digest: str, why: object) -> None:
        if digest not in self._broken:
            self._broken.add(digest)
            logger.warning("the search model %s does not serve: %s", digest, why)
