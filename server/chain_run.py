"""Whoever is named as the model begins to speak: a voice, or a chain, step after step.

Every step is a question of its own through `answer`, and its turn is kept. The last step is
written as it comes. What vouches for a step's words is what people gave and what the chain has
read in documents, never what an earlier step wrote.

Chat and responses both begin here. Read `begin` first.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

from retrieval.grounds import Grounds
from retrieval.records import Hit
from server.answer import Part, Prepared, Question, policy_of, prepare, searched_by, write
from server.chain import Step, fill, runs
from server.chains import Chain
from server.errors import ApiError, translate
from server.ids import new_id
from server.services import Services


@dataclass(frozen=True, slots=True)
class Begun:
    """An answer that can be written: its parts and, of a chain, its last step and all turns."""

    prepared: Prepared
    parts: AsyncIterator[Part]
    steps: tuple[dict[str, str], ...] = ()

    def identity(self, services: Services) -> dict[str, Any]:
        """What answered, named by its content: in every answer, whichever endpoint tells it."""
        told = {
            "adapter": self.prepared.adapter,
            "base": services.engine.generator.fingerprint,
            "embedder": searched_by(services, self.prepared),
            "prompt": services.engine.prompt_digest,
        }
        return {**told, "steps": list(self.steps)} if self.steps else told


async def begin(services: Services, owner: str, question: Question, *, turn_id: str) -> Begun:
    """Prepare an answer up to its first word; of a chain, write every step but the last.

    Raises what `answer.prepare` raises; within a chain with the step's name in front, and with
    the turns of the steps that ran in the error's `steps`.
    """
    chain = await asyncio.to_thread(services.chains.find, owner, question.model)
    if chain is None:
        prepared = await asyncio.to_thread(prepare, services, owner, question)
        return Begun(prepared, write(services, prepared, turn_id=turn_id))
    if question.schema is not None:
        message = f"The steps of the chain '{chain.name}' have schemas of their own: leave it out."
        raise ApiError(400, message, param="response_format", code="unsupported_value")
    return await _Run(services, owner, chain, question, turn_id).begin()


class _Run:
    """One way through a chain."""

    def __init__(
        self, services: Services, owner: str, chain: Chain, question: Question, turn_id: str
    ) -> None:
        self._services, self._owner, self._chain = services, owner, chain
        self._question, self._turn_id = question, turn_id
        self._written: dict[str, str] = {}
        self._skipped: list[str] = []
        self._turns: list[dict[str, str]] = []
        self._grounds = Grounds()  # the best that a step has found
        self._sources: tuple[Hit, ...] = ()  # what was read so far

    async def begin(self) -> Begun:
        steps = self._chain.steps
        last: Begun | None = None
        for number, step in enumerate(steps):
            if not runs(step, self._written, self._skipped):
                self._skipped.append(step.name)
                continue
            ahead = [runs(later, self._written, self._skipped) for later in steps[number + 1 :]]
            final = all(run is False for run in ahead)
            may_answer = True not in ahead
            prepared, parts = await self._prepare(step, final=final, may_answer=may_answer)
            if final:
                told = self._told(step, parts)
                return Begun(prepared, told, tuple(self._turns))
            read = await self._read(step, parts)
            last = Begun(prepared, _again(read), tuple(self._turns))
        if last is None:
            raise self._failed(steps[-1], ApiError(422, "no step was to run"))
        # What was to follow is skipped for what this step has written: its turn is the answer's.
        turn = self._turns[-1]
        await asyncio.to_thread(
            self._services.turns.rename, self._owner, turn["turn"], self._turn_id
        )
        turn["turn"] = self._turn_id
        return last

    async def _prepare(
        self, step: Step, *, final: bool, may_answer: bool
    ) -> tuple[Prepared, AsyncIterator[Part]]:
        """Make a step ready: `final` if no later one runs, `may_answer` unless one surely does."""
        turn_id = self._turn_id if final else new_id("chatcmpl")
        self._turns.append({"step": step.name, "model": step.model, "turn": turn_id})
        try:
            prepared = await asyncio.to_thread(
                prepare, self._services, self._owner, self._step_question(step)
            )
            prepared = self._with_what_was_read(prepared, may_answer=may_answer)
            return prepared, write(self._services, prepared, turn_id=turn_id)
        except Exception as error:
            self._turns.pop()
            raise self._failed(step, error) from error

    def _with_what_was_read(self, prepared: Prepared, *, may_answer: bool) -> Prepared:
        """The step held against all that the chain has read, even where it searches nothing.

        A step in between that searches nothing is left as it is written: nobody is sent that.
        """
        before = self._sources
        self._grounds = max(self._grounds, prepared.grounds, key=_worth)
        self._sources = _distinct([*self._grounds.hits, *prepared.shown, *before])
        if not before:
            return prepared
        policy = prepared.policy
        if prepared.cites and may_answer:
            policy = policy_of(self._services, prepared.question)
        return replace(prepared, policy=policy, grounds=self._grounds, read=self._sources)

    def _step_question(self, step: Step) -> Question:
        asked = self._question
        *before, last = asked.messages
        text = fill(step.prompt, last["content"], self._written)
        room = step.max_tokens or asked.sampling.max_tokens
        return replace(
            asked,
            model=step.model,
            messages=(*before, {**last, "content": text}),
            # The chain's own prompt is as good as a system message.
            given=(*before, {"role": "system", "content": step.prompt}, last),
            sampling=replace(asked.sampling, max_tokens=room),
            stores=asked.stores if step.stores is None else step.stores,
            search=asked.search and step.search,
            schema=step.schema,
        )

    async def _read(self, step: Step, parts: AsyncIterator[Part]) -> list[Part]:
        read = [part async for part in self._told(step, parts)]
        if step.schema is not None and read[-1].finish_reason != "stop":
            cut = "what it wrote was cut before it met its schema: give it more max_tokens"
            raise self._failed(step, ApiError(422, cut))
        self._written[step.name] = "".join(part.text for part in read)
        return read

    async def _told(self, step: Step, parts: AsyncIterator[Part]) -> AsyncIterator[Part]:
        """The parts of a step; what fails says in which step."""
        begun = False
        async with aclosing(parts):  # type: ignore[type-var]
            try:
                async for part in parts:
                    begun = True
                    yield part
            except Exception as error:
                if not begun:  # a full queue, say: there is no turn
                    self._turns.pop()
                raise self._failed(step, error) from error

    def _failed(self, step: Step, error: Exception) -> ApiError:
        """What became of the chain: the step at fault, and the turns of those that ran."""
        found = translate(error)
        return ApiError(
            found.status,
            f"Step '{step.name}' of the chain '{self._chain.name}' failed: {found.message}",
            param=f"steps.{step.name}",
            code=found.code or "chain_step_failed",
            headers=found.headers,
            more={"steps": self._turns},
        )


async def _again(parts: Sequence[Part]) -> AsyncIterator[Part]:
    for part in parts:
        yield part


def _worth(grounds: Grounds) -> tuple[bool, float]:
    return not grounds.weak, grounds.confidence


def _distinct(hits: Iterable[Hit]) -> tuple[Hit, ...]:
    """The first hit of every passage."""
    return tuple({hit.passage.id: hit for hit in reversed([*hits])}.values())[::-1]
