"""A query -> hits: dense and lexical candidates, filtered first, fused, then read.

It knows stores, generations and what embeds the query, and changes nothing. Read `search` first;
the fusion itself is in `fuse.py`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from retrieval import passages, store
from retrieval.database import Database
from retrieval.filter import Filter
from retrieval.fuse import fuse
from retrieval.generations import Generations
from retrieval.models import SearchModel
from retrieval.records import Hit
from retrieval.rerank import RERANKED, Reranks, rerank

MAX_HITS = 50
# The least that words count where the query names an order number or a part code.
IDENTIFIER_WEIGHT = 0.6
# How many candidates each side offers to the fusion.
POOL = 100


def search(
    database: Database,
    generations: Generations,
    model: SearchModel,
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
    """Return the k best passages of stores that this model searches, best first.

    `Library.search` tells what is promised.
    """
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
        vector = model.embed_query(query)
        indexes = [generations.get(store_id, model.embedder) for store_id in store_ids]
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
            generation=model.name,
            fused=score,
        )
        for passage_id, score in ranking
        if passage_id in found  # it may have been removed since it was ranked
    ]
    if reranker is not None:
        hits = rerank(reranker, query, hits[:offered])
    return hits[:k]
