"""Question to grounded, cited answer: resolve the voice, search, build the prompt, write, cite.

`prepare` does all that can fail before the first word; `write` streams. Chat, responses and the
steps of chains all come through here (`chain_run.begin`). It knows no wire format.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, cast

from retrieval.filter import Filter
from retrieval.grounds import HITS, Grounds
from retrieval.records import Hit
from server.cite import Citation
from server.followup import standalone
from server.formulas import NO_FORMULAS, Formulas
from server.guard import Guard, guard_of
from server.prompt import Message, build
from server.repair import Mends, Policy, mend
from server.served import Served
from server.showing import evidence, highlights, readable, seen
from server.small_talk import is_small_talk
from server.structured import structured
from server.turns import Status, Turn
from server.unread import why_nothing
from tuning.generate import Sampling

if TYPE_CHECKING:
    from server.services import Services

UNCITED = ("label", "json")  # tasks whose answers must stand as written


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
    least_score: float = 0.0  # hits below it are not shown
    keep: bool = True  # keep the words of the turn, not only its figures
    schema: Mapping[str, Any] | None = None  # the answer is JSON that meets it
    grounding: Policy | None = None  # None: the server's own policy
    whole: bool = False  # a talk that is too long is refused; else its oldest turns are left out
    given: tuple[Message, ...] = ()  # by people, where `messages` hold a chain's words as well

    @property
    def vouched(self) -> tuple[Message, ...]:
        """The messages whose words count as somebody's own, not as what a model wrote."""
        return self.given or self.messages

    @property
    def own_words(self) -> str:
        """What the user says."""
        return self.vouched[-1]["content"]


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
    policy: Policy = "off"
    grounds: Grounds = field(default_factory=Grounds)
    read: tuple[Hit, ...] = ()  # by the chain up to here: they may be cited like those shown
    formulas: Formulas = NO_FORMULAS  # of the voice


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of an answer; the last one has the finish reason, citations and usage."""

    text: str
    finish_reason: str | None = None
    citations: tuple[Citation, ...] = ()
    usage: dict[str, int] = field(default_factory=dict)


def prepare(services: Services, owner: str, question: Question) -> Prepared:
    """Find who speaks and what the documents say; runs in a thread.

    Raises `NotFound` for an unknown model or store, `PromptTooLong` for too much text.
    """
    services.engine.check_length(_needed(question))
    adapter = services.resolve_model(owner, question.model)
    task = services.task_of(owner, question.model)
    question, cites = _for_task(task, question)
    question = structured(services.engine.grammars, task, question)
    cites = cites and question.sampling.grammar is None
    policy = policy_of(services, question) if cites else "off"
    stores = _stores(services, owner, question)
    documents = sum(services.library.stores.get(store).documents for store in stores)
    if stores and not documents and question.sampling.grammar is None:
        told = why_nothing(services.ledger, owner, stores)
        return Prepared(question, owner, question.model, adapter, stores, (), (), ready_text=told)
    found = _search(services, stores, question)
    grounds = Grounds()
    if stores:
        grounds = services.library.calibrations.judge(
            standalone(question.messages),
            found,
            stores,
            threshold=services.settings.abstain_below,
        )
    else:
        policy = "off"  # nothing was searched, so nothing can be held against it
    shown = found[: question.hits or services.settings.hits]
    prompt = build(
        question.messages,
        [evidence(hit) for hit in shown],
        budget=services.settings.prompt_tokens,
        count_tokens=services.engine.count_tokens,
        highlights=highlights(grounds),
        room=None if question.whole else services.engine.room(question.sampling.max_tokens),
    )
    return Prepared(
        question,
        owner,
        question.model,
        adapter,
        stores,
        seen(shown[: prompt.shown], grounds) if prompt.shown else (),
        prompt.messages,
        services.engine.encode(prompt.messages),
        cites=cites,
        policy=policy,
        grounds=grounds,
        formulas=services.formulas_of(owner, question.model),
    )


def _needed(question: Question) -> Sequence[Message]:
    """The messages that a prompt cannot do without."""
    *history, last = question.messages
    kept = history if question.whole else [m for m in history if m["role"] == "system"]
    return [*kept, last]


def _for_task(task: Mapping[str, Any], question: Question) -> tuple[Question, bool]:
    """The question as the voice's task takes it, and whether the answer may be cited.

    A voice that uses no documents was trained without: none are searched unless the request
    names stores.
    """
    searched = task["uses_documents"] or question.stores is not None
    if not searched:
        question = replace(question, search=False)
    return question, searched and task["kind"] not in UNCITED


def policy_of(services: Services, question: Question) -> Policy:
    """How a question's answer is grounded: as its request says, else as the server does."""
    return question.grounding or cast("Policy", services.settings.grounding)


