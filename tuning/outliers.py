"""Replies that are unlike the rest: in length, in manner, in script.

"Unlike" is a robust z-score, the distance from the median in (scaled) median absolute
deviations, so the outliers do not hide themselves by moving the mean. Each function returns the
indices of texts, and knows no examples.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer

from tuning.mask import mask
from tuning.words import UNSPACED

LENGTH_Z = 5.0
LENGTH_RATIO = 4.0  # and so many times the median, or a part of it
VOICE_Z = 4.5
VOICE_LEAST = 30  # texts below which no manner can be told
VOICE_FITTED = 2000  # texts that the manner is learnt from
VOICE_CHARACTERS = 600  # of a text; a manner shows early
_MAD = 1.4826  # of a normal distribution: standard deviation / median absolute deviation
_UNSPACED = re.compile(f"[{UNSPACED}]")


def long_texts(texts: Sequence[str]) -> list[int]:
    """The texts that are far longer than the rest, the longest first."""
    scores, ratios = _lengths(texts)
    found = np.flatnonzero((scores > LENGTH_Z) & (ratios > LENGTH_RATIO))
    return sorted(found.tolist(), key=lambda i: -len(texts[i]))


def short_texts(texts: Sequence[str]) -> list[int]:
    """The texts that are far shorter than the rest, and those of one word among longer ones."""
    scores, ratios = _lengths(texts)
    found = (scores < -LENGTH_Z) & (ratios < 1 / LENGTH_RATIO)
    words = np.array([_words(text) for text in texts])
    if len(words) and np.median(words) > 3:  # labels are meant to be short
        found |= words <= 1
    return np.flatnonzero(found).tolist()


def other_manner(texts: Sequence[str]) -> list[int]:
    """The texts that are written in another manner than the rest, the farthest first.

    The manner is the centroid of term frequencies over character trigrams, with names and figures masked.
    Short texts lie farther from it than long ones, so the usual distance at its length is taken off.
    """
    if len(texts) < VOICE_LEAST:
        return []
    random_ = np.random.default_rng(0)
    fitted = random_.permutation(len(texts))[:VOICE_FITTED]
    manner = [mask(text[:VOICE_CHARACTERS]) for text in texts]
    vectorizer = TfidfVectorizer(
        analyzer="char_wb",
        ngram_range=(3, 3),
        sublinear_tf=True,
        use_idf=False,  # what all say, function words and greetings, is the manner
        max_features=30_000,
        dtype=np.float32,
    )
    try:
        centroid = np.asarray(
            vectorizer.fit_transform([manner[i] for i in fitted]).mean(axis=0)
        ).ravel()  # (features,) float32
    except ValueError:  # texts of which nothing is left
        return []
    near = np.concatenate(
        [
            vectorizer.transform(manner[start : start + VOICE_FITTED]) @ centroid
            for start in range(0, len(manner), VOICE_FITTED)
        ]
    )
    lengths = np.log([max(1, len(text)) for text in manner])
    usual, rest = np.ones(len(texts), dtype=bool), near - np.median(near)
    for _ in range(3):  # a curve over the length, fitted without what lies far from it
        if len(np.unique(lengths[usual])) < 4:
            break
        rest = near - np.polyval(np.polyfit(lengths[usual], near[usual], 2), lengths)
        usual = np.abs(robust_z(rest)) < 2.5
    scores = robust_z(rest, least=0.02)
    found = np.flatnonzero(scores < -VOICE_Z)
    return sorted(found.tolist(), key=lambda i: scores[i])


def other_script(texts: Sequence[str]) -> list[int]:
    """The texts that are mostly in another script than most texts are."""
    scripts = [_script(text) for text in texts]
    counts = Counter(script for script in scripts if script)
    if not counts:
        return []
    usual = counts.most_common(1)[0][0]
    return [i for i, script in enumerate(scripts) if script and script != usual]


def robust_z(values: NDArray[np.floating], *, least: float = 1e-9) -> NDArray[np.float64]:
    """The distance of each value from the median in robust deviations, each at least `least`."""
    median = np.median(values)
    spread = _MAD * float(np.median(np.abs(values - median)))
    return np.asarray((values - median) / max(spread, least), dtype=np.float64)


def _lengths(texts: Sequence[str]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of every text the robust z-score of its length's logarithm, and its length in medians."""
    if not texts:
        return np.zeros(0), np.zeros(0)
    lengths = np.array([max(1, len(text)) for text in texts])
    return robust_z(np.log(lengths), least=math.log(1.3)), lengths / np.median(lengths)


def _words(text: str) -> int:
    return len(_UNSPACED.findall(text)) if _UNSPACED.search(text) else len(text.split())


def _script(text: str) -> str | None:
    """The script of most letters: LATIN, ARABIC, CJK; None for emoji and figures alone."""
    counts: Counter[str] = Counter()
    for character, count in Counter(text).items():
        if script := _script_of(character):
            counts[script] += count
    return counts.most_common(1)[0][0] if counts else None


@lru_cache(maxsize=65_536)
def _script_of(character: str) -> str | None:
    if not character.isalpha():
        return None
    first = unicodedata.name(character, "").split(" ")[0]
    # Japanese is written in three scripts at once.
    return {"HIRAGANA": "CJK", "KATAKANA": "CJK", "FULLWIDTH": "LATIN"}.get(first, first) or None
