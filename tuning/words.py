"""The words that carry a text's matter, for measures that compare texts by what they name.

A rough reading that needs no language: words of four letters or more, each cut to its first
five so that "returns" and "returned" are one. Scripts written without spaces are read by pairs
of characters. Knows no examples and no model.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_STEM = 5
# Thai to Khmer, kana, Chinese characters and Hangul: no spaces, or very short words between them.
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
_PIECE = re.compile(rf"[{_UNSPACED}]+|[^\W\d_{_UNSPACED}]+")
_WORD_OR_FIGURE = re.compile(rf"[{_UNSPACED}]|[^\W_{_UNSPACED}]+")
_UNSPACED_START = re.compile(f"[{_UNSPACED}]")
_FIGURE = re.compile(r"\d+(?:[.,:]\d+)*")


def content_words(text: str) -> list[str]:
    """The content words of a text in their order, casefolded and cut to their stems."""
    words: list[str] = []
    for piece in _PIECE.findall(text.casefold()):
        if _UNSPACED_START.match(piece):
            words += [piece[i : i + 2] for i in range(max(1, len(piece) - 1))]
        elif len(piece) >= 4:
            words.append(piece[:_STEM])
    return words


def figures(text: str) -> list[str]:
    """The figures of a text in their order, with thousands written without a comma."""
    return [re.sub(r",(?=\d{3}\b)", "", figure) for figure in _FIGURE.findall(text)]


def pieces(text: str) -> Iterator[str]:
    """Yield the words and figures of a text in full; characters, in scripts without spaces."""
    for match in _WORD_OR_FIGURE.finditer(text.casefold()):
        yield match.group()
