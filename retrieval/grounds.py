"""What the documents offer for a question, judged before a word is written. Pure.

A `Judge` picks the sentences that an extract would quote and estimates whether the documents hold
an answer at all. A reader looks at every hit; a verifier, which costs ten times as much, only
where its word can decide. Both and the embedder are passed in. Read `Judge.find` first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from retrieval.extract import (
    READING_RANGE,
    Embeds,
    Reads,
    Sentence,
    is_open,
    quote,
    rank,
    sigmoid,
    within_range,
)
from retrieval.records import Hit

HITS = 6  # among which the sentence that answers is looked for
# A logistic model without BM25, which is next to nothing where the store holds a few passages:
# see benchmarks/LOG.md.
_BIAS, _CLOSENESS, _LEAD, _KIND, _WORDS = -5.7, 5.6, 4.3, 1.5, 2.2
# With a reader, of one sentence; nothing of the search's own scores, whose scale is each store's.
# A reader finds the answer to an open question; to others it is closeness that tells.
_OPEN = (-0.23, 0.42, 0.7)  # bias, reading, closeness
_CLOSED = (-2.07, 0.26, 6.5)
# What a verifier says of an open question counts the more, the more of the question's words the
# passage has: what is asked in other words than the passage's it may miss.
_VERIFIED = (0.63, 0.3, 0.2, 0.2)  # bias, reading, verified, verified times words
VERIFIED_HITS = 4  # hits that a verifier may look at
MOST_VERIFIED = 7.0  # log odds; it is hardly ever surer, and then no surer is needed
VERIFIED_WEIGHT = 0.02  # of a logit, in the ranking of sentences
_FORMULA = 4  # counts up with every change of these weights: fitted thresholds are then foreign
DEFAULT_THRESHOLD = 0.32
"""Chosen on the demo's questions; a store with questions of its own has one of its own."""


@dataclass(frozen=True, slots=True)
class Grounds:
    """The hits that may be cited, and their best sentences, each naming its hit by index.

    `sentences` make the extract, `others` come after them, best first. `confidence` is the
    estimated chance (0..1) that any of them answers the question; below `threshold` it is weak.
    Where a verifier was not asked, as it could not change that, only the side is exact.
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
    verifier: Reads | None = None

    @property
    def name(self) -> str:
        """What a threshold is fitted to: chances of another name are of another scale."""
        reader = self.reader.name if self.reader else "no reader"
        return f"{_FORMULA}, {reader}{f', {self.verifier.name}' if self.verifier else ''}"

    def find(
        self,
        question: str,
        hits: Sequence[Hit],
        *,
        threshold: float = DEFAULT_THRESHOLD,
        thorough: bool = False,
    ) -> Grounds:
        """Judge the first `HITS` hits of a question, best hit first.

        A verifier is asked where its word can decide whether the confidence reaches the
        threshold; always, if `thorough`.
        """
        hits = hits[:HITS]
        ranked = rank(question, hits, self.embedder, self.reader)
        if self.verifier and ranked and ranked[0].reading is not None and is_open(question):
            ranked, chance = self._verified(question, hits, ranked, threshold, thorough)
        else:
            chance = confidence(question, ranked)
        chosen = quote(ranked)
        others = tuple(sentence for sentence in ranked if sentence not in chosen)
        return Grounds(tuple(hits), tuple(chosen), others, chance, threshold)

    def _verified(
        self,
        question: str,
        hits: Sequence[Hit],
        ranked: list[Sentence],
        threshold: float,
        thorough: bool,
    ) -> tuple[list[Sentence], float]:
        """The sentences ranked anew and the chance, after a verifier has read what it must.

        First the hit that the reader thinks most of, which mostly settles it, then the others.
        """
        assert self.verifier is not None
        best = _best_hits(ranked)
        for step in (best,) if thorough else (best[:1], best[1:]):
            judged = [s for s in ranked if s.hit in best]
            if not thorough and _reaches(judged, threshold, unread=-READING_RANGE):
                break
            read = [
                hit
                for hit in step
                if thorough
                or _reaches([s for s in judged if s.hit == hit], threshold, unread=MOST_VERIFIED)
            ]
            asked = _verify(question, hits, ranked, read, self.verifier) if read else ranked
            if asked is None:
                return ranked, confidence(question, ranked)
            ranked = asked
        chance = sigmoid(max(_verified_odds(s) for s in ranked if s.hit in best))
        return _ranked_anew(ranked), chance


def _verify(
    question: str,
    hits: Sequence[Hit],
    ranked: Sequence[Sentence],
    read: Sequence[int],
    verifier: Reads,
) -> list[Sentence] | None:
    """The sentences with what a verifier says of the hits of these numbers; None for nothing."""
    own = {hit: [s for s in ranked if s.hit == hit] for hit in read}
    found = verifier.read(
        question,
        [(hits[hit].passage.heading, hits[hit].passage.text) for hit in read],
        [[(s.start, s.end) for s in own[hit]] for hit in read],
    )
    if found is None:
        return None
    told = {
        (hit, sentence.start): min(within_range(score), MOST_VERIFIED)
        for hit, scores in zip(read, found, strict=True)
        for sentence, score in zip(own[hit], scores, strict=True)
    }
    return [replace(s, verified=told.get((s.hit, s.start), s.verified)) for s in ranked]


def _ranked_anew(sentences: Sequence[Sentence]) -> list[Sentence]:
    """By what a verifier says as well, best first; where it has not looked it may say the worst."""
    raised = [
        replace(s, score=s.score + VERIFIED_WEIGHT * _word(s, -READING_RANGE)) for s in sentences
    ]
    return sorted(raised, key=lambda s: (-s.score, s.hit, s.start))


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


def _best_hits(ranked: Sequence[Sentence]) -> list[int]:
    """The numbers of the `VERIFIED_HITS` hits with the best odds, as the reader sees it."""
    best: dict[int, float] = {}
    for sentence in ranked:
        odds = _odds(sentence, *_OPEN)
        best[sentence.hit] = max(odds, best.get(sentence.hit, -math.inf))
    return sorted(best, key=lambda hit: -best[hit])[:VERIFIED_HITS]


def _reaches(sentences: Sequence[Sentence], threshold: float, *, unread: float) -> bool:
    """Whether any of them reaches the threshold, if a verifier says `unread` of what it has not."""
    return sigmoid(max(_verified_odds(s, unread) for s in sentences)) >= threshold


def _verified_odds(sentence: Sentence, unread: float = 0.0) -> float:
    """The log odds that one sentence answers, after a reader and, perhaps, a verifier."""
    bias, reading, verified, shared = _VERIFIED
    weight = verified + shared * sentence.passage_words
    return bias + reading * (sentence.reading or 0.0) + weight * _word(sentence, unread)


def _word(sentence: Sentence, unread: float) -> float:
    """What a verifier has said of a sentence; `unread`, if it has not looked."""
    return unread if sentence.verified is None else sentence.verified
