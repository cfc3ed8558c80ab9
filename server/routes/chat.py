"""/v1/chat/completions: answers from the documents, in a voice, cited; JSON or server-sent events.

What would silently change a result is refused with 400; unknown harmless fields are ignored.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from litestar import Request, Response, Router, post
from litestar.params import JSONBody
from litestar.response import Stream

from server.answer import Part, sources
from server.auth import Owner
from server.chain_run import begin
from server.errors import error_body, translate
from server.ids import new_id
from server.leaving import unless_left
from server.schemas_chat import ChatCreate, question
from server.services import AppServices, Services

logger = logging.getLogger(__name__)


@post("/completions", status_code=200)
async def create_completion(
    request: Request[Any, Any, Any],
    services: AppServices,
    owner: Owner,
    data: JSONBody[ChatCreate],
) -> Response[Any]:
    """Answer a conversation; `stream: true` answers as server-sent events."""
    return await unless_left(request, _answer(services, owner, data))


async def _answer(services: Services, owner: str, data: ChatCreate) -> Response[Any]:
    asked = question(data, services)
    turn_id, created = new_id("chatcmpl"), int(time.time())
    begun = await begin(services, owner, asked, turn_id=turn_id)
    # The first part is awaited here, so that a full queue or an unfit voice is an HTTP error.
    first = await anext(begun.parts)
    frame = {"id": turn_id, "created": created, "model": data.model}
    told = begun.identity(services)
    if data.stream:
        include_usage = bool(data.stream_options and data.stream_options.include_usage)
        body = _events(begun.parts, first, frame, told, include_usage=include_usage)
        return Stream(body, media_type="text/event-stream", headers={"cache-control": "no-store"})
    return Response(await _whole(begun.parts, first, frame, told))


async def _whole(
    parts: AsyncIterator[Part],
    part: Part,
    frame: dict[str, Any],
    told: dict[str, Any],
) -> dict[str, Any]:
    text = part.text
    async for following in parts:
        part = following
        text += part.text
    return {
        **frame,
        "object": "chat.completion",
        "choices": [
            {
                "index": 0,
                "finish_reason": part.finish_reason,
                "logprobs": None,
                "message": {
                    "role": "assistant",
                    "content": text,
                    "refusal": None,
                    "annotations": [],
                    "citations": sources(part.citations),
                },
            }
        ],
        "usage": _usage(part),
        "houseword": told,
    }


async def _events(
    parts: AsyncIterator[Part],
    part: Part,
    frame: dict[str, Any],
    told: dict[str, Any],
    *,
    include_usage: bool,
) -> AsyncIterator[bytes]:
    """Server-sent events; closing this iterator (a client gone) stops the generator."""

    def chunk(choices: list[dict[str, Any]], **more: Any) -> bytes:
        value = {**frame, "object": "chat.completion.chunk", "choices": choices, **more}
        return f"data: {json.dumps(value, ensure_ascii=False)}\n\n".encode()

    def choice(delta: dict[str, Any], finish_reason: str | None = None) -> list[dict[str, Any]]:
        return [{"index": 0, "delta": delta, "finish_reason": finish_reason, "logprobs": None}]

    async with aclosing(parts):  # type: ignore[type-var]
        try:
            yield chunk(choice({"role": "assistant", "content": ""}))
            while True:
                if part.finish_reason:
                    citations = sources(part.citations)
                    yield chunk(choice({"content": part.text, "citations": citations}))
                    break
                if part.text:
                    yield chunk(choice({"content": part.text}))
                part = await anext(parts)
            yield chunk(choice({}, part.finish_reason), houseword=told)
            if include_usage:
                yield chunk([], usage=_usage(part))
            yield b"data: [DONE]\n\n"
        except Exception as error:
            # The status is sent already: the error travels as an event, and the client raises.
            logger.exception("an answer broke off")
            yield f"data: {json.dumps(error_body(translate(error)))}\n\n".encode()


def _usage(part: Part) -> dict[str, int]:
    return {**part.usage, "total_tokens": sum(part.usage.values())}


router = Router(path="/chat", route_handlers=[create_completion], tags=["chat"])
