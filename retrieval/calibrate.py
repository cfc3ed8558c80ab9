"""How much words count in a store, and when too little was found: fitted on the store itself. Pure.

A case is a question whose document is known, with what each side of the search has found for it.
Cases come from questions, where there are some, else from the documents (`probes.py`). The weight
is the one that ranks the known documents best. It knows no model and no store; read `fit_weight`
first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

import numpy as np

from retrieval.fuse import fuse
from retrieval.grounds import DEFAULT_THRESHOLD

DEFAULT_LEXICAL_WEIGHT = 0.3
"""Chosen on two sets that disagree: dense alone is best on medquad-dev (0.2 and 0.3 cost next to
nothing there), and words matter much on the demo's questions (best from 0.3 to 0.5)."""
KEPT = 0.95  # of the cases stay above a threshold, however many others it would refuse
WEIGHTS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
ENOUGH_CASES = 12

Method = Literal["default", "probes", "questions"]


@dataclass(frozen=True, slots=True)
class Calibration:
    """What a store's search is set to. Below `threshold` the confidence of `Grounds` is weak.

    `method` says what it was fitted on, `probes` how many cases that were. The threshold is fitted
    on questions alone, since headings and sentences ask otherwise than people do; `separation` is
    then the area under the ROC curve with which confidence tells the questions from the same with
    their documents left out.
    """

    lexical_weight: float = DEFAULT_LEXICAL_WEIGHT
    threshold: float = DEFAULT_THRESHOLD
    method: Method = "default"
    probes: int = 0
    separation: float | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """A question, what dense search and words have found, and which of it is right.

    `own` are the passages of the known document, among them or not.
    """

    query: str
    near: Mapping[int, float]
    words: Mapping[int, float]
    own: AbstractSet[int]


def fit_weight(cases: Sequence[Case]) -> float:
    """The weight with the best MRR@10 of the known documents.

    The default stays unless another is better by more than a standard error: a handful of cases
    must not move a store's search.
    """
    reciprocal = {weight: [_reciprocal_rank(case, weight) for case in cases] for weight in WEIGHTS}
    best = max(WEIGHTS, key=lambda w: (fmean(reciprocal[w]), -abs(w - DEFAULT_LEXICAL_WEIGHT)))
    gained = np.subtract(reciprocal[best], reciprocal[DEFAULT_LEXICAL_WEIGHT])
    error = float(gained.std(ddof=1)) / len(cases) ** 0.5
    return best if float(gained.mean()) > error else DEFAULT_LEXICAL_WEIGHT


def separate(right: Sequence[float], wrong: Sequence[float]) -> tuple[float, float]:
    """The threshold that refuses the most of `wrong` and keeps `KEPT` of `right`; the ROC area.

    It does not weigh both alike: a refused question that could have been answered costs more, and
    cases made of documents are harder than people's questions.
    """
    high, low = np.asarray(right), np.asarray(wrong)
    cut = float(np.quantile(high, 1 - KEPT, method="lower"))
    beneath = low[low < cut]
    # Half way to what it refuses: the least a matter of chance.
    threshold = (cut + float(beneath.max())) / 2 if len(beneath) else cut
    above = (high[:, None] > low[None, :]).mean() + 0.5 * (high[:, None] == low[None, :]).mean()
    return round(threshold, 4), round(float(above), 4)


def _reciprocal_rank(case: Case, weight: float) -> float:
    ranking = fuse(case.near, case.words, lexical_weight=weight)[:10]
    return next((1 / at for at, (key, _) in enumerate(ranking, start=1) if key in case.own), 0.0)
