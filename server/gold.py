"""The passages that hold what a reply states: chosen, and put among the hits served. Pure."""

from __future__ import annotations

import random
from collections.abc import Sequence

from retrieval.claims import figures
from retrieval.records import Hit

GOLD_POOL = 10  # how many hits are looked through for the gold
GOLD_COVER = 0.6  # share of a reply's figures that the gold must hold


def gold_for(stated: set[str], pool: Sequence[Hit]) -> list[Hit]:
    """One or two hits that hold most of the figures that a reply states, or none."""
    gold: list[Hit] = []
    missing = set(stated)
    for _ in range(2):
        best = max(pool, key=lambda hit: len(missing & figures(hit.passage.text)), default=None)
        if best is None or not missing & figures(best.passage.text):
            break
        gold.append(best)
        missing -= figures(best.passage.text)
    return gold if len(missing) <= (1 - GOLD_COVER) * len(stated) else []


def with_gold(
    served: list[Hit], gold: list[Hit], random_: random.Random, *, shown: int
) -> list[Hit]:
    """The hits as served, with the gold put among the first, shown ones if the search missed it."""
    ids = [hit.passage.id for hit in served]
    missed = [hit for hit in gold if hit.passage.id not in ids[: min(2, shown)]]
    missed_ids = {hit.passage.id for hit in missed}
    hits = [hit for hit in served if hit.passage.id not in missed_ids]
    for hit in missed:
        hits.insert(random_.randint(0, min(1, len(hits), shown - 1)), hit)
    return hits
