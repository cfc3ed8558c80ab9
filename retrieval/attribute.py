"""An answer's claims -> the passages that support them, by words and figures. Pure.

Light and lexical: a claim is aligned to the passage that holds most of its content words, rare
ones counting more, and a figure of the claim must stand in the passage exactly. It knows no
model and no store; read `support` first.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from retrieval.split import sentences

MIN_SUPPORT = 0.5

_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?")  # noqa: RUF001
_FIGURE = re.compile(r"\d+(?:[.,:]\d+)*")
_CITATION = re.compile(r"\[\d+\]")
_NUMBER_WORDS = {
    word: str(value)
    for value, word in enumerate(
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
        "fifteen sixteen seventeen eighteen nineteen twenty".split()
    )
}
# "one" is an article or a pronoun as often as a number.
del _NUMBER_WORDS["one"]
_EMPTY_WORDS = frozenset(
    "a about above after again all also am an and any are as at be because been before being "
    "below between both but by can could did do does doing down during each few for from further "
    "had has have having he hello her here hi him his how i if in into is it its just let like me "
    "more most my no nor not of off ok okay on once one only or other our out over own please so "
    "some sorry sure such thank thanks than that the their them then there these they this those "
    "through to too under until up very was we were what when where which while who why will "
    "with would yes you your yours ask happy help glad welcome know".split()
)


@dataclass(frozen=True, slots=True)
class Claim:
    """A sentence of an answer, and the index of the passage that supports it, or None."""

    start: int
    end: int
    passage: int | None
    score: float


def attribute(answer: str, passages: Sequence[str]) -> list[Claim]:
    """Return every claim of the answer with its support."""
    claims = []
    for start, end in split_claims(answer):
        index, score = support(answer[start:end], passages)
        claims.append(Claim(start=start, end=end, passage=index, score=score))
    return claims


def split_claims(text: str) -> list[tuple[int, int]]:
    """Return the sentences of an answer as (start, end) into it."""
    return list(sentences(text))


def support(
    claim: str, passages: Sequence[str], *, min_support: float = MIN_SUPPORT
) -> tuple[int | None, float]:
    """Return (index of the passage that supports the claim best, its score in 0..1).

    The score is the share of the claim's content words that the passage holds, each weighted by
    its rarity among the passages. A passage that lacks one of the claim's figures supports
    nothing of it. None: no passage reaches `min_support`, or the claim says nothing that could
    be supported (small talk, a question).
    """
    claim = _CITATION.sub(" ", claim)
    words, wanted_figures = content_words(claim), figures(claim)
    if not passages or not (words or wanted_figures) or claim.rstrip().endswith("?"):
        return None, 0.0
    held = [_read(passage)[0] for passage in passages]
    weights = {
        word: math.log(1 + len(passages) / (0.5 + sum(word in other for other in held)))
        for word in words
    }
    whole = sum(weights.values())
    best: tuple[int | None, float] = (None, 0.0)
    for index, passage in enumerate(passages):
        if not wanted_figures <= _read(passage)[1]:
            continue
        found = sum(weight for word, weight in weights.items() if word in held[index])
        score = found / whole if whole else 1.0
        if score > best[1]:
            best = (index, score)
    return best if best[1] >= min_support else (None, best[1])


@lru_cache(maxsize=256)  # every claim of an answer is held against the same few passages
def _read(passage: str) -> tuple[set[str], set[str]]:
    """A passage's content words and figures; not to be changed."""
    return content_words(passage), figures(passage)


def content_words(text: str) -> set[str]:
    """Return the words that carry meaning, without their commonest endings."""
    words = (match.group().casefold() for match in _WORD.finditer(text))
    return {_stem(word) for word in words if word not in _EMPTY_WORDS and word not in _NUMBER_WORDS}


def figures(text: str) -> set[str]:
    """Return the numbers in one form: "1,200" is 1200, "10:00" is 10, "twelve" is 12."""
    found = {_plain(match.group()) for match in _FIGURE.finditer(text)}
    spelt = (_NUMBER_WORDS.get(match.group().casefold()) for match in _WORD.finditer(text))
    return found | {number for number in spelt if number}


def _plain(figure: str) -> str:
    figure = re.sub(r",(?=\d{3}(?!\d))", "", figure)
    figure = re.sub(r":00$", "", figure)
    if re.fullmatch(r"\d+\.\d+", figure):
        figure = figure.rstrip("0").rstrip(".")
    return figure.lstrip("0") or "0"


def _stem(word: str) -> str:
    word = re.sub(r"['’]s$", "", word)  # noqa: RUF001
    for ending in ("ing", "ies", "ed", "es", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            word = word[: -len(ending)] + ("y" if ending == "ies" else "")
            break
    return word[:-1] if word.endswith("e") and len(word) > 4 else word
