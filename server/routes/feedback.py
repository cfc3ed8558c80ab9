"""/v1/feedback: rate an answered turn, review what was said, and take it out as training data.

`turn` is the id of an answer (`chatcmpl-...`). Only approved feedback becomes training data.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Annotated, Any, Literal

from litestar import Response, Router, delete, get, post
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter
from msgspec import Meta, Struct

from server.auth import Owner
from server.errors import ApiError
from server.feedback import Feedback, preference_pairs
from server.ids import new_id
from server.records import Window
from server.retrain import jsonl, keep_jsonl, retrain_if_enough
from server.schemas import Deleted, FileObject, Listing, file_object, listing
from server.services import SECONDS_PER_DAY, AppServices, Services
from server.turns import Turn

Status = Literal["pending", "approved", "rejected"]
Rating = Literal["up", "down"]


class FeedbackCreate(Struct, kw_only=True):
    """What was thought of a turn. `edited` is the better reply, `voice` the one that shall learn
    it (by default the one that spoke)."""

    turn: str
    rating: Rating
    edited: str | None = None
    comment: Annotated[str, Meta(max_length=10_000)] | None = None
    voice: str | None = None


class FeedbackReview(Struct, kw_only=True):
    """A reviewer's word; `edited` replaces the edited reply."""

    status: Literal["approved", "rejected"]
    edited: str | None = None


class PairsCreate(Struct, kw_only=True):
    """Whose pairs shall become a file."""

    voice: str | None = None


class FeedbackObject(Struct, kw_only=True):
    """A rated turn. `job_id` is the training that has taken it."""

    id: str
    object: Literal["feedback"] = "feedback"
    created_at: int
    turn: str
    voice: str | None
    model: str
    adapter: str | None
    messages: list[dict[str, str]]
    answer: str
    rating: Rating
    edited: str | None
    comment: str | None
    status: Status
    reviewed_at: int | None
    job_id: str | None


@post("/", status_code=200, sync_to_thread=True)
def create_feedback(
    services: AppServices, owner: Owner, data: JSONBody[FeedbackCreate]
) -> FeedbackObject:
    """Rate an answered turn; rating it again replaces what was said, and its review."""
    turn = _turn(services, owner, data.turn)
    _check_reply(services, data.edited)
    if data.voice is not None:
        voice: str | None = services.voices.voice(owner, data.voice).name
    else:
        version = services.voices.version(owner, turn.model)
        voice = version.voice if version else None
    assert turn.conversation is not None and turn.answer is not None
    feedback = Feedback(
        id=new_id("fb"),
        owner=owner,
        turn_id=turn.id,
        voice=voice,
        model=turn.model,
        adapter=turn.adapter,
        conversation=turn.conversation,
        answer=turn.answer,
        cited=bool(turn.citations or turn.changes),
        citations=turn.citations,
        rating=data.rating,
        edited=data.edited and data.edited.strip(),
        comment=data.comment,
        created_at=int(time.time()),
    )
    return feedback_object(services.feedback.add(feedback))


@get("/", sync_to_thread=True)
def list_feedback(
    services: AppServices,
    owner: Owner,
    voice: FromQuery[str | None] = None,
    status: FromQuery[Status | None] = None,
    rating: FromQuery[Rating | None] = None,
    limit: Annotated[int, QueryParameter(ge=1, le=100)] = 20,
    order: FromQuery[Literal["asc", "desc"]] = "desc",
    after: FromQuery[str | None] = None,
    before: FromQuery[str | None] = None,
) -> Listing[FeedbackObject]:
    """List the feedback, the newest first."""
    window = Window(limit=limit, order=order, after=after, before=before)
    page = services.feedback.page(owner, window, voice=voice, status=status, rating=rating)
    return listing(page.map(feedback_object))


@get("/{feedback_id:str}", sync_to_thread=True)
def retrieve_feedback(
    services: AppServices, owner: Owner, feedback_id: FromPath[str]
) -> FeedbackObject:
    """Describe one feedback."""
    return feedback_object(services.feedback.get(owner, feedback_id))


