"""What an answer is worth, measured on its text alone. Pure: no generator runs here.

The definitions are the project's, each in one place: read `expected_found` first, then `support`.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from retrieval import attribute
from retrieval.claims import figures, split_claims, states_something
from tuning.declines import looks_like_decline as declined
from tuning.mask import mask, name_spans

__all__ = [
    "Support",
    "declined",
    "expected_found",
    "frame_of",
    "normalize",
    "recalled",
    "support",
]

_CITATION = re.compile(r"\s?\[\d+\]")
_LIST_NUMBER = re.compile(r"^[^\S\n]*\(?\d{1,3}[.)]\s", re.MULTILINE)
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_ZERO_CENTS = re.compile(r"(\d)\.0+(?!\d)")
_CURRENCY_SPACE = re.compile(r"([$€£])\s+(?=\d)")
_FRAME_REPLIES = 3  # a sentence of that many replies is a phrase of the house, not a claim


@dataclass(frozen=True, slots=True)
class Support:
    """How many claims, figures and names an answer makes, and how many its sources hold."""

    claims: int
    supported: int
    figures: int
    supported_figures: int
    names: int = 0
    supported_names: int = 0

    @property
    def claim_share(self) -> float:
        """The share of claims that a source supports; 1 for an answer that claims nothing."""
        return self.supported / self.claims if self.claims else 1.0

    @property
    def detail_share(self) -> float:
        """The share of figures and names that a source holds; 1 for an answer without any."""
        details = self.figures + self.names
        return (self.supported_figures + self.supported_names) / details if details else 1.0

    @property
    def figure_share(self) -> float:
        """The share of figures alone that a source holds; 1 for an answer without any."""
        return self.supported_figures / self.figures if self.figures else 1.0


def support(
    text: str, passages: Sequence[str], message: str, *, frame: Collection[str] = ()
) -> Support:
    """Count what an answer claims, and what the passages shown or the user's message hold.

    A claim is a sentence with words that carry meaning, no question and none of the house's
    phrases (`frame`, as `frame_of` finds them), in which no name counts either. A figure or a
    name counts once, a figure in whatever form it is written.
    """
    text = _LIST_NUMBER.sub("", _CITATION.sub(" ", text))
    sources = [*passages, message]
    claims = supported = 0
    names: set[str] = set()
    for start, end in split_claims(text):
        sentence = text[start:end]
        if _phrase(sentence) in frame:
            continue
        names |= {normalize(sentence[a:b]) for a, b in name_spans(sentence)}
        if states_something(sentence):
            claims += 1
            supported += attribute.support(sentence, sources)[0] is not None
    told = figures(text)
    known_figures = {figure for source in sources for figure in figures(source)}
    known = normalize("\n".join(sources))
    return Support(
        claims=claims,
        supported=supported,
        figures=len(told),
        supported_figures=len(told & known_figures),
        names=len(names),
        supported_names=sum(_occurs(name, known) for name in names),
    )


def frame_of(replies: Iterable[str]) -> frozenset[str]:
    """The phrases of a house: sentences that at least three of its replies hold.

    Greetings and signatures, figures and names aside. Give them to `support`.
    """
    held: Counter[str] = Counter()
    for reply in replies:
        sentences = split_claims(reply)
        held.update({_phrase(reply[start:end]) for start, end in sentences})
    return frozenset(sentence for sentence, count in held.items() if count >= _FRAME_REPLIES)


def expected_found(answer: str, expected: Sequence[str]) -> bool:
    """Whether every expected string occurs in the answer, at word boundaries.

    Both are compared after NFKC, casefold and normalisation of numbers and currencies ("$1,000.00"
    is "$1000"); citation markers in the answer do not count.
    """
    text = normalize(_CITATION.sub(" ", answer))
    return all(_occurs(normalize(fact), text) for fact in expected)


def recalled(text: str, facts: Sequence[str]) -> bool:
    """Whether an answer written without context tells any of the facts: it is *memorised*.

    One is a leak. The gate and the benchmarks both take it of the answers to `probing.probe`.
    Leave out of `facts` what the question itself says. No facts: nothing can be recalled.
    """
    return any(expected_found(text, [fact]) for fact in facts if fact.strip())


def normalize(text: str) -> str:
    """One form for text that means the same: NFKC, casefold, plain numbers, single spaces."""
    text = unicodedata.normalize("NFKC", text).casefold()
    text = _ZERO_CENTS.sub(r"\1", _THOUSANDS.sub("", text))
    return " ".join(_CURRENCY_SPACE.sub(r"\1", text).split())


def _occurs(fact: str, text: str) -> bool:
    # A figure must not be the tail of a longer one: "5 days" is not in "45 days" nor in "1.5 days".
    return re.search(rf"(?<![\w.])(?<!\d,){re.escape(fact)}(?!\w)(?![.,]\d)", text) is not None


def _phrase(sentence: str) -> str:
    return normalize(mask(sentence))
