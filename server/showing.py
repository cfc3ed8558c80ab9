"""What a prompt shows of the hits: which of them, and the sentence that it points at. Pure.

Serving, training rows and verdicts all choose by these. Read `highlights` first.
"""

from __future__ import annotations

from collections.abc import Sequence

from retrieval.extract import Sentence, distinct
from retrieval.grounds import Grounds
from retrieval.records import Hit
from server.disarm import disarmed
from server.prompt import Evidence

HIGHLIGHTS = 1  # sentences that a prompt points at


def readable(hits: Sequence[Hit], *, question: str) -> tuple[Hit, ...]:
    """The hits that say something new, without orders to whoever answers."""
    return disarmed(distinct(hits), question=question)


def evidence(hit: Hit) -> Evidence:
    """What a prompt shows of a hit."""
    return Evidence(hit.passage.text, hit.passage.heading)


def highlights(grounds: Grounds) -> tuple[Evidence, ...]:
    """The sentences that a prompt points at; none where the hits seem to hold no answer."""
    return tuple(
        Evidence(own.text, grounds.hits[own.hit].passage.heading) for own in _pointed_at(grounds)
    )


def seen(shown: Sequence[Hit], grounds: Grounds) -> tuple[Hit, ...]:
    """The hits that a prompt shows anything of: whole, or the sentence that it points at."""
    pointed_at = [grounds.hits[own.hit] for own in _pointed_at(grounds)]
    return (*shown, *(hit for hit in pointed_at if hit not in shown))


def _pointed_at(grounds: Grounds) -> tuple[Sentence, ...]:
    return () if grounds.weak else grounds.sentences[:HIGHLIGHTS]
