"""Marks each sentence of a growing answer with the passage that supports it: pure code.

The model's text goes through at once; a marker such as ` [1]` is put behind a sentence when the
next one begins. What the model itself writes like a marker is dropped: citations are made by
code. It knows no model and no database.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from retrieval.attribute import check
from retrieval.claims import split_claims
from retrieval.records import Hit

OWN_MARKER = re.compile(r"\s?\[\d{1,3}\]")
_HALF_MARKER = re.compile(r"\s*(\[\d{0,3})?$")
# Space at the end, and what may become a list item: only the next words tell whether a sentence
# ends before it.
_UNDECIDED = re.compile(r"\s*(\n[^\S\n]*([-*+•·|>#]|\(?\w{0,3}[.)]?)\s*)?$")


FLAG = " [unsupported]"
NOT_SAID = "no passage says so"

Span = tuple[int, int]  # characters from start to end


@dataclass(slots=True)
class Citation:
    """A hit that an answer cites, and where in its document that is said.

    `spans` are characters of the document, one for each marker of this citation, in their order.
    """

    hit: Hit
    spans: list[Span] = field(default_factory=list)


def mark(citations: list[Citation], hit: Hit, start: int, end: int) -> str:
    """The marker of a sentence that these characters of a hit's passage support; it is added."""
    number = next((n for n, known in enumerate(citations, 1) if known.hit == hit), None)
    if number is None:
        citations.append(Citation(hit))
        number = len(citations)
    first = hit.passage.start
    citations[number - 1].spans.append((first + start, first + end))
    return f" [{number}]"


@dataclass(frozen=True, slots=True)
class Change:
    """What a policy did to a draft: `was` gave way to `now`, for a `reason` in words."""

    was: str
    now: str
    reason: str


def open_end(text: str) -> int:
    """Where the part of a growing text begins of which nobody knows yet what it will be."""
    whole = _HALF_MARKER.search(text).start()  # type: ignore[union-attr]
    return _UNDECIDED.search(text, 0, whole).start()  # type: ignore[union-attr]


def without_markers(text: str) -> str:
    """An answer as its author would write it: without what code has put in behind sentences."""
    return OWN_MARKER.sub("", text.replace(FLAG, "")).strip()


class Citer:
    """Feed it the pieces of an answer; it returns them with markers, and collects citations.

    `citations` are in the order of their markers [1], [2], ... With `flag`, a sentence that
    neither a passage nor the user's `message` supports is marked as unsupported.
    """

    def __init__(self, shown: Sequence[Hit], *, message: str = "", flag: bool = False) -> None:
        self._message = message
        self._flag = flag
        self._shown = list(shown)
        self._passages = [hit.passage.text for hit in shown]
        self._raw = ""  # what may be the beginning of a marker of the model's own
        self._open = ""  # the sentence that is being written, and what is undecided behind it
        self._sent = 0  # how much of it was sent
        self.citations: list[Citation] = []
        self.changes: list[Change] = []

    def add(self, text: str) -> str:
        """The part of the answer that can be sent now."""
        raw = self._raw + text
        whole = _HALF_MARKER.search(raw).start()  # type: ignore[union-attr]
        self._open += OWN_MARKER.sub("", raw[:whole])
        self._raw = raw[whole:]
        return self._send(_UNDECIDED.search(self._open).start())  # type: ignore[union-attr]

    def end(self, *, cut: bool = False) -> str:
        """What is left when the model has stopped; what was `cut` off stays as it is."""
        self._open = (self._open + self._raw).rstrip()
        out = self._send(len(self._open)) + self._marker(self._open)
        self._raw, self._open, self._sent = "", "", 0
        return out

    def _send(self, end: int) -> str:
        """The open text up to `end`, with a marker behind each sentence that another follows."""
        out = ""
        while len(claims := split_claims(self._open)) > 1 and (stop := claims[0][1]) < end:
            out += self._open[self._sent : stop] + self._marker(self._open[:stop])
            self._open, self._sent, end = self._open[stop:], 0, end - stop
        out += self._open[self._sent : end]
        self._sent = max(self._sent, end)
        return out

    def _marker(self, sentence: str) -> str:
        claim = check(sentence, self._passages, message=self._message)
        if claim.passage is None:
            if claim.supported or not self._flag:
                return ""
            reason = f"no passage holds {', '.join(claim.missing)}" if claim.missing else NOT_SAID
            self.changes.append(Change(sentence.strip(), sentence.strip() + FLAG, reason))
            return FLAG
        hit = self._shown[claim.passage]
        return mark(self.citations, hit, claim.passage_start, claim.passage_end)
