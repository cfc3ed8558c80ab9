"""/v1/turns: one answered request as it was really put to the model, to its owner only."""

from __future__ import annotations

from typing import Any

from litestar import Router, get, post
from litestar.params import FromPath, JSONBody
from msgspec import Struct

from server.auth import Owner
from server.errors import ApiError, NotFound
from server.services import AppServices, Services
from server.turns import Turn


class TurnObject(Struct, kw_only=True):
    """A turn; words are None where the request said `store: false`.

    `messages` is the prompt that the model saw, `hits` the passages in it, `policy` how
    the draft was grounded, and `changes` what that did to it: was, now and a reason each.
    `citations` are what the answer cites, in its order, with the document's characters that say so
    (`spans`, one for each marker), and `opened` the numbers of those that were opened.
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
    citations: list[dict[str, Any]] | None
    opened: list[int]
    status: str
    usage: dict[str, int]
    object: str = "turn"


class CitationOpened(Struct, kw_only=True):
    """The number of a citation as it stands in the answer, from 1."""

    citation: int


@get("/{turn_id:str}", sync_to_thread=True)
def retrieve_turn(services: AppServices, owner: Owner, turn_id: FromPath[str]) -> TurnObject:
    """Tell what was asked, what the model saw and what became of its draft."""
    return _object(_turn(services, owner, turn_id))


@post("/{turn_id:str}/opened", status_code=200, sync_to_thread=True)
def open_citation(
    services: AppServices, owner: Owner, turn_id: FromPath[str], data: JSONBody[CitationOpened]
) -> TurnObject:
    """Tell that a reader has opened a citation: the next tuning of search learns from it."""
    citations = _turn(services, owner, turn_id).citations or []
    if not 1 <= data.citation <= len(citations):
        held = f"cites {len(citations)} passages" if citations else "cites nothing"
        raise ApiError(
            400,
            f"The answer of turn '{turn_id}' {held}: there is no citation {data.citation}.",
            param="citation",
            code="invalid_value",
        )
    services.turns.open(owner, turn_id, data.citation)
    return _object(_turn(services, owner, turn_id))


def _turn(services: Services, owner: str, turn_id: str) -> Turn:
    turn = services.turns.turn(owner, turn_id)
    if turn is None:
        raise NotFound("turn", turn_id)
    return turn


def _object(turn: Turn) -> TurnObject:
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
        citations=None if turn.citations is None else [_cited(hit) for hit in turn.citations],
        opened=list(turn.opened),
        status=turn.status,
        usage=turn.usage,
    )


def _cited(hit: dict[str, Any]) -> dict[str, Any]:
    return {**_hit(hit), "spans": hit.get("spans", [])}


def _hit(hit: dict[str, Any]) -> dict[str, Any]:
    passage = hit["passage"]
    names = ("text", "start", "end", "page", "heading")
    return {
        "file_id": passage["document_id"],
        "filename": hit["document_name"],
        "score": hit["score"],
        **{name: passage[name] for name in names},
    }


router = Router(path="/turns", route_handlers=[retrieve_turn, open_citation], tags=["turns"])
