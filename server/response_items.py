"""A response as an object and as a stream of events: pure shapes, in OpenAI's order.

`Reply` collects an answer's parts and knows what has been said; `Events` numbers and writes them.
It knows no services and no database. Read `Reply` first.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from server.answer import Part, Prepared
from server.cite import Citation, without_markers
from server.followup import standalone
from server.ids import new_id
from server.prompt import Message
from server.schemas_responses import RESULTS, ResponseCreate

_MARKER = re.compile(r" \[(\d{1,3})\]")


class Reply:
    """One response from its first part to its last: `body` is the whole object at any moment.

    It holds the passages that the search found; `told` is what the request wants to see of it.
    """

    def __init__(
        self, data: ResponseCreate, prepared: Prepared, id: str, created: int, **more: Any
    ) -> None:
        self._prepared = prepared
        self._results = wants_results(data.include)
        self.text = ""
        self._searches = [_search_item(prepared)] if prepared.stores else []
        self._message_id = new_id("msg")
        self._annotations: list[dict[str, Any]] = []
        self.body = {**_frame(data, prepared, id, created), **more}

    def add(self, part: Part, *, now: int) -> None:
        """Take the next part; the last one completes `body`."""
        self.text += part.text
        if part.finish_reason is None:
            return
        if self._prepared.cites:
            self._annotations = file_citations(self.text, part.citations)
        incomplete = part.finish_reason == "length"
        self.body["status"] = "incomplete" if incomplete else "completed"
        if incomplete:
            self.body["incomplete_details"] = {"reason": "max_output_tokens"}
        else:
            self.body["completed_at"] = now
        self.body["usage"] = _usage(part)
        self.body["output"] = [*self._searches, self.message(self.body["status"])]

    def told(self) -> dict[str, Any]:
        """The response as its request wants it."""
        return self.body if self._results else without_results(self.body)

    @property
    def plain_text(self) -> str:
        """The answer as a next prompt shows it: without the markers that code has put in."""
        return without_markers(self.text) if self._prepared.cites else self.text

    def message(self, status: str) -> dict[str, Any]:
        """The message as an output item: empty while it is being written."""
        content = [] if status == "in_progress" else [self.content()]
        return {
            "id": self._message_id,
            "type": "message",
            "role": "assistant",
            "status": status,
            "content": content,
        }

    def content(self) -> dict[str, Any]:
        """The text with its annotations."""
        return _output_text(self.text, self._annotations)

    # -- the events, in three stretches

    def opening(self, events: Events) -> Iterator[bytes]:
        """Everything before the first word: the search is done by then."""
        yield events("response.created", response=self.body)
        yield events("response.in_progress", response=self.body)
        searches = without_results({"output": self._searches})["output"]
        for at, item in enumerate(self._searches if self._results else searches):
            place = {"item_id": item["id"], "output_index": at}
            begun = {**item, "status": "in_progress", "results": None}
            yield events("response.output_item.added", output_index=at, item=begun)
            for stage in ("in_progress", "searching", "completed"):
                yield events(f"response.file_search_call.{stage}", **place)
            yield events("response.output_item.done", output_index=at, item=item)
        at = len(self._searches)
        yield events(
            "response.output_item.added", output_index=at, item=self.message("in_progress")
        )
        yield events("response.content_part.added", **self._place, part=_output_text("", []))

    def delta(self, events: Events, text: str) -> bytes:
        """More words."""
        return events("response.output_text.delta", **self._place, delta=text, logprobs=[])

    def closing(self, events: Events) -> Iterator[bytes]:
        """Everything after the last word, up to the whole response."""
        for number, annotation in enumerate(self._annotations):
            yield events(
                "response.output_text.annotation.added",
                **self._place,
                annotation_index=number,
                annotation=annotation,
            )
        status = self.body["status"]
        yield events("response.output_text.done", **self._place, text=self.text, logprobs=[])
        yield events("response.content_part.done", **self._place, part=self.content())
        yield events(
            "response.output_item.done",
            output_index=len(self._searches),
            item=self.message(status),
        )
        yield events(f"response.{status}", response=self.told())

    @property
    def _place(self) -> dict[str, Any]:
        at = len(self._searches)
        return {"item_id": self._message_id, "output_index": at, "content_index": 0}


class Events:
    """Server-sent events with one rising sequence number."""

    def __init__(self) -> None:
        self._number = 0

    def __call__(self, type: str, **fields: Any) -> bytes:
        value = {"type": type, "sequence_number": self._number, **fields}
        self._number += 1
        return f"event: {type}\ndata: {json.dumps(value, ensure_ascii=False)}\n\n".encode()


def file_citations(text: str, citations: Sequence[Citation]) -> list[dict[str, Any]]:
    """The citations of an answer where they stand: `index` is where the marker begins.

    `citations` are in the order of their markers [1], [2], ...; the sentence that a hit supports
    ends at the index.
    """
    found = []
    for marker in _MARKER.finditer(text):
        if 1 <= (number := int(marker[1])) <= len(citations):
            hit = citations[number - 1].hit
            found.append(
                {
                    "type": "file_citation",
                    "index": marker.start(),
                    "file_id": hit.passage.document_id,
                    "filename": hit.document_name,
                }
            )
    return found


def input_items(response_id: str, given: Sequence[Message]) -> list[dict[str, Any]]:
    """The messages of a request as items, each with an id of its own."""
    return [
        {
            "id": f"{response_id.replace('resp', 'msg', 1)}_{number}",
            "type": "message",
            "role": message["role"],
            "status": "completed",
            "content": [_output_text(message["content"], [])]
            if message["role"] == "assistant"
            else [{"type": "input_text", "text": message["content"]}],
        }
        for number, message in enumerate(given)
    ]


def without_results(body: dict[str, Any]) -> dict[str, Any]:
    """The response as it is told where its search results are not asked for."""
    output = [
        {**item, "results": None} if item["type"] == "file_search_call" else item
        for item in body["output"]
    ]
    return {**body, "output": output}


def wants_results(include: Sequence[str] | None) -> bool:
    """Whether a request asks for the passages that the search found."""
    return RESULTS in (include or ())


def _search_item(prepared: Prepared) -> dict[str, Any]:
    return {
        "id": new_id("fs"),
        "type": "file_search_call",
        "status": "completed",
        "queries": [standalone(prepared.question.messages)],
        "results": [
            {
                "file_id": hit.passage.document_id,
                "filename": hit.document_name,
                "score": hit.score,
                "text": hit.passage.text,
                "attributes": dict(hit.attributes),
            }
            for hit in prepared.shown
        ],
    }


def _frame(data: ResponseCreate, prepared: Prepared, id: str, created: int) -> dict[str, Any]:
    """The response before its first word."""
    text = data.text or {}
    return {
        "id": id,
        "object": "response",
        "created_at": created,
        "completed_at": None,
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": data.instructions,
        "max_output_tokens": data.max_output_tokens,
        "model": data.model,
        "output": [],
        "parallel_tool_calls": data.parallel_tool_calls is not False,
        "previous_response_id": data.previous_response_id,
        "store": data.store is not False,
        "temperature": data.temperature or 0.0,
        "text": {"format": text.get("format") or {"type": "text"}},
        "tool_choice": data.tool_choice or "auto",
        "tools": [{"vector_store_ids": list(prepared.stores), **tool} for tool in data.tools or []],
        "top_p": data.top_p or 1.0,
        "truncation": data.truncation or "auto",
        "usage": None,
        "user": data.user,
        "metadata": data.metadata or {},
    }


def _output_text(text: str, annotations: list[dict[str, Any]]) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": annotations, "logprobs": []}


def _usage(part: Part) -> dict[str, Any]:
    read, written = part.usage["prompt_tokens"], part.usage["completion_tokens"]
    return {
        "input_tokens": read,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": written,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": read + written,
    }
