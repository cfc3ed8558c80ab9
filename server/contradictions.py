"""Replies whose figures contradict the indexed documents: "60 days" where they say "45 days".

Made to be right rather than complete. A sentence of a reply contradicts the documents if no
passage found for it holds its figures, and a sentence of one says nearly the same words with
other figures of the same unit. It knows no job. Read `contradicting` first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from retrieval.attribute import figures, split_claims, support
from retrieval.library import Library
from server.answer import is_small_talk
from tuning.contradictions import by_unit
from tuning.findings import Finding, Place, warning
from tuning.records import Example
from tuning.sensitive import without_figures

POOL = 10  # passages looked through for each reply
SAME_WORDS = 0.7  # of a claim's words, weighted by rarity, that the other sentence must hold
LEAST_WORDS = 3  # content words that a claim must have to be compared

MESSAGE = (
    "The figures of these replies contradict your documents: correct whichever is outdated, or "
    "drop the lines, else the voice learns to overrule the documents."
)
