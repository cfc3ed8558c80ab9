"""/v1/chat/completions: answers from the documents, in a voice, cited; JSON or server-sent events.

What would silently change a result is refused with 400; unknown harmless fields are ignored.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from litestar import Response, Router, post
from litestar.params import JSONBody
from litestar.response import Stream

from server.answer import Part, Prepared, prepare, searched_by, sources, write
from server.auth import Owner
from server.errors import error_body, translate
from server.ids import new_id
from server.schemas_chat import ChatCreate, question
from server.services import AppServices, Services

logger = logging.getLogger(__name__)


@post("/completions", status_code=200)
async def create_completion(
    services: AppServices, owner: Owner, data: JSONBody[ChatCreate]
) -> Response[Any]:
    """Answer a conversation; `stream: true` answers as server-sent events."""
    asked = question(data, services)
    prepared = await asyncio.to_thread(prepare, services, owner, asked)
    turn_id, created = new_id("chatcmpl"), int(time.time())
    parts = write(services, prepared, turn_id=turn_id)
    # The first part is awaited here, so that a full queue or an unfit voice is an HTTP error.
    first = await anext(parts)
    if data.stream:
        include_usage = bool(data.stream_options and data.stream_options.include_usage)
        frame = {"id": turn_id, "created": created, "model": data.model}
        identity = _identity(services, prepared)
        body = _events(parts, first, frame, identity, include_usage=include_usage)
        return Stream(body, media_type="text/event-stream", headers={"cache-control": "no-store"})
    return Response(await _whole(parts, first, services, prepared, turn_id, created))


async def _whole(
    parts: AsyncIterator[Part],
    part: Part,
    services: Services,
    prepared: Prepared,
    turn_id: str,
    created: int,
) -> dict[str, Any]:
    text = part.text
    async for following in parts:
        part = following
        text += part.text
    return {
        "id": turn_id,
        "object": "chat.completion",
        "created": created,
        "model": prepared.model,
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
        "houseword": _identity(services, prepared),
    }


async def _events(
    parts: AsyncIterator[Part],
    part: Part,
    frame: dict[str, Any],
    identity: dict[str, Any],
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
            yield chunk(choice({}, part.finish_reason), houseword=identity)
            if include_usage:
                yield chunk([], usage=_usage(part))
            yield b"data: [DONE]\n\n"
        except Exception as error:
            # The status is sent already: the error travels as an event, and the client raises.
            logger.exception("an answer broke off")
            yield f"data: {json.dumps(error_body(translate(error)))}\n\n".encode()


def _identity(services: Services, prepared: Prepared) -> dict[str, Any]:
    """What answered, named by its content: in every answer."""
    return {
        "adapter": prepared.adapter,
        "base": services.engine.generator.fingerprint,
        "embedder": searched_by(services, prepared),
        "prompt": services.engine.prompt_digest,
    }


def _usage(part: Part) -> dict[str, int]:
    return {**part.usage, "total_tokens": sum(part.usage.values())}


router = Router(path="/chat", route_handlers=[create_completion], tags=["chat"])
