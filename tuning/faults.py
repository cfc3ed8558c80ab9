"""What single replies can be seen to lack: placeholders left in, one word, odd lengths, and
replies to the same question that do not agree.

Each check returns the places of the rows and where in the text it shows. Knows no model and no
other data; `report.py` says what each finding means.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from statistics import median

from tuning.duplicates import text_of
from tuning.records import Example
from tuning.values import conflicts, stated
from tuning.words import pieces

ODD_LENGTH_Z = 4.5  # robust z-score of the logarithm of a reply's length
ODD_LENGTH_TIMES = 5  # and at least so many times longer or shorter than the middle one

_FIELD = (
    r"(?:your|insert|enter|add|customer|client|company|agent|user|first|last|full|order|tracking|"
    r"product|account|invoice|ticket|e-?mail|phone|contact|website|name|date|address|amount|link|"
    r"city|number|url|price|time|title|placeholder)"
)
_PLACEHOLDERS = re.compile(
    r"\{\{[^{}\n]{0,80}\}\}"
    r"|\$\{\w{1,40}\}|(?<![\w}])\{[a-z][\w ]{1,40}\}"
    r"|\[[A-Z][A-Z _#/-]{2,40}\](?!\()"
    rf"|\[(?i:{_FIELD})(?i:[ _-][\w /-]{{1,40}})?\](?!\()"
    rf"|<(?i:insert|your|enter|name|date|placeholder|company|customer|{_FIELD}[ _-]\w+)"
    r"(?:[ _-][\w /-]{1,40})?>"
    r"|\bXXX+(?![A-Za-z])|(?<!\w)_{4,}(?!\w)|\bTODO\b|\bTBD\b|\blorem ipsum\b",
)


def placeholders(examples: Sequence[Example]) -> Iterator[tuple[int, int]]:
    """(place, where in the reply) for every reply with a placeholder left in."""
    for place, example in enumerate(examples):
        if match := _PLACEHOLDERS.search(example.reply):
            yield place, match.start()


def one_word_replies(examples: Sequence[Example]) -> Iterator[int]:
    """The places of replies of one word, or of none, such as a lone emoji."""
    for place, example in enumerate(examples):
        words = list(pieces(example.reply))
        # In scripts without spaces two characters may be one word.
        if len(words) < 2 or (len(words) == 2 and len(example.reply.strip(".!。！ ")) == 2):  # noqa: RUF001
            yield place


def odd_lengths(examples: Sequence[Example]) -> Iterator[int]:
    """The places of replies far longer or shorter than the others."""
    from math import log

    if len(examples) < 10:
        return
    lengths = [log(len(example.reply)) for example in examples]
    middle = median(lengths)
    spread = max(1.4826 * median(abs(length - middle) for length in lengths), 0.1)
    for place, length in enumerate(lengths):
        far = abs(length - middle)
        if far / spread > ODD_LENGTH_Z and far > log(ODD_LENGTH_TIMES):
            yield place


def contradictory_replies(
    examples: Sequence[Example], *, labels: bool = False
) -> Iterator[tuple[list[int], str]]:
    """(places, what differs) for questions with replies that cannot all be right.

    Labels differ when they are not the same; other replies when their figures of one unit do.
    """
    asked: dict[str, list[int]] = {}
    for place, example in enumerate(examples):
        said = text_of(replace(example, reply="", rejected=None))
        asked.setdefault(" ".join(pieces(said)), []).append(place)
    for places in asked.values():
        replies = dict.fromkeys(examples[place].reply for place in places)
        if len(replies) < 2:
            continue
        if labels:
            distinct = {reply.strip().casefold() for reply in replies}
            if len(distinct) > 1:
                yield places, " / ".join(sorted(distinct)[:4])
        elif differing := _first_conflict(list(replies)):
            yield places, differing


def _first_conflict(replies: list[str]) -> str | None:
    held = [stated(reply) for reply in replies[:50]]
    for number, one in enumerate(held):
        for other in held[number + 1 :]:
            for unit, a, b in conflicts(one, other):
                return f"{a} {unit} / {b} {unit}"
    return None
