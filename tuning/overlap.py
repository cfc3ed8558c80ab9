"""What two texts share word for word: the longest copied run, and ROUGE-L. Pure.

Knows no model. Words are runs of letters and digits, casefolded.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

_WORD = re.compile(r"\w+")
_Hashes = NDArray[np.uint64]


def copied_ngram(text: str, corpus: Sequence[str]) -> int:
    """The length, in words, of the longest run that one text of the corpus holds too."""
    return copied_ngrams([text], corpus)[0]


def copied_ngrams(texts: Sequence[str], corpus: Sequence[str]) -> list[int]:
    """The longest copied run of every text, the corpus being read only once.

    A run of n words is copied only if its first n - 1 are, so the longest is found by halving:
    every n-gram gets a 64-bit hash, made of two of half its length.
    """
    ids: dict[str, int] = {}
    numbered = [[ids.setdefault(word, len(ids)) for word in _words(doc)] for doc in corpus]
    held = _Ngrams(numbered, separator=len(ids))
    strange = len(ids) + len(corpus)  # no word and no separator of the corpus
    asked = [
        _Ngrams([[ids.get(word, strange) for word in _words(text)]], separator=strange)
        for text in texts
    ]
    longest = [0] * len(texts)
    for step in held.steps():
        waiting = defaultdict(list)
        for i, grams in enumerate(asked):
            if longest[i] + step <= min(grams.words, held.words):
                waiting[longest[i] + step].append(i)
        for length, indices in waiting.items():
            known = np.sort(held.hashes(length))
            for i in indices:
                wanted = asked[i].hashes(length)
                places = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
                if (known[places] == wanted).any():
                    longest[i] = length
    return longest


def rouge_l(candidate: str, reference: str) -> float:
    """ROUGE-L's F1 (Lin 2004, "ROUGE", section 3): the longest common subsequence of words."""
    a, b = _words(candidate), _words(reference)
    common = _common_subsequence(a, b)
    return 2 * common / (len(a) + len(b)) if common else 0.0


def _common_subsequence(a: Sequence[str], b: Sequence[str]) -> int:
    """Its length, a row of the table at a time in the bits of one number (Hyyrö 2004)."""
    where: dict[str, int] = defaultdict(int)
    for i, word in enumerate(a):
        where[word] |= 1 << i
    full = (1 << len(a)) - 1
    row = full
    for word in b:
        matches = row & where.get(word, 0)
        row = ((row + matches) | (row - matches)) & full
    return len(a) - row.bit_count()


class _Ngrams:
    """The hashes of all n-grams of some lists of numbers; none crosses from list to list.

    `separator` and the numbers above it, one for each list, must occur in no list that is
    compared; the longest list holds `words` numbers.
    """

    def __init__(self, lists: Sequence[Sequence[int]], *, separator: int) -> None:
        self.words = max((len(words) for words in lists), default=0)
        flat = [n for i, words in enumerate(lists) for n in (*words, separator + i)]
        self._powers = [_mixed(np.array(flat, dtype=np.uint64))]

    def steps(self) -> Iterable[int]:
        """The powers of two from the longest list's length down to 1."""
        return [1 << bit for bit in reversed(range(self.words.bit_length()))]

    def hashes(self, length: int) -> _Hashes:
        """One hash for every place where a run of so many numbers begins."""
        level = length.bit_length() - 1
        while len(self._powers) <= level:
            last, half = self._powers[-1], 1 << (len(self._powers) - 1)
            self._powers.append(_joined(last[:-half], last[half:]))
        power = self._powers[level]
        rest = length - (1 << level)
        return _joined(power[: len(power) - rest], power[rest:]) if rest else power


def _joined(first: _Hashes, second: _Hashes) -> _Hashes:
    return _mixed(first * np.uint64(0x9E3779B97F4A7C15) + second)


def _mixed(values: _Hashes) -> _Hashes:
    """SplitMix64's finaliser (Steele, Lea and Flood 2014): near numbers become far ones."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())
