"""The gate of search: whether a tuned version finds held-out passages better than what serves.

Rankings are those of the real search, of the candidate and of what serves now, and of BM25 alone
beside them. The rule is nDCG@10: its lower 95% end must be above zero, and no other measure may
be worse with its whole interval. Where other stores have held-out questions, those tell whether
the candidate has unlearned what is general (`search_elsewhere.py`): it may not be worse there by
more than 2 points with its whole interval. Read `decide` first; `measure` takes the rankings.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from retrieval.library import Library
from retrieval.measure import difference, hit, ndcg, recall, reciprocal_rank
from retrieval.records import Hit
from retrieval.search import MAX_HITS
from server.promote import Decision

LEAST_QUESTIONS = 20
FIRST = "nDCG@10"
ELSEWHERE = "nDCG@10 elsewhere"
MOST_UNLEARNED = 0.02
MEASURES: dict[str, Callable[[Sequence[str], Mapping[str, float]], float]] = {
    FIRST: ndcg,
    "MRR@10": reciprocal_rank,
    "recall@10": lambda ranking, judged: recall(ranking, judged, k=10),
    "hit@1": hit,
}
Values = Mapping[str, Sequence[float]]  # measure -> one value for each question


@dataclass(frozen=True, slots=True)
class GateQuestion:
    """A held-out question with the ids of the passages, or else documents, that answer it."""

    text: str
    passages: tuple[int, ...]
    documents: tuple[str, ...]

    def judged(self) -> dict[str, float]:
        """The right ids, each with a gain of 1."""
        return dict.fromkeys(map(str, self.passages or self.documents), 1.0)

    def ranking(self, hits: Sequence[Hit]) -> list[str]:
        """The ids of hits as they are judged, each once, best first."""
        if self.passages:
            return [str(hit.passage.id) for hit in hits]
        return list(dict.fromkeys(hit.passage.document_id for hit in hits))


@dataclass(frozen=True, slots=True)
class Measured:
    """Every measure of each question: of the candidate, of what serves, and of BM25 alone."""

    candidate: Values
    serving: Values
    bm25: Values
    elsewhere: tuple[Sequence[float], Sequence[float]] = ((), ())  # nDCG@10: candidate, serving


def measure(
    library: Library,
    store_id: str,
    questions: Sequence[GateQuestion],
    *,
    candidate: str,
    check: Callable[[], None],
) -> Measured:
    """Search for every question that can still be answered, three times; `check` may raise."""
    held = {passage.id: passage.document_id for passage in library.search_models.texts(store_id)}
    there = {*map(str, held), *held.values()}
    asked = [question for question in questions if there & question.judged().keys()]

    def values(**how: Any) -> Values:
        rankings = []
        for question in asked:
            check()
            hits = library.search([store_id], question.text, k=MAX_HITS, **how)
            rankings.append((question.ranking(hits), question.judged()))
        return {
            name: [one(ranking, judged) for ranking, judged in rankings]
            for name, one in MEASURES.items()
        }

    return Measured(values(version=candidate), values(), values(dense=False))


def decide(measured: Measured, *, seed: int = 0) -> Decision:
    """Promote what is better in nDCG@10 beyond doubt, and clearly worse in nothing."""
    count = len(measured.serving[FIRST])
    if not count:
        return Decision(False, ("no held-out question can be judged: give pairs of your own",))
    rows: list[dict[str, Any]] = []
    faults: list[str] = []
    told: list[str] = []
    for name in MEASURES:
        ours, theirs = measured.candidate[name], measured.serving[name]
        gained = difference(ours, theirs, seed=seed)
        words = (
            f"{name} {fmean(theirs):.3f} -> {fmean(ours):.3f} ({gained.mean:+.3f}, 95% interval "
            f"{gained.low:+.3f} to {gained.high:+.3f}; BM25 alone {fmean(measured.bm25[name]):.3f})"
        )
        fault = None
        if name == FIRST and gained.low <= 0:
            fault = "not shown to be better than what serves"
        elif gained.high < 0:
            fault = "worse than what serves"
        (faults if fault else told).append(f"{words}: {fault}" if fault else words)
        rows.append(
            {
                "name": name,
                "other": fmean(theirs),
                "candidate": fmean(ours),
                "bm25": fmean(measured.bm25[name]),
                "difference": gained.mean,
                "low": gained.low,
                "high": gained.high,
                "n": count,
                "better": "higher",
                "unit": "share",
                "passed": fault is None,
            }
        )
    if fault := _unlearned(measured, rows, seed):
        faults.append(fault)
    if count < LEAST_QUESTIONS:
        faults.insert(
            0,
            f"too little data, {count} held-out questions of at least {LEAST_QUESTIONS}, "
            f"{LEAST_QUESTIONS - count} missing",
        )
    return Decision(not faults, (*faults, *told), tuple(rows))


def _unlearned(measured: Measured, rows: list[dict[str, Any]], seed: int) -> str | None:
    """Add the row of other stores' questions, if there are some; returns the fault in words."""
    ours, theirs = measured.elsewhere
    if not ours:
        return None
    gained = difference(ours, theirs, seed=seed)
    passed = gained.high >= -MOST_UNLEARNED
    rows.append(
        {
            "name": ELSEWHERE,
            "other": fmean(theirs),
            "candidate": fmean(ours),
            "bm25": None,
            "difference": gained.mean,
            "low": gained.low,
            "high": gained.high,
            "n": len(ours),
            "better": "higher",
            "unit": "share",
            "passed": passed,
        }
    )
    if passed:
        return None
    return (
        f"{ELSEWHERE} {fmean(theirs):.3f} -> {fmean(ours):.3f} on {len(ours)} questions of other "
        "stores: it has unlearned what is general"
    )
