"""Marks each sentence of a growing answer with the passage that supports it: pure code.

The model's text goes through at once; a marker such as ` [1]` is put behind a sentence when the
next one begins. What the model itself writes like a marker is dropped: citations are made by
code. It knows no model and no database.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from retrieval.attribute import split_claims, support
from retrieval.records import Hit

_OWN_MARKER = re.compile(r"\s?\[\d{1,3}\]")
_HELD_BACK = re.compile(r"\s*(\[\d{0,3})?$")  # space before a marker, or half a marker


class Citer:
    """Feed it the pieces of an answer; it returns them with markers, and collects citations.

    `cited` holds the cited hits in the order of their markers [1], [2], ...
    """

    def __init__(self, shown: Sequence[Hit]) -> None:
        self._shown = list(shown)
        self._passages = [hit.passage.text for hit in shown]
        self._open = ""  # the sentence that is being written, and what is held back behind it
        self._sent = 0  # how much of it was sent
        self.cited: list[Hit] = []

    def add(self, text: str) -> str:
        """The part of the answer that can be sent now."""
        self._open = _OWN_MARKER.sub("", self._open + text)
        sendable = self._open[: _HELD_BACK.search(self._open).start()]  # type: ignore[union-attr]
        out = ""
        while len(claims := split_claims(sendable)) > 1:
            end = claims[0][1]
            out += sendable[self._sent : end] + self._marker(sendable[:end])
            sendable, self._open, self._sent = sendable[end:], self._open[end:], 0
        out += sendable[self._sent :]
        self._sent = max(self._sent, len(sendable))
        return out

    def end(self) -> str:
        """What is left when the model has stopped."""
        text = self._open.rstrip()
        out = text[self._sent :] + self._marker(text)
        self._open, self._sent = "", 0
        return out

    def _marker(self, sentence: str) -> str:
        index, _ = support(sentence, self._passages)
        if index is None:
            return ""
        hit = self._shown[index]
        if hit not in self.cited:
            self.cited.append(hit)
        return f" [{self.cited.index(hit) + 1}]"