@post("/{feedback_id:str}", status_code=200, sync_to_thread=True)
def review_feedback(
    services: AppServices,
    owner: Owner,
    feedback_id: FromPath[str],
    data: JSONBody[FeedbackReview],
) -> FeedbackObject:
    """Approve or reject; enough approved ones train the voice again, where settings say so."""
    _check_reply(services, data.edited)
    edited = data.edited and data.edited.strip()
    known = services.feedback.get(owner, feedback_id)
    if data.status == "approved" and (fault := _with_edit(known, edited).fault):
        raise ApiError(
            400,
            f"Nothing can be learned from this feedback: {fault}. Give an edited reply, or reject.",
            param="status",
            code="nothing_to_learn",
        )
    feedback = services.feedback.review(
        owner, feedback_id, data.status, edited=edited, now=int(time.time())
    )
    if feedback.status == "approved" and feedback.voice:
        retrain_if_enough(services, owner, feedback.voice)
        feedback = services.feedback.get(owner, feedback_id)
    return feedback_object(feedback)


@delete("/{feedback_id:str}", status_code=200, sync_to_thread=True)
def delete_feedback(services: AppServices, owner: Owner, feedback_id: FromPath[str]) -> Deleted:
    """Delete a feedback; the next version of its voice does not learn from it."""
    services.feedback.forget(owner, feedback_id)
    return Deleted(feedback_id, "feedback")


@get("/pairs", sync_to_thread=True)
def list_pairs(
    services: AppServices, owner: Owner, voice: FromQuery[str | None] = None
) -> Response[bytes]:
    """Approved replies before edited and rated-down ones (rejected ratings aside), as pairs.

    JSONL in OpenAI's format for `method: dpo`.
    """
    return Response(jsonl(_pairs(services, owner, voice)), media_type="application/jsonl")


@post("/pairs", status_code=200, sync_to_thread=True)
def create_pairs_file(
    services: AppServices, owner: Owner, data: JSONBody[PairsCreate]
) -> FileObject:
    """The same as a file of purpose `fine-tune`; unchanged pairs give the same file."""
    pairs = _pairs(services, owner, data.voice)
    if not pairs:
        raise ApiError(
            400,
            "No approved feedback has an edited reply, or a rival answer that was rated down.",
            param="voice",
            code="no_pairs",
        )
    file, _ = keep_jsonl(services, owner, pairs, filename=f"{data.voice or 'all'}-pairs.jsonl")
    return file_object(file)


def feedback_object(feedback: Feedback) -> FeedbackObject:
    return FeedbackObject(
        id=feedback.id,
        created_at=feedback.created_at,
        turn=feedback.turn_id,
        voice=feedback.voice,
        model=feedback.model,
        adapter=feedback.adapter,
        messages=feedback.conversation,
        answer=feedback.answer,
        rating=feedback.rating,
        edited=feedback.edited,
        comment=feedback.comment,
        status=feedback.status,
        reviewed_at=feedback.reviewed_at,
        job_id=feedback.job_id,
    )


def _turn(services: Services, owner: str, turn_id: str) -> Turn:
    """A turn whose words are kept; raises a 404 or 400 that says why there is none."""
    days = services.settings.turn_retention_days
    turn = services.turns.turn(owner, turn_id)
    if turn is None or turn.created_at < time.time() - days * SECONDS_PER_DAY:
        raise ApiError(
            404,
            f"No turn with id '{turn_id}': there was none, or it is older than the {days} days "
            "for which turns are kept.",
            param="turn",
            code="turn_not_found",
        )
    if turn.conversation is None or turn.answer is None:
        raise ApiError(
            400,
            f"The words of turn '{turn_id}' were not kept: it was asked with store: false, or "
            "before feedback could be given.",
            param="turn",
            code="turn_not_stored",
        )
    return turn


def _check_reply(services: Services, edited: str | None) -> None:
    if edited is None:
        return
    if not edited.strip():
        raise ApiError(400, "The edited reply is empty.", param="edited", code="invalid_value")
    context = services.engine.context_tokens
    if len(edited) > context and services.engine.count_tokens(edited) >= context:
        raise ApiError(
            400,
            f"The edited reply does not fit into the context of {context} tokens: shorten it.",
            param="edited",
            code="context_length_exceeded",
        )


def _with_edit(feedback: Feedback, edited: str | None) -> Feedback:
    return replace(feedback, edited=edited or feedback.edited)


def _pairs(services: Services, owner: str, voice: str | None) -> list[dict[str, Any]]:
    if voice is not None:
        services.voices.voice(owner, voice)
    return preference_pairs(services.feedback.judged(owner, voice))


router = Router(
    path="/feedback",
    route_handlers=[
        create_feedback,
        list_feedback,
        list_pairs,
        create_pairs_file,
        retrieve_feedback,
        review_feedback,
        delete_feedback,
    ],
    tags=["feedback"],
)
