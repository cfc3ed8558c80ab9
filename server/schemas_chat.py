"""The wire of chat: what a request may hold, and how it becomes a `Question`.

Unknown fields are ignored; known ones that would change the result and are not supported are
refused with 400, naming the field.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, cast

import msgspec
from msgspec import Meta, Struct

from retrieval.filter import Filter
from server.answer import Question
from server.errors import ApiError
from server.prompt import Message
from server.repair import POLICIES, Policy
from server.schemas_format import chat_schema
from server.schemas_search import RankingOptions
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
    searched = file_search(data.tools, data.vector_store_ids)
    return Question(
        model=data.model,
        messages=_messages(data.messages),
        sampling=_sampling(data, services),
        stores=searched.stores,
        search=data.tool_choice != "none",
        hits=searched.hits,
        filter=searched.filter,
        least_score=searched.least_score,
        keep=data.store is not False,
        schema=chat_schema(data.response_format),
        grounding=policy(data.grounding),
    )


def policy(asked: str | None) -> Policy | None:
    """The policy that a request names, if any; raises a 400."""
    if asked not in (None, *POLICIES):
        raise _refused("grounding", f"grounding must be one of {', '.join(POLICIES)}.")
    return cast("Policy | None", asked)


def _messages(raw: list[dict[str, Any]]) -> tuple[Message, ...]:
    messages = []
    for index, value in enumerate(raw):
        where = f"messages[{index}]"
        role = value.get("role")
        if role not in ("system", "developer", "user", "assistant"):
            raise _refused(where, f"{where}: the role {role!r} is not supported.")
        text = _text(value.get("content"), where)
        messages.append({"role": "system" if role == "developer" else role, "content": text})
    return questions(messages, "messages")


def questions(messages: Sequence[Message], param: str) -> tuple[Message, ...]:
    """The messages, if they end with a question of the user's; raises a 400 that names `param`."""
    if not messages or messages[-1]["role"] != "user":
        raise _refused(param, "The last message must be the user's.")
    if not messages[-1]["content"].strip():
        raise _refused(param, "The question is empty.")
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


@dataclass(frozen=True, slots=True)
class FileSearch:
    """What a request says of its search; None leaves it to the server."""

    stores: tuple[str, ...] | None = None
    hits: int | None = None
    filter: Filter | None = None
    least_score: float = 0.0


def file_search(tools: Sequence[Mapping[str, Any]] | None, stores: Any) -> FileSearch:
    """How a request wants its documents searched; raises a 400 that names the field at fault.

    `stores` are those that the request names outside its tools.
    """
    if any(tool.get("type") != "file_search" for tool in tools or []):
        raise _refused("tools", "Only the tool 'file_search' is supported.")
    if tools and len(tools) > 1:
        message = "One 'file_search' tool is enough: name all vector_store_ids in it."
        raise _refused("tools", message)
    tool = tools[0] if tools else {}
    stores = tool.get("vector_store_ids") or stores
    hits, filters = tool.get("max_num_results"), tool.get("filters")
    if hits is not None and not (isinstance(hits, int) and 1 <= hits <= 50):
        raise _refused("tools", "max_num_results must be within 1..50.")
    if stores is not None and not (
        isinstance(stores, list) and all(isinstance(store, str) for store in stores)
    ):
        raise _refused("vector_store_ids", "vector_store_ids must be a list of ids.")
    return FileSearch(
        stores=None if stores is None else tuple(stores),
        hits=hits,
        filter=Filter.parse(filters) if filters is not None else None,
        least_score=_ranking(tool.get("ranking_options")).score_threshold,
    )


def _ranking(options: Any) -> RankingOptions:
    """How the tool ranks what is found; raises a 400 for what would rank otherwise."""
    if options is None:
        return RankingOptions()
    if isinstance(options, dict) and options.get("hybrid_search") is not None:
        message = "ranking_options.hybrid_search is not supported: the store's own weights count."
        raise _refused("tools", message)
    try:
        return msgspec.convert(options, RankingOptions)
    except msgspec.ValidationError as error:
        where = str(error).replace("$", "ranking_options")
        raise _refused("tools", f"ranking_options: {where}") from None


def _refused(param: str, message: str) -> ApiError:
    return ApiError(400, message, param=param, code="unsupported_value")
