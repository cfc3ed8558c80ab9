"""Collects a clean text block by block, noting where its pages and headings begin. Pure."""

from __future__ import annotations

import re

from retrieval.records import Text


class TextWriter:
    """Joins blocks by blank lines; offsets always fit what has been written."""

    def __init__(self) -> None:
        self._blocks: list[str] = []
        self._length = 0
        self._pages: list[tuple[int, int]] = []
        self._headings: list[tuple[int, str]] = []

    def add(self, block: str) -> int:
        """Add a block and return where it begins; an empty one is left out."""
        block = block.strip()
        start = self._length + (2 if self._blocks else 0)
        if block:
            self._blocks.append(block)
            self._length = start + len(block)
        return start

    def heading(self, words: str) -> None:
        """Add a heading: a block of its own, at which a section begins."""
        self._headings.append((self.add(words), words))

    def page(self, number: int) -> None:
        """Say that the next block is the first of this page."""
        self._pages.append((self._length + (2 if self._blocks else 0), number))

    def add_with_headings(self, block: str, titles: list[str]) -> None:
        """Add a block in which some titles occur at the beginning of a line, in this order."""
        block = block.strip()
        start = self.add(block)
        searched = 0
        for title in titles:
            words = r"\s+".join(map(re.escape, title.split()))
            pattern = re.compile(rf"^[\d.\sIVX]*{words}", re.MULTILINE | re.IGNORECASE)
            if match := pattern.search(block, searched):
                searched = match.end()
                self._headings.append((start + match.start(), title))

    def text(self, media_type: str) -> Text:
        """Return all that was written."""
        # An empty page begins where the next one does: the last one named is the right one.
        pages = dict(self._pages)
        return Text(
            text="\n\n".join(self._blocks),
            pages=tuple(pages.items()),
            headings=tuple(self._headings),
            media_type=media_type,
        )


def clean(text: str) -> str:
    """Normalise line ends and spaces, and drop what cannot be shown or stored."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\f", "\n").replace("\v", "\n")
    text = text.replace("\xa0", " ").replace("\xad", "").replace("\ufeff", "")
    return re.sub(r"[\x00-\x08\x0e-\x1f\x7f\ud800-\udfff]", "", text)
