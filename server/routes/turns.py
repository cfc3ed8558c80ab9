"""/v1/turns: one answered request as it was really put to the model, to its owner only."""

from __future__ import annotations

from typing import Any

from litestar import Router, get
from litestar.params import FromPath
from msgspec import Struct

from server.auth import Owner
from server.errors import NotFound
from server.services import AppServices


class TurnObject(Struct, kw_only=True):
    """A turn; words are None where the request said `store: false`.

    `messages` is the prompt that the model saw, `hits` the passages in it, `policy` how
    the draft was grounded, and `changes` what that did to it: was, now and a reason each.
    """

    id: str
    created_at: int
    model: str
    adapter: str | None
    embedder: str
    vector_store_ids: list[str]
    conversation: list[dict[str, str]] | None
    messages: list[dict[str, str]] | None
    hits: list[dict[str, Any]] | None
    policy: str
    changes: list[dict[str, str]] | None
    answer: str | None
    usage: dict[str, int]
    object: str = "turn"


@get("/{turn_id:str}", sync_to_thread=True)
def retrieve_turn(services: AppServices, owner: Owner, turn_id: FromPath[str]) -> TurnObject:
    """Tell what was asked, what the model saw and what became of its draft."""
    turn = services.turns.turn(owner, turn_id)
    if turn is None:
        raise NotFound("turn", turn_id)
    return TurnObject(
        id=turn.id,
        created_at=turn.created_at,
        model=turn.model,
        adapter=turn.adapter,
        embedder=turn.embedder,
        vector_store_ids=list(turn.stores),
        conversation=turn.conversation,
        messages=turn.messages,
        hits=None if turn.hits is None else [_hit(hit) for hit in turn.hits],
        policy=turn.policy,
        changes=turn.changes,
        answer=turn.answer,
        usage=turn.usage,
    )


def _hit(hit: dict[str, Any]) -> dict[str, Any]:
    passage = hit["passage"]
    names = ("text", "start", "end", "page", "heading")
    return {
        "file_id": passage["document_id"],
        "filename": hit["document_name"],
        "score": hit["score"],
        **{name: passage[name] for name in names},
    }


router = Router(path="/turns", route_handlers=[retrieve_turn], tags=["turns"])
