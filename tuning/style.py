"""How much a text sounds like the house, and how much of it was merely copied.

Knows no model, no document and no HTTP; runs in the worker and in benchmarks, never while a
request waits. A judge is fitted on the train split's house replies against the base's replies to
the same questions; it reports, and never selects a checkpoint. Read `StyleJudge` first.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline

from tuning.errors import StyleError
from tuning.mask import mask
from tuning.overlap import copied_ngram, copied_ngrams, rouge_l

__all__ = [
    "FUNCTION_WORDS",
    "StyleJudge",
    "copied_ngram",
    "copied_ngrams",
    "function_word_distance",
    "mask",
    "rouge_l",
]

# A token is a word with its punctuation, or one character where words are not spaced.
_TOKEN = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\s\u3040-\u30ff\u3400-\u9fff]+")
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?")  # noqa: RUF001

# The 70 words by which Mosteller and Wallace told the Federalist Papers' authors apart
# (Inference and Disputed Authorship, 1964, table 2.5), and the pronouns that letters live on.
FUNCTION_WORDS = tuple(
    "a all also an and any are as at be been but by can do down even every for from had has have "
    "her his if in into is it its may more must my no not now of on one only or our shall should "
    "so some such than that the their then there things this to up upon was were what when which "
    "who will with would your i me we us you".split()
)


class StyleJudge:
    """Tells house replies from base replies by the manner of speaking.

    Class-balanced logistic regression over TF-IDF of character 2-5-grams. Figures, names and
    placeholders are masked (`tuning.mask`). For the fit, the two sides are cut to one
    distribution of lengths: each side is sorted by its number of tokens, texts of equal rank are
    paired, and both are cut at the end to the shorter one's number. Later texts are cut to the
    longest length that the fit saw, `most_tokens`.
    """

    def __init__(self, model: Pipeline, *, most_tokens: int) -> None:
        self._model = model
        self.most_tokens = most_tokens

    @classmethod
    def fit(cls, house: Sequence[str], base: Sequence[str], *, seed: int = 0) -> StyleJudge:
        """Learn from the house's replies and the base's replies.

        Raises:
            StyleError: a side has no text left to learn from.
        """
        sides = [
            [masked for text in side if (masked := mask(text).strip())] for side in (house, base)
        ]
        for name, side in zip(("house's", "base's"), sides, strict=True):
            if not side:
                raise StyleError(f"the {name} side holds no text: pass at least one reply of each")
        cut_house, cut_base = equal_lengths(*sides)
        model = make_pipeline(
            TfidfVectorizer(
                analyzer="char",
                ngram_range=(2, 5),
                lowercase=False,
                sublinear_tf=True,
                max_features=200_000,
                dtype=np.float32,
            ),
            LogisticRegression(class_weight="balanced", C=10.0, max_iter=500, random_state=seed),
        )
        try:
            model.fit([*cut_house, *cut_base], [1] * len(cut_house) + [0] * len(cut_base))
        except ValueError as error:
            raise StyleError(f"too little text to learn a style from ({error})") from error
        return cls(model, most_tokens=max(_tokens(text) for text in cut_house + cut_base))

    def score(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """P(house) of every text: (n,) float64; 0 for an empty one. The style is the mean."""
        cut = [_cut(mask(text).strip(), self.most_tokens) for text in texts]
        scores = np.zeros(len(cut), dtype=np.float64)
        if written := [i for i, text in enumerate(cut) if text]:
            scores[written] = self._model.predict_proba([cut[i] for i in written])[:, 1]
        return scores


def equal_lengths(first: Sequence[str], second: Sequence[str]) -> tuple[list[str], list[str]]:
    """Cut two sets of texts, rank by rank, to the same distribution of token counts."""
    counts = [np.array([_tokens(text) for text in side]) for side in (first, second)]
    sorted_counts = [np.sort(side) for side in counts]
    cut: list[list[str]] = []
    for side, texts in enumerate((first, second)):
        ranks = np.empty(len(texts))
        ranks[np.argsort(counts[side], kind="stable")] = (np.arange(len(texts)) + 0.5) / len(texts)
        other = sorted_counts[1 - side]
        partners = other[np.minimum((ranks * len(other)).astype(int), len(other) - 1)]
        cut.append([_cut(text, int(most)) for text, most in zip(texts, partners, strict=True)])
    return cut[0], cut[1]


def function_word_distance(texts_a: Sequence[str], texts_b: Sequence[str]) -> float:
    """How far two sets of texts lie apart in their use of function words; 0 is the same.

    Burrows's Delta (Literary and Linguistic Computing 17:3, 2002): the mean over `FUNCTION_WORDS`
    of the absolute difference of their rates, in standard deviations over all single texts.
    Words that no text holds are left out. NaN where a side holds no word.
    """
    sides = [
        [rates for text in side if (rates := _rates(text)) is not None]
        for side in (texts_a, texts_b)
    ]
    if not all(sides):
        return float("nan")
    a, b = (np.array(side) for side in sides)  # (texts, words) float64
    spread = np.concatenate([a, b]).std(axis=0)
    used = spread > 0
    if not used.any():
        return 0.0
    return float(np.mean(np.abs(a.mean(axis=0) - b.mean(axis=0))[used] / spread[used]))


def _rates(text: str) -> list[float] | None:
    words = [match.group().casefold() for match in _WORD.finditer(text)]
    counts = Counter(words)
    return [counts[word] / len(words) for word in FUNCTION_WORDS] if words else None


def _tokens(text: str) -> int:
    return sum(1 for _ in _TOKEN.finditer(text))


def _cut(text: str, tokens: int) -> str:
    end = 0
    for count, match in enumerate(_TOKEN.finditer(text)):
        if count == tokens:
            break
        end = match.end()
    return text[:end]
