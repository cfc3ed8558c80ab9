"""What a reader would get of a text that was written for a row. Pure.

A row keeps its prompt and its passages, not the hits: they are read back from these, and what the
prompt points at is the sentence that answers best. Read `row_as_served` first.
"""

from __future__ import annotations

from collections.abc import Sequence

from retrieval.extract import Sentence
from retrieval.grounds import Grounds
from retrieval.records import Hit, Passage
from retrieval.split import sentences
from server.cite import without_markers
from server.formulas import Formulas
from server.prompt import pointed_at
from server.repair import Policy
from server.served import as_served
from tuning.records import Row, Text


def row_as_served(row: Row, text: Text, *, policy: Policy, formulas: Formulas) -> str:
    """What a policy makes of what a model wrote for a row, without its markers.

    Nearly so: an answer to a user may go on with a second sentence, which no row knows.
    """
    hits = [_hit(number, passage) for number, passage in enumerate(row.passages)]
    served = as_served(
        text.text,
        hits,
        policy=policy,
        grounds=_grounds(row, hits),
        message=row.question,
        before=row.messages[:-1],
        formulas=formulas,
        cut=text.cut,
    )
    return without_markers(served)


def _grounds(row: Row, hits: Sequence[Hit]) -> Grounds:
    """The sentence that a row's prompt points at; weak where it points at none."""
    told = pointed_at(row.messages)
    found = [
        Sentence(hit, first + start, first + end, own, 1.0, 1.0, 1.0, 1.0, 1.0)
        for hit, passage in enumerate(row.passages)
        for first in {0, passage.find("\n") + 1}  # behind the heading, if it has one
        for start, end in sentences(passage[first:])
        if told.endswith(own := " ".join(passage[first + start : first + end].split()))
    ]
    best = max(found, key=lambda sentence: len(sentence.text), default=None)
    chosen = (best,) if best else ()
    return Grounds(tuple(hits), chosen, confidence=float(best is not None))


def _hit(number: int, text: str) -> Hit:
    passage = Passage(
        id=number,
        document_id=str(number),
        store_id="",
        index=0,
        start=0,
        end=len(text),
        text=text,
        page=None,
        heading=None,
        tokens=0,
    )
    return Hit(passage, "", {}, score=1.0, dense=1.0, lexical=1.0, generation="")
