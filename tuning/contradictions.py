"""Replies that give other figures for the same thing: "45 days" against "60 days". Pure.

Only figures of one unit are compared, the unit being the sign or the word that stands beside
the figure. Knows no documents: the server compares replies with those by the same `by_unit`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence

from tuning.records import Example
from tuning.words import figures

_MEASURE = re.compile(
    r"(?P<sign>[$€£¥])?\s?(?<![\w.,:/-])(?P<figure>\d+(?:[.,:]\d+)*)(?![\w/:]|[.,-]\d)"
    r"(?:\s?(?P<percent>%)|[ \u00a0-](?P<word>[^\W\d_]+))?"
)
_STEP = re.compile(r"^\s*\d+[.)]\s", re.MULTILINE)  # the number of a step is no fact
_WORD = re.compile(r"\w+")
MOST_REPLIES = 50  # compared with one another per question
# Words without which two questions still ask the same.
_FILLERS = frozenset(
    "a an the is are was be of hi hello hey please thanks thank s what whats and so there".split()
)
_NO_UNITS = frozenset("and or to the a an in on for at if is are per of from with but as".split())


def by_unit(text: str) -> dict[str, set[str]]:
    """The figures of a text by their unit: {"$": {"12"}, "day": {"45"}}; "" where there is none."""
    found: dict[str, set[str]] = defaultdict(set)
    for match in _MEASURE.finditer(_STEP.sub("", text)):
        word = (match["word"] or "").casefold()
        unit = match["sign"] or match["percent"] or ("" if word in _NO_UNITS else _singular(word))
        found[unit].update(figures(match["figure"]))
    return found


def contradict(first: str, second: str, *, besides: str = "") -> bool:
    """Whether two texts give different figures of one unit; what `besides` holds is not compared.

    One that says more than the other does not contradict it.
    """
    asked = set(figures(besides))
    one, other = by_unit(first), by_unit(second)
    return any(
        (ours := one[unit] - asked) and (theirs := other[unit] - asked) and not ours & theirs
        for unit in one.keys() & other.keys()
    )


def contradictions(examples: Sequence[Example]) -> list[list[Example]]:
    """The groups of examples that ask the same and whose replies contradict each other."""
    asking: dict[str, list[Example]] = defaultdict(list)
    for example in examples:
        asking[same_question(example)].append(example)
    found = []
    for group in asking.values():
        replies: dict[str, Example] = {}
        for example in group:
            replies.setdefault(example.reply, example)
        distinct = list(replies.values())[:MOST_REPLIES]
        at_odds: set[int] = set()
        for i, one in enumerate(distinct):
            for j, other in enumerate(distinct[:i]):
                if contradict(one.reply, other.reply, besides=one.question):
                    at_odds |= {i, j}
        if at_odds:
            found.append([distinct[i] for i in sorted(at_odds)])
    return found


def same_question(example: Example) -> str:
    """What two examples share that ask the same: their words in order, without the fillers."""
    return " / ".join(_words([m["content"] for m in example.messages if m["role"] != "system"]))


def _words(texts: Iterable[str]) -> list[str]:
    kept = []
    for text in texts:
        words = _WORD.findall(text.casefold())
        kept.append(" ".join([word for word in words if word not in _FILLERS] or words))
    return kept


def _singular(word: str) -> str:
    return word[:-1] if len(word) > 3 and word.endswith("s") else word
