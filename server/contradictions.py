"""Replies whose figures contradict the indexed documents: the documents say 45 days, a reply 30.

Careful rather than complete: a reply's figure counts only with its unit, only where no passage
found for it holds the figure, and only against a sentence of a passage that is about the same
thing and states exactly one other figure of that unit. It knows no worker and no model; the
search is `Library.search`, as for a question.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from retrieval.claims import content_words, figures, split_claims
from retrieval.library import Library
from tuning.findings import SHOWN, Finding, Shown
from tuning.private import excerpt
from tuning.records import Example
from tuning.values import conflicts, stated

MOST_SEARCHED = 1000  # replies with figures, evenly drawn
POOL = 10  # passages looked through for one reply
ABOUT = 0.5  # share of the passage's sentence that question and claim must name
FEWEST_WORDS = 3  # content words that question and claim must share with the passage's sentence

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Contradiction:
    """A figure of a reply, and the other one that a document gives for it."""

    place: int  # in the examples
    claim: str
    said: str
    held: str
    document: str


def contradictions(
    library: Library,
    stores: Sequence[str],
    examples: Sequence[Example],
    *,
    progress: Progress | None = None,
) -> Finding | None:
    """The finding `contradicts_documents`; None where there is nothing to tell."""
    if not stores:
        return None
    stating = [p for p, e in enumerate(examples) if not e.declines and stated(e.reply)]
    step = -(-len(stating) // MOST_SEARCHED) or 1
    searched = stating[::step]
    found: list[Contradiction] = []
    for number, place in enumerate(searched):
        if progress is not None:
            progress(number, len(searched))
        one = contradiction(library, stores, examples[place], place=place)
        if one is not None:
            found.append(one)
    if not found:
        return None
    shown = tuple(
        Shown(
            (examples[one.place].line,),
            f"{excerpt(one.claim)} ({one.said}; {one.document} says {one.held})",
        )
        for one in found[:SHOWN]
    )
    advice = (
        "These replies state other figures than your documents: mend whichever is out of date, "
        "or drop the pairs."
    )
    if step > 1:
        advice += f" Looked at were {len(searched)} of {len(stating)} replies with figures."
    rows = tuple(one.place for one in found)
    return Finding("contradicts_documents", "warning", len(found), advice, shown, rows)


def contradiction(
    library: Library, stores: Sequence[str], example: Example, *, place: int = 0
) -> Contradiction | None:
    """The first figure of a reply that a document contradicts, or None."""
    hits = library.search(stores, f"{example.question}\n{example.reply}", k=POOL)
    held = set().union(*(figures(hit.passage.text) for hit in hits)) | figures(example.question)
    asked = content_words(example.question)
    for start, end in split_claims(example.reply):
        claim = example.reply[start:end]
        values = {
            unit: numbers
            for unit, numbers in stated(claim).items()
            if not any(figures(number) & held for number in numbers)
        }
        if not values:
            continue
        named = asked | content_words(claim)
        for hit in hits:
            for first, last in split_claims(hit.passage.text):
                sentence = hit.passage.text[first:last]
                differing = conflicts(values, stated(sentence))
                if differing and _about(named, content_words(sentence)):
                    unit, said, other = differing[0]
                    return Contradiction(
                        place, claim, f"{said} {unit}", f"{other} {unit}", hit.document_name
                    )
    return None


def _about(named: set[str], words: set[str]) -> bool:
    """Whether a passage's sentence is about what question and claim name."""
    shared = len(named & words)
    return shared >= FEWEST_WORDS and shared >= ABOUT * len(words)
