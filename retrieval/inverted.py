"""An approximate index for large stores: inverted lists over 8-bit rows (IVF, SQ8), and its recall.

Rows are grouped around centroids; a search reads the `probes` lists whose centroids are nearest.
How many that must be is measured against exact search when the index is built. It knows neither
passages nor files; read `build` first.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

WANTED_RECALL = 0.98
RECALL_AT = 10
OFFERED = 2  # candidates for one result: the rows themselves choose among them
SAMPLED_ROWS = 256  # that ask, when recall is measured
ROWS_PER_LIST = 64  # that the centroids are learned from
ENCODED_AT_ONCE = 50_000

Rows = NDArray[np.float32]  # (n, dim) float32, unit rows
Ids = NDArray[np.int64]  # (n,)


@dataclass(frozen=True, slots=True)
class Inverted:
    """A built index. `recall` is recall@10 at `probes` lists, over rows sampled from the index.

    `error` is how far a score can be off at most, because rows are rounded to 8 bits.
    """

    index: Any
    probes: int
    recall: float
    error: float


def build(ids: Ids, rows: Rows, *, seed: int = 0) -> Inverted:
    """Learn the lists from a sample of the rows, add all, and choose how many lists are read."""
    count, dimension = rows.shape
    lists = max(1, min(round(2 * math.sqrt(count)), count // 4))
    # Rows themselves are rounded, not their difference from a centroid: so the error of every
    # score is known (see `rounding_error`), which exact filters need.
    index = faiss.IndexIVFScalarQuantizer(
        faiss.IndexFlatIP(dimension),
        dimension,
        lists,
        faiss.ScalarQuantizer.QT_8bit,
        faiss.METRIC_INNER_PRODUCT,
        False,
    )
    index.cp.seed, index.cp.max_points_per_centroid = seed, ROWS_PER_LIST
    index.cp.min_points_per_centroid = 1
    chance = np.random.default_rng(seed)
    learned = chance.permutation(count)[: lists * ROWS_PER_LIST]
    index.train(np.ascontiguousarray(rows[learned]))
    index.add_with_ids(np.ascontiguousarray(rows), np.ascontiguousarray(ids))
    asked = np.sort(chance.permutation(count)[:SAMPLED_ROWS])
    probes, recall = _choose_probes(index, ids, rows, asked)
    return Inverted(index, probes, recall, rounding_error(index, rows))


def rounding_error(index: Any, rows: Rows) -> float:
    """The largest distance between a row and what the index keeps of it.

    A unit query's score is off by no more than this, by the inequality of Cauchy and Schwarz.
    """
    worst = 0.0
    for start in range(0, len(rows), ENCODED_AT_ONCE):
        part = np.ascontiguousarray(rows[start : start + ENCODED_AT_ONCE])
        kept = index.sq.decode(index.sq.compute_codes(part))
        worst = max(worst, float(np.linalg.norm(part - kept, axis=1).max(initial=0.0)))
    return worst


def _choose_probes(index: Any, ids: Ids, rows: Rows, asked: NDArray[np.int64]) -> tuple[int, float]:
    """The fewest lists (a power of two, or all) that reach the wanted recall, and the recall.

    Each sampled row asks for its nearest others: that it finds itself proves nothing.
    """
    queries = np.ascontiguousarray(rows[asked])
    own = ids[asked]
    depth = min(len(rows), 4 * OFFERED * RECALL_AT)
    _, places = faiss.knn(queries, rows, depth, metric=faiss.METRIC_INNER_PRODUCT)
    wanted = [_others(ids[row], own[at])[:RECALL_AT] for at, row in enumerate(places)]
    probes = 1
    while True:
        parameters = faiss.SearchParametersIVF(nprobe=probes)  # type: ignore[call-arg]
        _, found = index.search(queries, depth, params=parameters)
        shares = [
            len(set(right) & set(_others(row, own[at]))) / len(right)
            for at, (right, row) in enumerate(zip(wanted, found, strict=True))
            if right
        ]
        recall = float(np.mean(shares)) if shares else 1.0
        if recall >= WANTED_RECALL or probes >= index.nlist:
            return probes, recall
        probes = min(2 * probes, index.nlist)


def _others(found: Ids, own: int) -> list[int]:
    """The ids that are offered and not `own`, without padding and repetition."""
    others = (int(id_) for id_ in found if id_ not in (own, -1))
    return list(dict.fromkeys(others))[: OFFERED * RECALL_AT]
