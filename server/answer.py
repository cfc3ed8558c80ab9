"""Question to grounded, cited answer: resolve the voice, search, build the prompt, write, cite.

`prepare` does all that can fail before the first word; `write` streams. Chat and, later,
responses both come through here. It knows no wire format.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from retrieval.filter import Filter
from retrieval.records import Hit
from server.cite import Citer
from server.prompt import Evidence, Message, build
from server.turns import Turn
from tuning.generate import Sampling

if TYPE_CHECKING:
    from server.services import Services

logger = logging.getLogger(__name__)

NO_DOCUMENTS = (
    "There are no documents yet, so there is nothing to answer from. "
    "Add some with `houseword ingest PATH`, and ask again."
)
UNCITED = ("label", "json")  # tasks whose answers must stand as written
LABEL_ROOM = 2  # tokens: the end, and one that the label alone is not cut into
# Greetings and thanks are answered without a search. Short, and nothing else in them; the limit
# also keeps the pattern's backtracking harmless.
_SMALL_TALK_CHARACTERS = 80
_SMALL_TALK = re.compile(
    r"\W*((hi|hello|hey|good (morning|afternoon|evening|day)|thanks?|thank you|cheers|bye|goodbye"
    r"|good night|see you)\b( (there|again|all|everyone|so much|very much|a lot|for your help"
    r"|you|friend|and|the team))*\W*)+",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Question:
    """What a request asks for. `stores` None means the owner's default store."""

    model: str
    messages: tuple[Message, ...]
    sampling: Sampling
    stores: tuple[str, ...] | None = None
    search: bool = True
    hits: int | None = None
    filter: Filter | None = None
    keep: bool = True  # keep the words of the turn, not only its figures
    bounded: bool = True  # the request says itself how long the answer may be


