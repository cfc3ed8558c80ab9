"""Text -> the same text without its content: figures, names and placeholders become signs. Pure.

What is left is the manner of speaking. Knows no voice and no classifier, and no language but
what capital letters say: where all nouns are capitalised, as in German, they all count as names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

FIGURE, NAME, PLACEHOLDER = "#", "@", "§"

_PLACEHOLDER = re.compile(r"\{\{[^{}\n]{0,80}\}\}|\[[^\[\]\n]{0,80}\]")
_ADDRESS = re.compile(r"\b(?:https?://|www\.)\S+\b|\b[\w.+-]{1,64}@[\w-]+(?:\.[\w-]+)+")
_FIGURE = re.compile(r"(?:[$€£]\s?)?(?<!\w)\d+(?:[.,:/\-]\d+)*(?:\s?%|(?:st|nd|rd|th)\b)?")
_WORD = re.compile(r"[^\W\d_]+(?:['’\-][^\W\d_]+)*")  # noqa: RUF001
_BETWEEN_NAMES = re.compile(r"(?:[ \-]|\s?&\s|\.\s)?")
_SENTENCE_START = re.compile(r"(?:^|[.!?…:。！？]|\n)[\s\"“‘'(*_#>•\-–—]*$")  # noqa: RUF001
# What opens a sentence in front of a name without belonging to it.
_OPENERS = frozenset(
    "a about after all also an and any are as at because before best both but by can could dear "
    "did do does each every for from good had has have he hello her here hey hi his how if in "
    "into is it its just let many may more most my no nor not now of on once one only or our out "
    "over please shall she should since so some sorry such thank thanks that the their then "
    "there these they this those though to under until up upon was we were what when where "
    "which while who why will with would yes you your".split()
)
_PRONOUN = re.compile(r"I(?:['’](?:m|d|ll|ve))?")  # noqa: RUF001


def mask(text: str) -> str:
    """Replace placeholders (`{{..}}`, `[..]`) by §, figures by #, names and addresses by @.

    A name is a run of capitalised words; a single one at the start of a sentence is none.
    """
    text = _PLACEHOLDER.sub(PLACEHOLDER, text)
    text = _ADDRESS.sub(NAME, text)
    pieces, last = [], 0
    for start, end in name_spans(text):
        pieces += [text[last:start], NAME]
        last = end
    return _FIGURE.sub(FIGURE, "".join([*pieces, text[last:]]))


def name_spans(text: str) -> Iterator[tuple[int, int]]:
    """Yield every name of the text as (start, end)."""
    run: list[tuple[int, int]] = []
    for match in _WORD.finditer(text):
        if not match.group()[0].isupper() or _PRONOUN.fullmatch(match.group()):
            continue
        if run and not _BETWEEN_NAMES.fullmatch(text, run[-1][1], match.start()):
            yield from _name(text, run)
            run = []
        if run and text[run[-1][1]] == "." and run[-1][1] - run[-1][0] > 3:
            yield from _name(text, run)  # "at Port Ellery. Visitors": a sentence ends between them
            run = []
        run.append(match.span())
    yield from _name(text, run)


def _name(text: str, run: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    if not run:
        return
    start, end = run[0]
    if _SENTENCE_START.search(text, max(0, start - 20), start) or start == 0:
        if len(run) == 1:
            return
        if text[start:end].casefold() in _OPENERS:
            run = run[1:]
    yield run[0][0], run[-1][1]
