"""Two rankings into one: dense and lexical scores, made comparable and added. Pure.

Each side is scaled by its best score, with zero (no similarity, no word in common) as the
natural minimum: the "theoretical min-max" of Bruch et al., An Analysis of Fusion Functions for
Hybrid Retrieval (2023), which unlike plain min-max does not exaggerate a small difference
between two candidates. `benchmarks/retrieval.py` measures it.
"""

from __future__ import annotations

from collections.abc import Mapping


def fuse(
    dense: Mapping[int, float], lexical: Mapping[int, float], *, lexical_weight: float
) -> list[tuple[int, float]]:
    """Return (id, score in 0..1), best first: a weighted sum of the two scaled scores.

    An id that one side lacks gets nothing from it. Where a side found nothing at all, the other
    decides alone. Scores that differ by less than 1e-6 are ordered by id.
    """
    if not 0.0 <= lexical_weight <= 1.0:
        raise ValueError(f"lexical_weight must be within 0..1, got {lexical_weight}")
    weight = lexical_weight if dense and lexical else float(not dense)
    near, words = scale(dense), scale(lexical)
    total = {
        key: round((1.0 - weight) * near.get(key, 0.0) + weight * words.get(key, 0.0), 6)
        for key in near.keys() | words.keys()
    }
    return sorted(total.items(), key=lambda item: (-item[1], item[0]))


def scale(scores: Mapping[int, float]) -> dict[int, float]:
    """Scale scores to 0..1: the best becomes 1, zero and less become 0."""
    best = max(scores.values(), default=0.0)
    if best <= 0.0:
        return dict.fromkeys(scores, 0.0)
    return {key: max(score, 0.0) / best for key, score in scores.items()}
