"""The wire of responses: what a request may hold, and how it becomes a `Question`.

Unknown fields are ignored; known ones that would change the result and are not supported are
refused with 400, naming the field. Read `question` first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from msgspec import Meta, Struct

from server.answer import Question
from server.errors import ApiError
from server.prompt import Message
from server.schemas_chat import file_search, policy, questions
from server.schemas_format import text_schema
from server.services import Services
from tuning.generate import Sampling

RESULTS = "file_search_call.results"
# Fields of OpenAI's that would silently change what is answered or how.
_UNSUPPORTED = ("background", "conversation", "prompt", "top_logprobs", "chat_template")
_UNSUPPORTED_INCLUDES = ("message.output_text.logprobs",)
_TEXTS = ("input_text", "output_text", "text")
_PASSED_OVER = ("file_search_call", "reasoning")  # of earlier answers; the words stand beside them


class ResponseCreate(Struct, kw_only=True):
    """A question to answer, with what came before it."""

    model: str
    input: Any
    instructions: str | None = None
    previous_response_id: str | None = None
    stream: bool | None = None
    store: bool | None = None
    max_output_tokens: int | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(gt=0, le=1)] | None = None
    text: dict[str, Any] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: Any = None
    parallel_tool_calls: bool | None = None
    include: list[str] | None = None
    metadata: Annotated[dict[str, str], Meta(max_length=16)] | None = None
    truncation: str | None = None
    grounding: str | None = None
    user: str | None = None
    top_logprobs: int | None = None
    background: bool | None = None
    conversation: Any = None
    prompt: Any = None
    chat_template: Any = None


def question(data: ResponseCreate, before: Sequence[Message], services: Services) -> Question:
    """What a request asks for, after the talk `before`; raises a 400 that names the field at fault.

    The instructions hold for this request alone and stand in front of everything.
    """
    for name in _UNSUPPORTED:
        if getattr(data, name):
            raise _refused(name, f"{name} is not supported here.")
    if data.truncation not in (None, "auto", "disabled"):
        raise _refused("truncation", "truncation is 'auto' or 'disabled'.")
    for name in data.include or []:
        if name in _UNSUPPORTED_INCLUDES:
            raise _refused("include", f"include: {name} is not given out.")
    choice = data.tool_choice
    kind = choice.get("type") if isinstance(choice, dict) else choice
    if kind not in (None, "none", "auto", "required", "file_search"):
        raise _refused("tool_choice", "tool_choice: the only tool here is 'file_search'.")
    grounding = policy(data.grounding)
    searched = file_search(data.tools, None)
    instructions = [{"role": "system", "content": data.instructions}] if data.instructions else []
    return Question(
        model=data.model,
        messages=questions([*instructions, *before, *messages(data.input)], "input"),
        sampling=_sampling(data, services),
        stores=searched.stores,
        search=choice != "none",
        hits=searched.hits,
        filter=searched.filter,
        least_score=searched.least_score,
        keep=data.store is not False,
        grounding=grounding,
        whole=data.truncation == "disabled",
        schema=text_schema((data.text or {}).get("format")),
    )


def messages(given: Any) -> list[Message]:
    """The messages of an `input`: a text, or a list of items. Raises a 400."""
    if isinstance(given, str):
        return [{"role": "user", "content": given}]
    if not isinstance(given, list):
        raise _refused("input", "input is a text or a list of items.")
    read = []
    for index, item in enumerate(given):
        where = f"input[{index}]"
        kind = item.get("type", "message") if isinstance(item, dict) else None
        if kind in _PASSED_OVER:
            continue
        if kind != "message":
            raise _refused(where, f"{where}: items of the type {kind!r} are not supported.")
        role = item.get("role")
        if role not in ("system", "developer", "user", "assistant"):
            raise _refused(where, f"{where}: the role {role!r} is not supported.")
        text = _text(item.get("content"), where)
        read.append({"role": "system" if role == "developer" else role, "content": text})
    return read


def _text(content: Any, where: str) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else [None]
    texts = [p.get("text") for p in parts if isinstance(p, dict) and p.get("type") in _TEXTS]
    found = [text for text in texts if isinstance(text, str)]
    if len(found) < len(parts):
        raise _refused(where, f"{where}: the content must be text.")
    return "".join(found)


def _sampling(data: ResponseCreate, services: Services) -> Sampling:
    context, asked = services.engine.context_tokens, data.max_output_tokens
    if asked is not None and not 1 <= asked <= context:
        message = f"max_output_tokens must be within 1..{context}, not {asked}."
        raise _refused("max_output_tokens", message)
    return Sampling(
        max_tokens=asked or min(services.settings.max_tokens, context),
        temperature=data.temperature or 0.0,
        top_p=data.top_p or 1.0,
    )


def _refused(param: str, message: str) -> ApiError:
    return ApiError(400, message, param=param, code="unsupported_value")
