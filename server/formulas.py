"""How a house begins and ends its replies, where it often says the same. Pure.

Such a sentence states nothing, so it needs no support: the repair leaves it to the voice, and ends
an answer with one where the draft's own parting was lost. Read `formulas_of` first.
"""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from retrieval.claims import content_words, figures, split_claims
from tuning.declines import looks_like_decline

MOST_PARTINGS = 5  # among which one is chosen
_REPLIES = 3  # a sentence that so many replies begin or end with is a formula
_MOSTLY = 0.5  # of the replies end with a formula: then the house takes leave so
_PARTING_WORDS = 6
_LINK = re.compile(r"[@/\\]|\w\.\w")
# What makes a sentence a statement: a greeting or a parting has none of these.
_STATES = re.compile(
    r"\b(?:is|are|was|were|be|been|has|have|had|do|does|did|can|could|will|would|shall|should|may"
    r"|might|must|we|you|it|they|he|she|yes|no|not|never|always|every|all|any|free)\b"
    r"|n['’]t\b|['’](?:s|re|ll|ve|d)\b",  # noqa: RUF001
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Formulas:
    """The formulas of a voice: all of them, and those of them that it usually ends with.

    `sentences` are in lower case; `partings` are as the house writes them, short and without a
    link, the most usual first, and none where most of its replies end otherwise.
    """

    sentences: tuple[str, ...] = ()
    partings: tuple[str, ...] = ()

    def __contains__(self, sentence: str) -> bool:
        return _plain(sentence) in self.sentences

    def ends(self, sentence: str) -> bool:
        """Whether a sentence is one of the partings."""
        return _plain(sentence) in map(_plain, self.partings)

    def parting(self, message: str) -> str:
        """A parting for the answer to this message, always the same one; "" where there is none."""
        usual = self.partings[:MOST_PARTINGS]
        return usual[zlib.crc32(message.encode(errors="replace")) % len(usual)] if usual else ""

    @classmethod
    def from_json(cls, value: dict[str, Any] | Collection[str]) -> Formulas:
        """From `asdict`, or from the bare sentences that older versions of a voice have."""
        if not isinstance(value, dict):
            return cls(tuple(value))
        return cls(tuple(value["sentences"]), tuple(value["partings"]))


NO_FORMULAS = Formulas()


def formulas_of(replies: Iterable[str]) -> Formulas:
    """The formulas of a house: what begins or ends three of its replies and states nothing."""
    held: Counter[str] = Counter()
    endings: Counter[str] = Counter()
    count = 0
    for count, reply in enumerate(replies, start=1):  # noqa: B007 (it is used below)
        spans = split_claims(reply)
        ends = [reply[start:end].strip() for start, end in (*spans[:1], *spans[1:][-1:])]
        ends = [end for end in ends if not tells(end) and not looks_like_decline(end)]
        held.update({_plain(end) for end in ends})
        if len(spans) > 1 and ends and reply.rstrip().endswith(ends[-1]):
            endings[ends[-1]] += 1
    sentences = tuple(sentence for sentence, n in held.items() if n >= _REPLIES)
    partings = [(end, n) for end, n in endings.most_common() if _plain(end) in sentences]
    usual = sum(n for _, n in partings) >= _MOSTLY * count
    return Formulas(sentences, tuple(end for end, _ in partings if _is_short(end)) if usual else ())


def tells(sentence: str) -> bool:
    """Whether a sentence states something: it has a verb of stating, or a figure."""
    return bool(figures(sentence) or (content_words(sentence) and _STATES.search(sentence)))


def _is_short(parting: str) -> bool:
    """Whether a parting can be added to an answer: long ones tell what to do, links are guarded."""
    return len(parting.split()) <= _PARTING_WORDS and not _LINK.search(parting)


def _plain(sentence: str) -> str:
    return " ".join(sentence.casefold().split())
