"""What a voice says when the documents do not hold the answer.

A plain sentence that fits any question, ended as the house's replies end, so that a decline, too,
is in the voice. (The house's own declines are trained on beside it, each for its own question.)

Pure. Read `Declines.draw` first.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from retrieval.claims import split_claims
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
