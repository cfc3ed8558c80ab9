"""What is found wrong with training data: a code, the lines, a few examples, and the way out.

A finding of severity `error` stops a training; a `warning` is told, and its lines can be dropped.
Knows no check: `report.py` makes the findings, the server adds those that need documents.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal, NamedTuple

from tuning.sensitive import masked

MOST_EXAMPLES = 5
EXCERPT_CHARACTERS = 120
LEAD_CHARACTERS = 40
_SPACES = re.compile(r"\s+")
DROPPABLE = (
    "exact_duplicates",
    "near_duplicates",
    "leakage",
    "contradictions",
    "contradicts_documents",
    "placeholders",
    "secrets",
    "personal_data",
    "long_replies",
    "short_replies",
    "mixed_voices",
    "other_script",
)
DROPPED_BY_DEFAULT = ("exact_duplicates",)


@dataclass(frozen=True, slots=True)
class Finding:
    """One kind of fault: the `lines` of the file that have it, and what it means, in `message`.

    `lines` are those that go where the finding is dropped: of duplicates all but the first.
    `examples` are (line, excerpt); secrets and personal data in them are masked.
    """

    code: str
    severity: Literal["error", "warning"]
    count: int
    lines: tuple[int, ...]
    examples: tuple[tuple[int, str], ...]
    message: str

    def to_json(self, *, lines: bool = True) -> dict[str, Any]:
        """The finding as JSON; without `lines` it is short however many there are."""
        told: dict[str, Any] = {
            "code": self.code,
            "severity": self.severity,
            "count": self.count,
            "message": self.message,
            "examples": [{"line": line, "excerpt": text} for line, text in self.examples],
        }
        return {**told, "lines": list(self.lines)} if lines else told


class Place(NamedTuple):
    """Where something was found: the line of the file, its text, and the part that matters."""

    line: int
    text: str
    part: str = ""


def warning(code: str, places: Iterable[Place], message: str) -> list[Finding]:
    """A warning about the places, or none where there are none."""
    first: dict[int, Place] = {}
    for place in places:
        first.setdefault(place.line, place)
    if not first:
        return []
    examples = tuple(
        (p.line, excerpt(p.text, p.part)) for p in islice(first.values(), MOST_EXAMPLES)
    )
    return [Finding(code, "warning", len(first), tuple(sorted(first)), examples, message)]


def excerpt(text: str, part: str = "") -> str:
    """Some of a text on one line, from a little before `part`; secrets and personal data masked."""
    before, part, after = text.partition(part) if part else ("", "", text)
    # Masked before they are cut: half a key is no longer known as one.
    before, part, after = (_SPACES.sub(" ", masked(piece)) for piece in (before, part, after))
    if len(before) > LEAD_CHARACTERS:
        before = f"…{before[-LEAD_CHARACTERS:]}"
    line = f"{before}{part}{after}".strip()
    return line if len(line) <= EXCERPT_CHARACTERS else f"{line[: EXCERPT_CHARACTERS - 1]}…"