@dataclass(slots=True)
class Prepared:
    """A question that can be answered: its prompt, its hits and who speaks."""

    question: Question
    owner: str
    model: str
    adapter: str | None
    stores: tuple[str, ...]
    shown: tuple[Hit, ...]
    messages: tuple[Message, ...]
    prompt_ids: list[int] = field(default_factory=list)
    ready_text: str | None = None  # an answer that needs no generator
    cites: bool = True  # False: the text is given as written, [1] and all


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of an answer; the last one has the finish reason, citations and usage."""

    text: str
    finish_reason: str | None = None
    citations: tuple[Hit, ...] = ()
    usage: dict[str, int] = field(default_factory=dict)


def prepare(services: Services, owner: str, question: Question) -> Prepared:
    """Find who speaks and what the documents say; runs in a thread.

    Raises `NotFound` for an unknown model or store, `PromptTooLong` for too much text.
    """
    services.engine.check_length(question.messages)
    adapter = services.resolve_model(owner, question.model)
    question, cites = _for_task(services, services.task_of(owner, question.model), question)
    stores, shown = _search(services, owner, question)
    if stores is None:
        return Prepared(
            question, owner, question.model, adapter, (), (), (), ready_text=NO_DOCUMENTS
        )
    prompt = build(
        question.messages,
        [evidence(hit) for hit in shown],
        budget=services.settings.prompt_tokens,
        count_tokens=services.engine.count_tokens,
    )
    return Prepared(
        question,
        owner,
        question.model,
        adapter,
        stores,
        shown[: prompt.shown],
        prompt.messages,
        services.engine.encode(prompt.messages),
        cites=cites,
    )


def _for_task(
    services: Services, task: Mapping[str, Any], question: Question
) -> tuple[Question, bool]:
    """The question as the voice's task takes it, and whether the answer may be cited.

    A voice that uses no documents was trained without: none are searched unless the request
    names stores. A label gets no more room than the longest label needs.
    """
    searched = task["uses_documents"] or question.stores is not None
    if not searched:
        question = replace(question, search=False)
    if task["kind"] == "label" and not question.bounded and task["labels"]:
        longest = max(map(services.engine.count_tokens, task["labels"])) + LABEL_ROOM
        room = min(question.sampling.max_tokens, longest)
        question = replace(question, sampling=replace(question.sampling, max_tokens=room))
    return question, searched and task["kind"] not in UNCITED


def evidence(hit: Hit) -> Evidence:
    """What a prompt shows of a hit."""
    return Evidence(hit.passage.text, hit.passage.heading)


def is_small_talk(text: str) -> bool:
    """Whether a message is a greeting or thanks and nothing else."""
    text = text.strip()
    return len(text) <= _SMALL_TALK_CHARACTERS and bool(_SMALL_TALK.fullmatch(text))


def _search(
    services: Services, owner: str, question: Question
) -> tuple[tuple[str, ...] | None, tuple[Hit, ...]]:
    """The stores that were searched (None: there are no documents yet) and their hits."""
    asked = question.messages[-1]["content"]
    if question.stores is not None:
        for store_id in question.stores:
            services.store(owner, store_id)
    if not question.search or is_small_talk(asked):
        return (), ()
    stores = question.stores
    if stores is None:
        stores = (services.default_store(owner),)
        if services.library.store(stores[0]).documents == 0:
            return None, ()
    k = question.hits or services.settings.hits
    return stores, tuple(services.library.search(stores, asked, k=k, filter=question.filter))


async def write(services: Services, prepared: Prepared, *, turn_id: str) -> AsyncIterator[Part]:
    """Write the answer and keep the turn; the generator stops when the iterator is closed."""
    citer = Citer(prepared.shown) if prepared.cites else None
    text = ""
    usage = {"prompt_tokens": 0, "completion_tokens": 0}
    if prepared.ready_text is not None:
        text = prepared.ready_text
        await asyncio.to_thread(_record, services, prepared, turn_id, text, usage)
        yield Part(text)
        yield Part("", "stop", (), usage)
    else:
        ticket = services.engine.submit(
            prepared.prompt_ids, adapter=prepared.adapter, sampling=prepared.question.sampling
        )
        try:
            async for piece in ticket:
                usage = {
                    "prompt_tokens": len(ticket.prompt_ids),
                    "completion_tokens": piece.tokens,
                }
                out = citer.add(piece.text) if citer else piece.text
                if citer and piece.finish_reason:
                    out += citer.end()
                text += out
                if piece.finish_reason:
                    # The turn is on disk before the client can know that it has ended.
                    await asyncio.to_thread(_record, services, prepared, turn_id, text, usage)
                    yield Part(out, piece.finish_reason, tuple(citer.cited) if citer else (), usage)
                elif out:
                    yield Part(out)
        finally:
            ticket.cancel()


def _record(
    services: Services, prepared: Prepared, turn_id: str, text: str, usage: dict[str, int]
) -> None:
    keep = prepared.question.keep
    services.turns.record(
        Turn(
            id=turn_id,
            owner=prepared.owner,
            created_at=int(time.time()),
            model=prepared.model,
            adapter=prepared.adapter,
            embedder=searched_by(services, prepared),
            stores=prepared.stores,
            messages=list(prepared.messages or prepared.question.messages) if keep else None,
            hits=[_kept(hit) for hit in prepared.shown] if keep else None,
            answer=text if keep else None,
            usage=usage,
            conversation=list(prepared.question.messages) if keep else None,
        )
    )


def searched_by(services: Services, prepared: Prepared) -> str:
    """What the shown hits were found by, as they name it; the base embedder where none is shown."""
    names = dict.fromkeys(hit.generation for hit in prepared.shown)
    return ",".join(names) or services.embedder.fingerprint


def _kept(hit: Hit) -> dict[str, Any]:
    return asdict(hit)


def sources(hits: Sequence[Hit]) -> list[dict[str, Any]]:
    """Citations as they stand in an answer: where each passage is, and its words."""
    return [
        {
            "index": number,
            "file_id": hit.passage.document_id,
            "filename": hit.document_name,
            "text": hit.passage.text,
            "start": hit.passage.start,
            "end": hit.passage.end,
            "page": hit.passage.page,
            "heading": hit.passage.heading,
            "score": hit.score,
        }
        for number, hit in enumerate(hits, 1)
    ]
