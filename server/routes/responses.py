"""/v1/responses: the answers of chat in OpenAI's newer shape, kept and built upon.

Whole or as typed events; what would silently change a result is refused with 400.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Annotated, Any

from litestar import Request, Response, Router, delete, get, post
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter
from litestar.response import Stream

from server.answer import Part
from server.auth import Owner
from server.chain_run import begin
from server.errors import ApiError, error_body, translate
from server.ids import new_id
from server.leaving import unless_left
from server.prompt import Message
from server.response_items import Events, Reply, input_items, wants_results, without_results
from server.responses import StoredResponse
from server.schemas import Deleted
from server.schemas_responses import ResponseCreate, messages, question
from server.services import AppServices, Services

logger = logging.getLogger(__name__)


@post("/", status_code=200)
async def create_response(
    request: Request[Any, Any, Any],
    services: AppServices,
    owner: Owner,
    data: JSONBody[ResponseCreate],
) -> Response[Any]:
    """Answer a question; `stream: true` answers as server-sent events."""
    return await unless_left(request, _answer(services, owner, data))


async def _answer(services: Services, owner: str, data: ResponseCreate) -> Response[Any]:
    before = await asyncio.to_thread(services.responses.talk, owner, data.previous_response_id)
    asked = question(data, before, services)
    id, created = new_id("resp"), int(time.time())
    begun = await begin(services, owner, asked, turn_id=id)
    parts, told = begun.parts, begun.identity(services)
    reply = Reply(data, begun.prepared, id, created, houseword=told)
    # The first part is awaited here, so that a full queue or an unfit voice is an HTTP error.
    first = await anext(parts)
    answer = _Answer(services, owner, data, before, reply)
    if data.stream:
        body = _events(parts, first, answer)
        return Stream(body, media_type="text/event-stream", headers={"cache-control": "no-store"})
    await answer.add(first)
    async for part in parts:
        await answer.add(part)
    return Response(reply.told())


@dataclass(frozen=True, slots=True)
class _Answer:
    """A reply that is being made, and what it takes to keep it."""

    services: Services
    owner: str
    data: ResponseCreate
    before: Sequence[Message]
    reply: Reply

    async def add(self, part: Part) -> None:
        """Take the next part; with the last one the response is on disk before it is told."""
        self.reply.add(part, now=int(time.time()))
        if part.finish_reason and self.data.store is not False:
            await asyncio.to_thread(self._keep)

    def _keep(self) -> None:
        given = messages(self.data.input)
        said = {"role": "assistant", "content": self.reply.plain_text}
        self.services.responses.keep(
            StoredResponse(
                id=self.reply.body["id"],
                owner=self.owner,
                created_at=self.reply.body["created_at"],
                body=self.reply.body,
                given=given,
                talk=[*self.before, *given, said],
            )
        )


async def _events(parts: AsyncIterator[Part], part: Part, answer: _Answer) -> AsyncIterator[bytes]:
    """Server-sent events; closing this iterator (a client gone) stops the generator."""
    reply, events = answer.reply, Events()
    async with aclosing(parts):  # type: ignore[type-var]
        try:
            for event in reply.opening(events):
                yield event
            while True:
                await answer.add(part)
                if part.text:
                    yield reply.delta(events, part.text)
                if part.finish_reason:
                    break
                part = await anext(parts)
            for event in reply.closing(events):
                yield event
        except Exception as error:
            # The status is sent already: the error travels as an event, and the client raises.
            logger.exception("a response broke off")
            told = error_body(translate(error))
            yield events("error", **told["error"], **told)


@get("/{response_id:str}", sync_to_thread=True)
def retrieve_response(
    services: AppServices,
    owner: Owner,
    response_id: FromPath[str],
    include: Annotated[list[str] | None, QueryParameter(name="include[]")] = None,
    stream: FromQuery[bool] = False,
) -> dict[str, Any]:
    """Describe a response that was kept."""
    if stream:
        message = "A kept response is not streamed again: leave stream out."
        raise ApiError(400, message, param="stream", code="unsupported_value")
    body = services.responses.response(owner, response_id).body
    return body if wants_results(include) else without_results(body)


@get("/{response_id:str}/input_items", sync_to_thread=True)
def list_input_items(
    services: AppServices, owner: Owner, response_id: FromPath[str]
) -> dict[str, Any]:
    """What was given with the request of a response, in its order."""
    items = input_items(response_id, services.responses.response(owner, response_id).given)
    return {
        "object": "list",
        "data": items,
        "first_id": items[0]["id"],
        "last_id": items[-1]["id"],
        "has_more": False,
    }


@delete("/{response_id:str}", status_code=200, sync_to_thread=True)
def delete_response(services: AppServices, owner: Owner, response_id: FromPath[str]) -> Deleted:
    """Forget a response and its turn."""
    services.responses.delete(owner, response_id)
    return Deleted(response_id, "response")


router = Router(
    path="/responses",
    route_handlers=[create_response, retrieve_response, list_input_items, delete_response],
    tags=["responses"],
)
