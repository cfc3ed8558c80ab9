"""What the documents offer for a question, judged before a word is written. Pure.

`find` picks the sentences that an extract would quote and estimates whether the documents hold
an answer at all. The embedder is passed in. Read `find` first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from retrieval.extract import Embeds, Sentence, quote, rank
from retrieval.records import Hit

# A logistic model on the best sentence, fitted on two sets of questions of different kinds: see
# benchmarks/LOG.md.
_BIAS = -5.0
_WEIGHTS = {"closeness": 5.0, "words": 1.5, "passage_words": 1.5, "kind": 1.5}
DEFAULT_THRESHOLD = 0.3


@dataclass(frozen=True, slots=True)
class Grounds:
    """The hits that may be cited, the best sentences among them (each naming its hit by index),
    and the estimated chance (0..1) that they answer the question."""

    hits: tuple[Hit, ...] = ()
    sentences: tuple[Sentence, ...] = ()
    confidence: float = 0.0


def find(question: str, hits: Sequence[Hit], embedder: Embeds) -> Grounds:
    """Judge the hits of a question, best hit first."""
    ranked = rank(question, hits, embedder)
    return Grounds(tuple(hits), tuple(quote(ranked)), confidence(ranked))


def confidence(ranked: Sequence[Sentence]) -> float:
    """Return the estimated chance (0..1) that the sentences, best first, hold the answer."""
    if not ranked:
        return 0.0
    best = ranked[0]
    total = (
        _BIAS
        + _WEIGHTS["closeness"] * max(sentence.closeness for sentence in ranked)
        + _WEIGHTS["words"] * best.words
        + _WEIGHTS["passage_words"] * max(sentence.passage_words for sentence in ranked)
        + _WEIGHTS["kind"] * best.has_kind
    )
    return 1 / (1 + math.exp(-total))
