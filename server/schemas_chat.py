"""The wire of chat: what a request may hold, and how it becomes a `Question`.

Unknown fields are ignored; known ones that would change the result and are not supported are
refused with 400, naming the field.
"""

from __future__ import annotations

from typing import Annotated, Any, cast

from msgspec import Meta, Struct

from retrieval.filter import Filter
from server.answer import Question
from server.errors import ApiError
from server.prompt import Message
from server.repair import POLICIES, Policy
from server.services import Services
from tuning.generate import Sampling

# Fields of OpenAI's that would silently change what is answered.
_UNSUPPORTED = ("functions", "function_call", "logit_bias", "audio", "prediction", "chat_template")


class StreamOptions(Struct, kw_only=True):
    include_usage: bool = False


class ChatCreate(Struct, kw_only=True):
    """A conversation to answer."""

    model: str
    messages: list[dict[str, Any]]
    stream: bool = False
    stream_options: StreamOptions | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(gt=0, le=1)] | None = None
    frequency_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    presence_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    n: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    response_format: dict[str, Any] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: Any = None
    store: bool | None = None
    vector_store_ids: list[str] | None = None
    grounding: str | None = None
    functions: Any = None
    function_call: Any = None
    logit_bias: Any = None
    audio: Any = None
    prediction: Any = None
    chat_template: Any = None


def question(data: ChatCreate, services: Services) -> Question:
    """What a request asks for; raises a 400 that names the field at fault."""
    for name in _UNSUPPORTED:
        if getattr(data, name):
            raise _refused(name, f"{name} is not supported here.")
    if data.n is not None and data.n != 1:
        raise _refused("n", "Only one answer per request is written: leave n out.")
    if data.logprobs or data.top_logprobs:
        raise _refused("logprobs", "Log probabilities are not given out.")
    if data.response_format and data.response_format.get("type") != "text":
        raise _refused("response_format", "Only response_format {'type': 'text'} is supported.")
    if data.grounding not in (None, *POLICIES):
        raise _refused("grounding", f"grounding must be one of {', '.join(POLICIES)}.")
    stores, hits, filter = _file_search(data)
    return Question(
        model=data.model,
        messages=_messages(data.messages),
        sampling=_sampling(data, services),
        stores=stores,
        search=data.tool_choice != "none",
        hits=hits,
        filter=filter,
        keep=data.store is not False,
        bounded=bool(data.max_tokens or data.max_completion_tokens),
        grounding=cast("Policy | None", data.grounding),
    )


def _messages(raw: list[dict[str, Any]]) -> tuple[Message, ...]:
    messages = []
    for index, value in enumerate(raw):
        where = f"messages[{index}]"
        role = value.get("role")
        if role not in ("system", "developer", "user", "assistant"):
            raise _refused(where, f"{where}: the role {role!r} is not supported.")
        text = _text(value.get("content"), where)
        messages.append({"role": "system" if role == "developer" else role, "content": text})
    if not messages or messages[-1]["role"] != "user":
        raise _refused("messages", "The last message must be the user's.")
    if not messages[-1]["content"].strip():
        raise _refused("messages", "The question is empty.")
    return tuple(messages)


def _text(content: Any, where: str) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        texts = [p.get("text") for p in content if isinstance(p, dict) and p.get("type") == "text"]
        parts = [text for text in texts if isinstance(text, str)]
        if len(parts) == len(content):
            return "".join(parts)
    raise _refused(where, f"{where}: the content must be text.")


def _sampling(data: ChatCreate, services: Services) -> Sampling:
    context = services.engine.context_tokens
    asked = data.max_tokens if data.max_completion_tokens is None else data.max_completion_tokens
    if asked is not None and not 1 <= asked <= context:
        raise _refused("max_tokens", f"max_tokens must be within 1..{context}, not {asked}.")
    stop = [data.stop] if isinstance(data.stop, str) else data.stop or []
    if len(stop) > 4 or any(not text or len(text) > 200 for text in stop):
        raise _refused("stop", "stop takes up to 4 texts of 1 to 200 characters.")
    return Sampling(
        max_tokens=asked or min(services.settings.max_tokens, context),
        temperature=data.temperature or 0.0,
        top_p=data.top_p or 1.0,
        frequency_penalty=data.frequency_penalty or 0.0,
        presence_penalty=data.presence_penalty or 0.0,
        seed=data.seed % 2**63 if data.seed is not None else None,
        stop=tuple(stop),
    )


def _file_search(data: ChatCreate) -> tuple[tuple[str, ...] | None, int | None, Filter | None]:
    """The stores to search, how many hits to show and which documents count."""
    stores, hits, filters = data.vector_store_ids, None, None
    for tool in data.tools or []:
        if tool.get("type") != "file_search":
            raise _refused("tools", "Only the tool 'file_search' is supported.")
        stores = tool.get("vector_store_ids") or stores
        hits = tool.get("max_num_results")
        filters = tool.get("filters")
    if hits is not None and not (isinstance(hits, int) and 1 <= hits <= 50):
        raise _refused("tools", "max_num_results must be within 1..50.")
    filter = Filter.parse(filters) if filters is not None else None
    if stores is None:
        return None, hits, filter
    if not isinstance(stores, list) or not all(isinstance(store, str) for store in stores):
        raise _refused("vector_store_ids", "vector_store_ids must be a list of ids.")
    return tuple(stores), hits, filter


def _refused(param: str, message: str) -> ApiError:
    return ApiError(400, message, param=param, code="unsupported_value")
