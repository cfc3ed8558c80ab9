"""What approved thumbs say of search: an answer that was right was found in the right passages.

The passages that such an answer cites answer its question. They teach and never judge, since the
search of that day has chosen them. It knows no training. Read `pairs_of` first.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from retrieval.records import Hit, Passage
from server.cite import Citer
from server.feedback import Feedback
from server.search_pairs import Pair, question_key
from server.turns import Turns


def pairs_of(feedback: Iterable[Feedback], turns: Turns, *, store_id: str) -> list[Pair]:
    """The questions of answers that were liked as they stood, with the passages they cite."""
    pairs: dict[str, Pair] = {}
    for one in feedback:
        if one.rating != "up" or one.edited or not one.cited or not one.conversation:
            continue
        turn = turns.turn(one.owner, one.turn_id)
        if turn is None or not turn.hits:
            continue
        cited = _cited(one.written, [_hit(value) for value in turn.hits])
        texts = [hit.passage.text for hit in cited if hit.passage.store_id == store_id]
        question = one.conversation[-1]["content"].strip()
        if texts and question_key(question):
            pair = Pair(0, question, tuple(dict.fromkeys(texts)), (), (), None)
            pairs[pair.key] = pair
    return list(pairs.values())


def _cited(answer: str, hits: list[Hit]) -> list[Hit]:
    """The hits that an answer cites: by the very code that put its markers there."""
    citer = Citer(hits)
    citer.add(answer)
    citer.end()
    return list(citer.cited)


def _hit(value: dict[str, Any]) -> Hit:
    return Hit(**{**value, "passage": Passage(**value["passage"])})
