"""An embedder that remembers the vectors of the texts that it has embedded last.

The sentences of a passage are judged anew for every question that finds it, and their vectors
never change. It knows no stores: whoever deletes a document calls `forget`.
Read `Remembered.embed` first.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from retrieval.extract import Embeds

MOST_TEXTS = 20_000  # 30 MB of vectors of 384 dimensions


class Remembered:
    """As the embedder, but a text that is no query is embedded once; safe from any thread."""

    def __init__(self, embedder: Embeds, *, most: int = MOST_TEXTS) -> None:
        self._embedder = embedder
        self._most = most
        self._rows: OrderedDict[str, NDArray[np.float32]] = OrderedDict()  # used last stands last
        self._turn = threading.Lock()
        self._forgotten = 0  # how often

    def embed(self, texts: Sequence[str], *, queries: bool = False) -> NDArray[np.float32]:
        """Return (len(texts), dim) float32 unit rows, one for each text."""
        if queries or not texts:
            return self._embedder.embed(texts, queries=queries)
        with self._turn:
            rows = {text: self._rows[text] for text in texts if text in self._rows}
            forgotten = self._forgotten
        new = [text for text in dict.fromkeys(texts) if text not in rows]
        if new:
            rows |= zip(new, self._embedder.embed(new), strict=True)
        with self._turn:
            if forgotten == self._forgotten:  # else one of them may just have been deleted
                self._remember(rows)
        return np.stack([rows[text] for text in texts])

    def forget(self) -> None:
        """Remember nothing of what was embedded so far, nor of what is being embedded now."""
        with self._turn:
            self._rows.clear()
            self._forgotten += 1

    def _remember(self, rows: dict[str, NDArray[np.float32]]) -> None:
        for text, row in rows.items():
            self._rows[text] = row
            self._rows.move_to_end(text)
        while len(self._rows) > self._most:
            self._rows.popitem(last=False)
