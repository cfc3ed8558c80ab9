"""What an answer is worth, measured on its text alone. Pure: no generator runs here.

The definitions are the project's, each in one place: read `expected_found` first.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

_CITATION = re.compile(r"\s?\[\d+\]")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_ZERO_CENTS = re.compile(r"(\d)\.0+(?!\d)")
_CURRENCY_SPACE = re.compile(r"([$€£])\s+(?=\d)")


def expected_found(answer: str, expected: Sequence[str]) -> bool:
    """Whether every expected string occurs in the answer, at word boundaries.

    Both are compared after NFKC, casefold and normalisation of numbers and currencies ("$1,000.00"
    is "$1000"); citation markers in the answer do not count.
    """
    text = normalize(_CITATION.sub(" ", answer))
    return all(_occurs(normalize(fact), text) for fact in expected)


def normalize(text: str) -> str:
    """One form for text that means the same: NFKC, casefold, plain numbers, single spaces."""
    text = unicodedata.normalize("NFKC", text).casefold()
    text = _ZERO_CENTS.sub(r"\1", _THOUSANDS.sub("", text))
    return " ".join(_CURRENCY_SPACE.sub(r"\1", text).split())


def _occurs(fact: str, text: str) -> bool:
    # A figure must not be the tail of a longer one: "5 days" is not in "45 days" nor in "1.5 days".
    return re.search(rf"(?<![\w.])(?<!\d,){re.escape(fact)}(?!\w)(?![.,]\d)", text) is not None
