"""How good rankings are: recall@k, MRR@10, nDCG@10, hit@1, with paired bootstrap intervals.

Numpy only; it knows neither library nor documents. A ranking is a list of ids, best first; the
judgements say how relevant an id is (0 or absent: not at all).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ranking = Sequence[str]
Judgements = Mapping[str, float]  # id -> gain, for one query


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean with the ends of its bootstrap interval."""

    mean: float
    low: float
    high: float


def recall(ranking: Ranking, judged: Judgements, *, k: int) -> float:
    """Return the share of the relevant ids among the first k."""
    relevant = {key for key, gain in judged.items() if gain > 0}
    return len(relevant & set(ranking[:k])) / len(relevant) if relevant else 0.0


def hit(ranking: Ranking, judged: Judgements, *, k: int = 1) -> float:
    """Return 1 if any of the first k is relevant, else 0."""
    return float(any(judged.get(key, 0) > 0 for key in ranking[:k]))


def reciprocal_rank(ranking: Ranking, judged: Judgements, *, k: int = 10) -> float:
    """Return 1 / rank of the first relevant id among the first k, else 0 (its mean is MRR@k)."""
    return next(
        (1 / rank for rank, key in enumerate(ranking[:k], start=1) if judged.get(key, 0) > 0), 0.0
    )


def ndcg(ranking: Ranking, judged: Judgements, *, k: int = 10) -> float:
    """Return nDCG@k with linear gains, as trec_eval does (Järvelin and Kekäläinen 2002)."""
    ideal = _dcg(sorted(judged.values(), reverse=True)[:k])
    return _dcg([judged.get(key, 0) for key in ranking[:k]]) / ideal if ideal else 0.0


def interval(
    values: Sequence[float],
    *,
    groups: Sequence[int] | None = None,
    seed: int = 0,
    samples: int = 2000,
    confidence: float = 0.95,
) -> Interval:
    """Return the mean of per-query values with its bootstrap interval.

    Values that are not independent share a number in `groups`: whole groups are drawn (the
    cluster bootstrap: Davison and Hinkley 1997, section 3.8).
    """
    scores = np.asarray(values, dtype=np.float64)
    if not len(scores):
        return Interval(mean=0.0, low=0.0, high=0.0)
    ends = [50 * (1 - confidence), 50 * (1 + confidence)]
    _, numbers = np.unique(range(len(scores)) if groups is None else groups, return_inverse=True)
    low, high = np.percentile(_resampled_means(scores, numbers, seed, samples), ends)
    return Interval(mean=float(scores.mean()), low=float(low), high=float(high))


def difference(
    candidate: Sequence[float],
    baseline: Sequence[float],
    *,
    groups: Sequence[int] | None = None,
    seed: int = 0,
    samples: int = 2000,
    confidence: float = 0.95,
) -> Interval:
    """Return the mean of candidate minus baseline, paired by query, with its interval."""
    if len(candidate) != len(baseline):
        raise ValueError(f"not paired: {len(candidate)} values against {len(baseline)}")
    pairs = np.asarray(candidate, dtype=np.float64) - np.asarray(baseline, dtype=np.float64)
    return interval(
        pairs.tolist(), groups=groups, seed=seed, samples=samples, confidence=confidence
    )


def _dcg(gains: Sequence[float]) -> float:
    return sum(gain / math.log2(rank + 1) for rank, gain in enumerate(gains, start=1))


def _resampled_means(
    scores: NDArray[np.float64], groups: NDArray[np.intp], seed: int, samples: int
) -> NDArray[np.float64]:
    """Means (samples,) of scores drawn by whole groups, which are numbered from 0."""
    random = np.random.default_rng(seed)
    sums, sizes = np.bincount(groups, scores), np.bincount(groups)  # (groups,)
    counts = random.multinomial(len(sums), np.full(len(sums), 1 / len(sums)), size=samples)
    means: NDArray[np.float64] = counts @ sums / (counts @ sizes)
    return means