def _stores(services: Services, owner: str, question: Question) -> tuple[str, ...]:
    """The stores to search; none for small talk.

    Raises `NotFound` for an unknown one, and a 400 for one that has expired.
    """
    for store_id in question.stores or ():
        services.searchable_store(owner, store_id)
    if not question.search or is_small_talk(question.own_words):
        return ()
    if question.stores is not None:
        return question.stores
    return (services.searchable_store(owner, services.default_store(owner)).id,)


def _search(services: Services, stores: Sequence[str], question: Question) -> tuple[Hit, ...]:
    """What the stores hold on a question, best first, as it may be shown."""
    if not stores:
        return ()
    k = max(question.hits or services.settings.hits, HITS)
    query = standalone(question.messages)
    found = services.library.search(stores, query, k=k, filter=question.filter)
    hits = [hit for hit in found if hit.score >= question.least_score]
    return readable(hits, question=question.own_words)


def guard_for(prepared: Prepared) -> Guard:
    """What the answer may not hold; a structured one keeps its links: it must meet its schema."""
    return guard_of(
        prepared.question.vouched,
        [hit.passage.text for hit in prepared.read or prepared.shown],
        any_link=prepared.question.sampling.grammar is not None,
    )


def mended_for(prepared: Prepared) -> Mends | None:
    """What makes the draft true to its sources; None where the text stands as it is written."""
    if not prepared.cites:
        return None
    return mend(
        prepared.policy,
        prepared.read or prepared.shown,
        prepared.grounds,
        message=prepared.question.own_words,
        formulas=prepared.formulas,
    )


def served_for(prepared: Prepared) -> Served:
    """What stands between the model's draft and the user."""
    return Served(guard_for(prepared), mended_for(prepared))


async def write(services: Services, prepared: Prepared, *, turn_id: str) -> AsyncIterator[Part]:
    """Write the answer and keep the turn; the generator stops when the iterator is closed."""
    served = served_for(prepared)
    text = ""
    usage = {"prompt_tokens": 0, "completion_tokens": 0}
    if prepared.ready_text is not None:
        text = prepared.ready_text
        await asyncio.to_thread(_record, services, prepared, served, turn_id, text, usage)
        yield Part(text)
        yield Part("", "stop", (), usage)
    else:
        ticket = services.engine.submit(
            prepared.prompt_ids, adapter=prepared.adapter, sampling=prepared.question.sampling
        )
        status: Status = "cancelled"  # unless it gets to its end
        begun = False
        try:
            async for piece in ticket:
                usage = {
                    "prompt_tokens": len(ticket.prompt_ids),
                    "completion_tokens": piece.tokens,
                }
                out = served.add(piece.text)
                if piece.finish_reason:
                    out += served.end(cut=piece.finish_reason == "length")
                text += out
                if piece.finish_reason:
                    # The turn is on disk before the client can know that it has ended.
                    status = "completed"
                    await asyncio.to_thread(
                        _record, services, prepared, served, turn_id, text, usage
                    )
                    yield Part(out, piece.finish_reason, served.citations, usage)
                elif out or not begun:
                    # The first part tells that it has begun, even where no word may leave yet:
                    # a client that hangs up is seen from then on.
                    begun = True
                    yield Part(out)
        except Exception:
            status = "failed"
            raise
        finally:
            ticket.cancel()
            if status != "completed":
                # Not awaited: whoever closes a stream cancels every wait in it.
                asyncio.get_running_loop().run_in_executor(
                    None, _record, services, prepared, served, turn_id, text, usage, status
                )


def _record(
    services: Services,
    prepared: Prepared,
    served: Served,
    turn_id: str,
    text: str,
    usage: dict[str, int],
    status: Status = "completed",
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
            policy=prepared.policy,
            changes=[asdict(change) for change in served.changes] if keep else None,
            status=status,
            citations=[_kept(cited.hit) | {"spans": cited.spans} for cited in served.citations]
            if keep
            else None,
        )
    )


def searched_by(services: Services, prepared: Prepared) -> str:
    """What the shown hits were found by, as they name it; the base embedder where none is shown."""
    names = dict.fromkeys(hit.generation for hit in prepared.shown)
    return ",".join(names) or services.embedder.fingerprint


def _kept(hit: Hit) -> dict[str, Any]:
    return asdict(hit)


def sources(citations: Sequence[Citation]) -> list[dict[str, Any]]:
    """Citations as they stand in an answer: where each passage is, and its words.

    `spans` are the characters of the document that say what stands before each of its markers.
    """
    return [
        {
            "index": number,
            "file_id": cited.hit.passage.document_id,
            "filename": cited.hit.document_name,
            "text": cited.hit.passage.text,
            "start": cited.hit.passage.start,
            "end": cited.hit.passage.end,
            "page": cited.hit.passage.page,
            "heading": cited.hit.passage.heading,
            "score": cited.hit.score,
            "spans": [list(span) for span in cited.spans],
        }
        for number, cited in enumerate(citations, 1)
    ]
