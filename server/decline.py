"""What a voice says when the documents do not hold the answer.

A plain sentence that fits any question, ended as the house's replies end, so that a decline, too,
is in the voice. (The house's own declines are trained on beside it, each for its own question.)

Pure. Read `Declines.draw` first; `only_declining` keeps a draft's own decline to the point.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from itertools import pairwise

from retrieval.claims import split_claims
from server.formulas import tells
from tuning.declines import looks_like_decline
from tuning.records import Row

PLAIN = (
    "I don't have that in our documents.",
    "Our documents don't say, so I won't guess.",
    "That isn't in the documents I have here.",
    "I'm sorry, I don't have that information.",
    "I can't find that in our documents.",
    "We have nothing written down about that.",
    "Our documents do not cover that.",
    "I looked, and our documents don't say anything about it.",
)
_LONGEST_ENDING = 90  # characters
_ENDING = re.compile(r"[^?\d{}\[\]]+[.!]")

# Where a decline may turn to something else, how it speaks of who declines before it does so, and
# how it names where else to ask.
_TURN = re.compile(
    r"[;:—]\s|\s[-–]\s|\s(?:but|and|though|although|however|yet|while)\b",  # noqa: RUF001
    re.IGNORECASE,
)
_LEADS_IN = re.compile(r"\b(?:i|we|you|us|our|my|not?)\b|n['’]t\b", re.IGNORECASE)  # noqa: RUF001
_REFERS = re.compile(
    r"\b(?:ask|call|ring|phone|e-?mail|write|contact|speak|talk|reach|check|visit|send|let us know"
    r"|happy to|glad to|able to)\b",
    re.IGNORECASE,
)


class Declines:
    """The declines of one voice, made from its train rows."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self._endings = [ending for row in rows if (ending := _ending(row.reply))]

    def draw(self, random_: random.Random) -> str:
        """A decline that fits any question, ended as one of the house's replies is."""
        return self.ended(random_.choice(PLAIN), random_)

    def ended(self, text: str, random_: random.Random) -> str:
        """The text, ended as one of the house's replies is."""
        return f"{text} {random_.choice(self._endings)}" if self._endings else text


def _ending(reply: str) -> str | None:
    """The last sentence of a reply of several, where it is short and states nothing."""
    claims = split_claims(reply)
    if len(claims) < 2:
        return None
    start, end = claims[-1]
    text = reply[start:end].strip()
    fits = len(text) <= _LONGEST_ENDING and _ENDING.fullmatch(text)
    return text if fits else None


def only_declining(sentence: str, is_told: Callable[[str], bool]) -> str:
    """A decline up to where it goes on to claim something else; "" where it begins with that.

    "We have no note of it, but returns are free" claims what nobody has looked up. `is_told` says
    whether a source holds a part of it.
    """
    turns = [match.start() for match in _TURN.finditer(sentence)]
    for start, end in pairwise([0, *turns, len(sentence)]):
        head, part = sentence[:start].rstrip(" ,;:"), sentence[start:end]
        if not _claims(part) or is_told(part):
            continue
        if looks_like_decline(head):
            return f"{head}."
        if not _LEADS_IN.search(part):
            return ""
    return sentence


def _claims(part: str) -> bool:
    """Whether a part of a decline states something else; where to ask instead, it may say."""
    return tells(part) and not looks_like_decline(part) and not _REFERS.search(part)
