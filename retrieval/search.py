"""A query -> hits: dense and lexical candidates, filtered first, fused, then read.

It knows stores, generations and the embedder, and changes nothing. Read `search` first; the
fusion itself is in `fuse.py`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from retrieval import passages, store
from retrieval.database import Database
from retrieval.filter import Filter
from retrieval.fuse import fuse
from retrieval.generations import Generations
from retrieval.records import Hit
from retrieval.rerank import RERANKED, Reranks, rerank

MAX_HITS = 50
# The least that words count where the query names an order number or a part code.
IDENTIFIER_WEIGHT = 0.6
# How many candidates each side offers to the fusion.
POOL = 100

Rows = NDArray[np.float32]  # (n, dim) float32, unit rows


class EmbedsTexts(Protocol):
    """What the library needs of an embedder; `retrieval.embed.Embedder` is the real one."""

    fingerprint: str
    dimension: int

    def count_tokens(self, texts: Sequence[str]) -> list[int]: ...
    def embed(self, texts: Sequence[str], *, queries: bool = False) -> Rows: ...
    def embed_windows(
        self,
        texts: Sequence[str],
        *,
        progress: Callable[[int, int], None] | None = None,
    ) -> tuple[NDArray[np.int64], Rows]: ...


def search(
    database: Database,
    generations: Generations,
    embedder: EmbedsTexts,
    store_ids: Sequence[str],
    query: str,
    *,
    k: int,
    filter: Filter | None,
    lexical_weight: float,
    lexical: bool,
    dense: bool,
    reranker: Reranks | None = None,
) -> list[Hit]:
    """Return the k best passages, best first; `Library.search` tells what is promised."""
    if not 1 <= k <= MAX_HITS:
        raise ValueError(f"k must be within 1..{MAX_HITS}, got {k}")
    allowed: list[int] | None = None
    words: dict[int, float] = {}
    with database.read() as connection:
        for store_id in store_ids:
            store.revision(connection, store_id)
        if not store_ids or not query.strip():
            return []
        if filter is not None:
            allowed = passages.find_ids(connection, store_ids, filter)
        if lexical:
            words = dict(passages.search_words(connection, store_ids, query, POOL, filter=filter))
    near: dict[int, float] = {}
    if dense:
        vector = embedder.embed([query], queries=True)[0]
        indexes = [generations.get(store_id) for store_id in store_ids]
        for index in indexes:
            near.update(index.search(vector, POOL, ids=allowed))
        near = dict(sorted(near.items(), key=lambda item: (-item[1], item[0]))[:POOL])
        # What the words have found is close or not, too, even beyond the pool.
        for index in indexes:
            near.update(index.search(vector, POOL, ids=list(words)))
    if passages.identifiers(query):  # no vector knows which number this is
        lexical_weight = max(lexical_weight, IDENTIFIER_WEIGHT)
    offered = k if reranker is None else max(k, RERANKED)
    ranking = fuse(near, words, lexical_weight=lexical_weight)[: 2 * offered]
    with database.read() as connection:
        found = passages.find_found(connection, [passage_id for passage_id, _ in ranking])
    hits = [
        Hit(
            passage=passages.passage(found[passage_id]),
            document_name=found[passage_id]["document_name"],
            attributes=json.loads(found[passage_id]["attributes"]),
            score=score,
            dense=near.get(passage_id, 0.0),
            lexical=words.get(passage_id, 0.0),
            generation=embedder.fingerprint,
            fused=score,
        )
        for passage_id, score in ranking
        if passage_id in found  # it may have been removed since it was ranked
    ]
    if reranker is not None:
        hits = rerank(reranker, query, hits[:offered])
    return hits[:k]
