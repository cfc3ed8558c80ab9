"""What the documents offer for a question, judged before a word is written. Pure.

A `Judge` picks the sentences that an extract would quote and estimates whether the documents hold
an answer at all. Embedder and reader are passed in. Read `Judge.find` first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from retrieval.extract import Embeds, Reads, Sentence, is_open, quote, rank, sigmoid
from retrieval.records import Hit

HITS = 6  # among which the sentence that answers is looked for
# A logistic model without BM25, which is next to nothing where the store holds a few passages:
# see benchmarks/LOG.md.
_BIAS, _CLOSENESS, _LEAD, _KIND, _WORDS = -5.7, 5.6, 4.3, 1.5, 2.2
# With a reader, of one sentence; nothing of the search's own scores, whose scale is each store's.
# A reader finds the answer to an open question; to others it is closeness that tells.
_OPEN = (-0.23, 0.42, 0.7)  # bias, reading, closeness
_CLOSED = (-2.07, 0.26, 6.5)
_FORMULA = 2  # counts up with every change of these weights: fitted thresholds are then foreign
DEFAULT_THRESHOLD = 0.32
"""Chosen on the demo's questions; a store with questions of its own has one of its own."""


@dataclass(frozen=True, slots=True)
class Grounds:
    """The hits that may be cited, and their best sentences, each naming its hit by index.

    `sentences` make the extract, `others` come after them, best first. `confidence` is the
    estimated chance (0..1) that any of them answers the question; below `threshold` it is weak.
    """

    hits: tuple[Hit, ...] = ()
    sentences: tuple[Sentence, ...] = ()
    others: tuple[Sentence, ...] = ()
    confidence: float = 0.0
    threshold: float = DEFAULT_THRESHOLD

    @property
    def weak(self) -> bool:
        """Whether the hits seem to hold no answer."""
        return self.confidence < self.threshold or not self.sentences


@dataclass(frozen=True, slots=True)
class Judge:
    """Judges what hits offer: by the base's embedder, whatever searches, and a reader if any."""

    embedder: Embeds
    reader: Reads | None = None

    @property
    def name(self) -> str:
        """What a threshold is fitted to: chances of another name are of another scale."""
        return f"{_FORMULA}, {self.reader.name if self.reader else 'no reader'}"

    def find(
        self, question: str, hits: Sequence[Hit], *, threshold: float = DEFAULT_THRESHOLD
    ) -> Grounds:
        """Judge the first `HITS` hits of a question, best hit first."""
        hits = hits[:HITS]
        ranked = rank(question, hits, self.embedder, self.reader)
        chosen = quote(ranked)
        others = tuple(sentence for sentence in ranked if sentence not in chosen)
        return Grounds(tuple(hits), tuple(chosen), others, confidence(question, ranked), threshold)


def confidence(question: str, ranked: Sequence[Sentence]) -> float:
    """Return the estimated chance (0..1) that the sentences, best first, hold the answer.

    What a reader has found counts most, where one has looked: the sentence with the best odds of
    being an answer decides. Else an answer is close to its question, shares rare words with it,
    has the kind of thing that is asked for, and stands out from the sentences behind it.
    """
    if not ranked:
        return 0.0
    best = ranked[0]
    if best.reading is not None:
        weights = _OPEN if is_open(question) else _CLOSED
        return sigmoid(max(_odds(sentence, *weights) for sentence in ranked))
    total = (
        _BIAS
        + _CLOSENESS * max(sentence.closeness for sentence in ranked)
        + _LEAD * (best.score - ranked[min(2, len(ranked) - 1)].score)
        + _KIND * best.has_kind
        + _WORDS * best.words
    )
    return sigmoid(total)


def _odds(sentence: Sentence, bias: float, reading: float, closeness: float) -> float:
    """The log odds that one sentence answers, after a reader has looked."""
    return bias + reading * (sentence.reading or 0.0) + closeness * sentence.closeness
