"""An answer's claims -> the passages that support them, by words, figures, names and units. Pure.

Lexical, so that it costs next to nothing: a claim is aligned to the one or two neighbouring
sentences of a passage that hold most of its content words, rare ones counting more. A figure must
stand there in the same unit, and both must deny, or neither. A name must stand in the passage, and
in that sentence, too, if it names others.
It knows no model and no store; the words and figures themselves are in `claims.py`. Read
`attribute` first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise

from retrieval.claims import (
    Polarity,
    Quantity,
    clauses,
    content_words,
    figures,
    is_negated,
    names,
    polarity,
    quantities,
    split_claims,
    states_something,
    told,
    without_citations,
)

MIN_SUPPORT = 0.5


@dataclass(frozen=True, slots=True)
class Claim:
    """A sentence of an answer and what backs it.

    `start` and `end` are characters of the answer. `passage` is the index of the passage that
    supports it and (`passage_start`, `passage_end`) the characters there; None where none does.
    `states` is false for what needs no support: small talk, a question. `missing` names the
    figures and names that no source holds. `supported` is also true where the user's own message
    says so: not where it only asks.
    """

    start: int
    end: int
    passage: int | None
    score: float
    passage_start: int = 0
    passage_end: int = 0
    states: bool = True
    supported: bool = False
    missing: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Window:
    """One sentence of a passage, or two neighbours, read once.

    A clause, too, if the rest of its sentence denies something: it has its sentence's place, and
    supports only what has no word of that rest, which is `beside`. Of two neighbours that one
    counts for names and denials which a claim is about: they are its `halves`.
    """

    start: int
    end: int
    words: frozenset[str]
    quantities: frozenset[Quantity]
    polarity: Polarity
    beside: frozenset[str] = frozenset()
    names: frozenset[frozenset[str]] = frozenset()
    halves: tuple[_Window, ...] = ()

    def about(self, words: Set[str]) -> _Window:
        """The sentence that a claim of these words is about; the whole where that is both."""
        if not self.halves:
            return self
        first, second = (len(words & half.words) for half in self.halves)
        return self if first == second else self.halves[first < second]


def attribute(answer: str, passages: Sequence[str], *, message: str = "") -> list[Claim]:
    """Return every claim of the answer with its support; `message` is the user's own."""
    return [
        check(answer[start:end], passages, message=message, start=start)
        for start, end in split_claims(answer)
    ]


def support(
    claim: str, passages: Sequence[str], *, min_support: float = MIN_SUPPORT
) -> tuple[int | None, float]:
    """Return (index of the passage that supports the claim best, its score in 0..1).

    None: no passage reaches `min_support`, or the claim says nothing that could be supported.
    """
    found = check(claim, passages, min_support=min_support)
    return found.passage, found.score


def check(
    claim: str,
    passages: Sequence[str],
    *,
    message: str = "",
    min_support: float = MIN_SUPPORT,
    start: int = 0,
) -> Claim:
    """Hold one claim against the passages and the user's message; `start` is its own offset.

    The score is the share of the claim's content words that a window of the passage holds, each
    weighted by its rarity among the passages.
    """
    end = start + len(claim)
    text = without_citations(claim)
    if not states_something(text):
        return Claim(start, end, None, 0.0, states=False, supported=True)
    best = _best(text, passages)
    if best is not None and best[0] >= min_support:
        score, index, window = best
        return Claim(start, end, index, score, window.start, window.end, supported=True)
    own = _best(text, [told(message)]) if message else None
    held = own is not None and own[0] >= min_support
    score = best[0] if best else 0.0
    missing = () if held else _missing(text, [*passages, message])
    return Claim(start, end, None, score, supported=held, missing=missing)


def _best(text: str, passages: Sequence[str]) -> tuple[float, int, _Window] | None:
    words, wanted = content_words(text), quantities(text)
    wanted_names, own = names(text), polarity(text)
    said = words.difference(*wanted_names)  # beside the names
    everything = [_read(passage) for passage in passages]
    weights = {
        word: math.log(1 + len(passages) / (0.5 + sum(word in held for held, _ in everything)))
        for word in words
    }
    whole = sum(weights.values())
    best: tuple[float, int, _Window] | None = None
    for index, (held, windows) in enumerate(everything):
        if any(not name <= held for name in wanted_names):
            continue
        for window in windows:
            if not _hold(window, wanted):
                continue
            if not said.isdisjoint(held) and said.isdisjoint(window.words):
                continue  # another sentence of the passage is about that
            about = window.about(said)
            if not own.agrees(about.polarity) or _says_of_others(about, wanted_names):
                continue
            if not words.isdisjoint(window.beside):
                continue
            found = sum(weight for word, weight in weights.items() if word in window.words)
            score = found / whole if whole else 1.0
            if best is None or score > best[0]:
                best = (score, index, window)
    return best


def _hold(window: _Window, wanted: frozenset[Quantity]) -> bool:
    """Whether every figure stands in the window, and in the same unit where both name one."""
    return all(any(quantity.fits(own) for own in window.quantities) for quantity in wanted)


def _says_of_others(window: _Window, wanted: Set[frozenset[str]]) -> bool:
    """Whether a sentence names somebody, and not whom a claim names."""
    absent = any(not name <= window.words for name in wanted)
    known = frozenset().union(*wanted)
    return absent and any(name.isdisjoint(known) for name in window.names)


def _missing(text: str, sources: Sequence[str]) -> tuple[str, ...]:
    """The figures and names of a claim that no source holds at all."""
    known = {figure for source in sources for figure in figures(source)}
    words = {word for source in sources for word in _read(source)[0]}
    lacking = sorted(figures(text) - known)
    return (
        *lacking,
        *sorted(
            " ".join(sorted(name - words))
            for name in names(text) - {frozenset()}
            if not name <= words
        ),
    )


def forget() -> None:
    """Let go of the passages that were read last: one of them may have been deleted."""
    _read.cache_clear()


@lru_cache(maxsize=256)  # every claim of an answer is held against the same few passages
def _read(passage: str) -> tuple[frozenset[str], tuple[_Window, ...]]:
    """A passage's content words, and its windows; single sentences before pairs."""
    borders = split_claims(passage)
    single = [_window(passage[a:b], a, b) for a, b in borders]
    windows = [*single, *(_pair(passage, *both) for both in pairwise(single))]
    for whole in single:
        if whole.polarity.negated:
            parts = clauses(passage[whole.start : whole.end])
            windows += [_clause(part, whole) for part in parts if not is_negated(part)]
    return frozenset(content_words(passage)), tuple(windows)


def _pair(passage: str, first: _Window, second: _Window) -> _Window:
    whole = _window(passage[first.start : second.end], first.start, second.end)
    return replace(whole, halves=(first, second))


def _window(text: str, start: int, end: int) -> _Window:
    return _Window(
        start,
        end,
        frozenset(content_words(text)),
        quantities(text),
        polarity(text),
        names=frozenset(names(text)),
    )


def _clause(text: str, whole: _Window) -> _Window:
    part = _window(text, whole.start, whole.end)
    return replace(part, beside=whole.words - part.words)
