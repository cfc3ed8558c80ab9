"""How much words count in a store, and when too little was found: fitted on the store itself. Pure.

A case is a question whose document is known, with what each side of the search has found for it.
Cases come from questions, where there are some, else from the documents (`probes.py`). The weight
is the one that ranks the known documents best; the threshold tells the cases from the same with
their document left out. It knows no model and no store; read `fit` first.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

import numpy as np

from retrieval.fuse import fuse
from retrieval.records import Hit

DEFAULT_LEXICAL_WEIGHT = 0.3
"""Chosen on two sets that disagree: dense alone is best on medquad-dev (0.2 and 0.3 cost next to
nothing there), and words matter much on the demo's questions (best from 0.3 to 0.5)."""
DEFAULT_THRESHOLD = 0.4  # keeps 79 of the demo's 80 questions, and refuses 9 of the 30 others
KEPT = 0.95  # of the cases stay above a threshold, however many others it would refuse
WEIGHTS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
ENOUGH_CASES = 12
# Evidence is read from so many hits; its shares were chosen on the demo's questions, 80 that the
# documents answer and 30 that they do not (benchmarks/LOG.md).
EVIDENCE_HITS, EVIDENCE_WORDS = 3, 0.3

Method = Literal["default", "probes", "questions"]


@dataclass(frozen=True, slots=True)
class Calibration:
    """What a store's search is set to. `threshold` is one of `evidence`.

    `method` says what it was fitted on, `probes` how many cases that were; `separation` is the
    area under the ROC curve with which evidence tells the cases from those without their document.
    """

    lexical_weight: float = DEFAULT_LEXICAL_WEIGHT
    threshold: float = DEFAULT_THRESHOLD
    method: Method = "default"
    probes: int = 0
    separation: float | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """A question, what dense search and words have found, and which of it is right.

    `own` are the passages of the known document, among them or not; `texts` has those of all.
    """

    query: str
    near: Mapping[int, float]
    words: Mapping[int, float]
    own: AbstractSet[int]
    texts: Mapping[int, str]

    def without_own(self) -> Case:
        """The same, as if the store did not hold the document."""
        return Case(
            self.query,
            {key: score for key, score in self.near.items() if key not in self.own},
            {key: score for key, score in self.words.items() if key not in self.own},
            frozenset(),
            self.texts,
        )


def evidence(query: str, hits: Sequence[Hit]) -> float:
    """How well a question's hits (best first) fit it, within 0..1; comparable between questions.

    The best cosine, and the share of the question's words that the first hits hold. The
    plain BM25 score is no such measure: it grows with the length of the question.
    """
    return _evidence(
        query,
        max((hit.dense for hit in hits), default=0.0),
        [f"{hit.document_name} {hit.passage.heading or ''} {hit.passage.text}" for hit in hits],
    )


def fit(cases: Sequence[Case], *, method: Method) -> Calibration:
    """Choose weight and threshold; the default where there are too few cases."""
    if len(cases) < ENOUGH_CASES:
        return Calibration()
    weight = fit_weight(cases)
    right = [_case_evidence(case, weight) for case in cases]
    wrong = [_case_evidence(case.without_own(), weight) for case in cases]
    threshold, separation = separate(right, wrong)
    return Calibration(weight, threshold, method, len(cases), separation)


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


def _case_evidence(case: Case, weight: float) -> float:
    ranking = fuse(case.near, case.words, lexical_weight=weight)[:EVIDENCE_HITS]
    best = max(case.near.values(), default=0.0)
    return _evidence(case.query, best, [case.texts[key] for key, _ in ranking])


def _evidence(query: str, cosine: float, texts: Sequence[str]) -> float:
    asked = _words(query)
    if not asked:
        return max(0.0, cosine)
    share = len(asked & _words(" ".join(texts[:EVIDENCE_HITS]))) / len(asked)
    return (1 - EVIDENCE_WORDS) * max(0.0, cosine) + EVIDENCE_WORDS * share


def _words(text: str) -> set[str]:
    """Words of three letters and more by their first five, so that forms of a word are alike."""
    return {word[:5] for word in re.findall(r"\w{3,}", text.casefold())}
