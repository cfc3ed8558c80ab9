"""Does tuned search find more? Any folder in BEIR's form, held out by topic or document.

    python -m benchmarks.search --data DIR [--minutes M] [--train N]

DIR holds `corpus.jsonl`, `queries.jsonl` (optional `focus` or `split`) and `qrels.tsv`. A quarter
of the topics is held out and judges, a tenth is dev and selects. Documents rank where the best of
their windows does, alike for all arms. `stock` is the script that sentence-transformers
recommends, trained for the same minutes as `full`. Prints a table and, last, one JSON line.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from sentence_transformers import SentenceTransformer

from benchmarks.corpus import Corpus, Query, read_beir, split
from retrieval.calibrate import DEFAULT_LEXICAL_WEIGHT, ENOUGH_CASES, Case, fit_weight
from retrieval.embed import Embedder
from retrieval.fuse import fuse
from retrieval.measure import Interval, difference, hit, ndcg, recall, reciprocal_rank
from tuning.embedder import STOCK, EmbedderConfig, Triple, mine, train_embedder
from tuning.query_adapter import Asked, fit, mrr

Rows = NDArray[np.float32]  # (n, dim), unit rows
Scores = Mapping[int, float]  # of documents, by their index
Ranking = list[str]

SIDES = ("dev", "held")
POOL = 100  # documents that each side offers to the fusion
BASES = ("base_dense", "base_hybrid")
TUNED = ("query_adapter", "full_dense", "full")
DEV_QUERIES, DEV_DISTRACTORS = 150, 400  # what a mix of weights is measured on
MEASURES: dict[str, Callable[[Ranking, Mapping[str, float]], float]] = {
    "ndcg@10": ndcg,
    "mrr@10": reciprocal_rank,
    "recall@10": lambda ranking, judged: recall(ranking, judged, k=10),
    "hit@1": hit,
}


@dataclass(frozen=True, slots=True)
class Arm:
    """One way of searching, and what it has found for dev and held-out queries."""

    name: str
    found: Mapping[str, list[Ranking]]

    def ndcg(self, side: str, queries: Sequence[Query]) -> list[float]:
        return [ndcg(r, q.judged) for r, q in zip(self.found[side], queries, strict=True)]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=10.0, help="of each training")
    parser.add_argument("--train", type=int, help="train queries, at most")
    parser.add_argument("--embedder", default="all-minilm-l6-v2")
    options = parser.parse_args(arguments)
    console = Console(stderr=True)
    documents, queries = read_beir(options.data)
    train, dev, held = split(queries)
    train = random.Random(0).sample(train, min(options.train or len(train), len(train)))
    console.print(f"{len(documents)} documents; {len(train)}, {len(dev)}, {len(held)} queries")
    bench = Bench(Corpus.of(documents), {"train": train, "dev": dev, "held": held}, console)
    report = bench.report(bench.arms(Embedder(options.embedder), minutes=options.minutes))
    print(f"{'':16}" + "".join(f"{name:>11}" for name in MEASURES))
    for name, values in report.items():
        if name not in ("gate", "train_seconds"):
            print(f"{name:16}" + "".join(f"{values[measure]:11.3f}" for measure in MEASURES))
    print(report["gate"]["reason"])
    print(json.dumps(report))


class Bench:
    """Runs the arms on one corpus and compares them."""

    def __init__(
        self, corpus: Corpus, queries: Mapping[str, Sequence[Query]], console: Console
    ) -> None:
        self.corpus = corpus
        self.queries = queries
        self.console = console
        self.seconds: dict[str, float] = {}
        self._own: dict[str, list[int]] = {}  # the windows of a document
        for window, owner in enumerate(corpus.owners.tolist()):
            self._own.setdefault(corpus.ids[owner], []).append(window)
        self._words = {
            side: [corpus.search_words(query.text, POOL) for query in queries[side]]
            for side in SIDES
        }

    def arms(self, base: Embedder, *, minutes: float) -> list[Arm]:
        rows, asked = self._embed(base, "base")
        arms = [
            Arm("bm25", {side: [self._ranked(w) for w in self._words[side]] for side in SIDES}),
            self._arm("base_dense", rows, asked, weight=0.0),
            self._arm("base_hybrid", rows, asked),
        ]
        right = {side: self._positives(side, asked[side], rows) for side in ("train", "dev")}
        fitted = fit(Asked(asked["train"], right["train"]), Asked(asked["dev"], right["dev"]), rows)
        self.seconds["query_adapter"] = fitted.seconds
        self.console.print(
            f"query adapter: dev MRR {fitted.dev_before:.3f} -> {fitted.dev_after:.3f}"
        )
        moved = {side: fitted.adapter(asked[side]) for side in SIDES}
        arms.append(self._arm("query_adapter", rows, moved))

        triples = self._triples(asked["train"], right["train"], rows)
        sample = self._dev_sample(right["dev"])
        stock = self._tuned("stock", base.folder, triples, STOCK, minutes, None)
        arms.append(self._arm("stock", *stock, weight=0.0))
        full = self._tuned("full", base.folder, triples, EmbedderConfig(), minutes, sample)
        arms.append(self._arm("full_dense", *full, weight=0.0))
        arms.append(self._arm("full", *full))
        return arms

    def report(self, arms: Sequence[Arm]) -> dict[str, Any]:
        """The figures of all arms on the held-out queries, and what would be served."""
        held, dev = self.queries["held"], self.queries["dev"]
        by_name = {arm.name: arm for arm in arms}

        def on_dev(arm: Arm) -> float:
            return fmean(arm.ndcg("dev", dev))

        bases = [by_name[name] for name in BASES]
        base = max(bases, key=on_dev)
        # A small dev set cannot tell the tuned arms apart, so the gate looks at each, the best on
        # dev first. Every look is a chance to be wrong, which wider intervals make up for.
        confidence = 1 - 0.05 / len(TUNED)
        looked = sorted((by_name[name] for name in TUNED), key=on_dev, reverse=True)
        gains = [self._gained(arm, bases, confidence) for arm in looked]
        passed = [at for at, (gain, _) in enumerate(gains) if gain.low > 0]
        at = passed[0] if passed else 0
        tuned, (gained, over) = looked[at], gains[at]
        served = tuned if passed else base
        told = (
            f"{tuned.name} against {over.name}: nDCG@10 {gained.mean:+.3f} ({gained.low:+.3f} to "
            f"{gained.high:+.3f} at {confidence:.1%}, for {len(TUNED)} looks) on {len(held)} "
            f"held-out queries: "
            + ("it is served." if passed else f"none is shown to be better; {base.name} is served.")
        )
        figures = {arm.name: self._measured(arm) for arm in [*arms, replace(served, name="served")]}
        return {
            **figures,
            "gate": {
                "decision": "accepted" if passed else "refused",
                "interval": [gained.low, gained.high],
                "confidence": round(confidence, 4),
                "reason": told,
                "served": served.name,
            },
            "train_seconds": self.seconds,
        }

    def _gained(self, arm: Arm, bases: Sequence[Arm], confidence: float) -> tuple[Interval, Arm]:
        """What an arm gains over the base that it gains the least over, and that base."""
        held = self.queries["held"]
        gains = [
            (
                difference(arm.ndcg("held", held), base.ndcg("held", held), confidence=confidence),
                base,
            )
            for base in bases
        ]
        return min(gains, key=lambda gain: gain[0].low)

    def _measured(self, arm: Arm) -> dict[str, float]:
        pairs = list(zip(arm.found["held"], self.queries["held"], strict=True))
        return {
            name: round(fmean(measure(ranking, query.judged) for ranking, query in pairs), 4)
            for name, measure in MEASURES.items()
        }

    def _embed(self, embedder: Embedder, name: str) -> tuple[Rows, dict[str, Rows]]:
        """Unit rows of all windows, and of the queries by side."""
        with self.console.status(f"{name}: embedding") as status:
            rows = embedder.embed(
                self.corpus.windows,
                progress=lambda done, of: status.update(f"{name}: embedding {done} of {of}"),
            )
        asked = {
            side: embedder.embed([query.text for query in own], queries=True)
            for side, own in self.queries.items()
        }
        return rows, asked

    def _tuned(
        self,
        name: str,
        folder: Path,
        triples: Sequence[Triple],
        config: EmbedderConfig,
        minutes: float,
        dev: Callable[[Any], float] | None,
    ) -> tuple[Rows, dict[str, Rows]]:
        """Tune a copy of the base, and embed everything with it."""
        model = SentenceTransformer(str(folder), device="cpu")
        with self.console.status(name) as status:
            outcome = train_embedder(
                model,
                triples,
                replace(config, max_minutes=minutes, max_epochs=50),
                dev=dev,
                report=lambda step: status.update(f"{name}: {step['step']}, {step['loss']:.3f}"),
            )
        self.seconds[name] = outcome.seconds
        self.console.print(f"{name}: {asdict(outcome)}")
        with tempfile.TemporaryDirectory() as place:
            model.save(place)
            return self._embed(Embedder(place), name)

    def _arm(
        self, name: str, rows: Rows, asked: Mapping[str, Rows], *, weight: float | None = None
    ) -> Arm:
        """Dense and words together; without a weight the one that is fitted on dev."""
        near = {side: [self._nearest(q, rows) for q in asked[side]] for side in SIDES}

        def at(weight: float) -> Arm:
            found = {
                side: [
                    self._ranked(dict(fuse(n, w, lexical_weight=weight)))
                    for n, w in zip(near[side], self._words[side], strict=True)
                ]
                for side in SIDES
            }
            return Arm(name, found)

        return at(self._fitted(near["dev"]) if weight is None else weight)

    def _fitted(self, near: Sequence[Scores]) -> float:
        """How much words count, by the rule that the product goes by."""
        place = {document: at for at, document in enumerate(self.corpus.ids)}
        cases = [
            Case(query.text, n, w, {place[document] for document in query.judged})
            for query, n, w in zip(self.queries["dev"], near, self._words["dev"], strict=True)
        ]
        return fit_weight(cases) if len(cases) >= ENOUGH_CASES else DEFAULT_LEXICAL_WEIGHT

    def _nearest(self, query: Rows, rows: Rows) -> Scores:
        """The best documents by the best of their windows."""
        scores = np.full(len(self.corpus.ids), -1.0, dtype=np.float32)
        np.maximum.at(scores, self.corpus.owners, rows @ query)
        best = np.argpartition(-scores, min(POOL, len(scores) - 1))[:POOL]
        return {int(index): float(scores[index]) for index in best}

    def _ranked(self, scores: Scores) -> Ranking:
        order = sorted(scores, key=lambda index: (-scores[index], index))
        return [self.corpus.ids[index] for index in order]

    def _positives(self, side: str, asked: Rows, rows: Rows) -> list[list[int]]:
        """For each query the window of each right document that is nearest to it."""
        return [
            [
                max(self._own[document], key=lambda window: float(rows[window] @ vector))
                for document in sorted(query.judged, key=lambda d: -query.judged[d])
            ]
            for query, vector in zip(self.queries[side], asked, strict=True)
        ]

    def _triples(self, asked: Rows, right: Sequence[Sequence[int]], rows: Rows) -> list[Triple]:
        windows = self.corpus.windows
        answering = [self._windows_of(query) for query in self.queries["train"]]
        mined = mine(asked, rows, answering, count=5)
        return [
            Triple(
                query.text,
                windows[own[0]],
                tuple(windows[index] for index in wrong),
                vector,
                rows[own[0]],
                frozenset(windows[index] for index in others),
            )
            for query, own, others, wrong, vector in zip(
                self.queries["train"], right, answering, mined, asked, strict=True
            )
        ]

    def _windows_of(self, query: Query) -> list[int]:
        return [window for document in sorted(query.judged) for window in self._own[document]]

    def _dev_sample(self, right: Sequence[Sequence[int]]) -> Callable[[Any], float]:
        """A measure of a model: MRR@10 of some dev queries among their own and other windows."""
        random_ = random.Random(0)
        chosen = random_.sample(range(len(right)), min(DEV_QUERIES, len(right)))
        others = random_.sample(
            range(len(self.corpus.windows)), min(DEV_DISTRACTORS, len(self.corpus.windows))
        )
        shown = sorted({*others, *(window for query in chosen for window in right[query])})
        place = {window: at for at, window in enumerate(shown)}
        positives = [[place[window] for window in right[query]] for query in chosen]

        def measured(model: Any) -> float:
            encode = {"normalize_embeddings": True, "show_progress_bar": False}
            rows = model.encode([self.corpus.windows[window] for window in shown], **encode)
            asked = model.encode([self.queries["dev"][query].text for query in chosen], **encode)
            return mrr(asked, Asked(asked, positives), rows)

        return measured


if __name__ == "__main__":
    main()
