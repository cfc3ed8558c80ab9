"""What readers say of search: answers that were liked, and citations that were opened.

The passages that a liked answer cites answer its question, and so does one that a reader has
opened to read on. They teach and never judge, since the search of that day has chosen them.
It knows no training. Read `liked_pairs` first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from server.feedback import Feedback
from server.followup import standalone
from server.prompt import Message
from server.search_pairs import Pair, question_key
from server.turns import Turn


def liked_pairs(feedback: Iterable[Feedback], *, store_id: str) -> list[Pair]:
    """The questions of answers that were liked as they stood, with the passages they cite."""
    liked = [one for one in feedback if one.rating == "up" and not one.edited]
    return _pairs([(one.conversation, one.citations or []) for one in liked], store_id)


def opened_pairs(turns: Iterable[Turn], *, store_id: str) -> list[Pair]:
    """The questions of turns with opened citations, with the passages that were opened."""
    opened = [(turn, turn.citations or []) for turn in turns]
    return _pairs(
        [
            (turn.conversation or [], [hits[number - 1] for number in turn.opened])
            for turn, hits in opened
        ],
        store_id,
    )


def _pairs(
    cited: Iterable[tuple[Sequence[Message], Sequence[dict[str, Any]]]], store_id: str
) -> list[Pair]:
    pairs: dict[str, Pair] = {}
    for conversation, hits in cited:
        passages = [hit["passage"] for hit in hits]
        texts = [passage["text"] for passage in passages if passage["store_id"] == store_id]
        question = standalone(conversation).strip() if conversation else ""
        if texts and question_key(question):
            pair = Pair(0, question, tuple(dict.fromkeys(texts)), (), (), None)
            pairs[pair.key] = pair
    return list(pairs.values())
