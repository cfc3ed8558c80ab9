"""One thread owns the generator: a bounded queue in, a stream of pieces out for each request.

Requests are written in turns, a token each, so a long answer does not make a short one wait.
Nobody else touches the model or its adapters. It knows no documents, no owners and no HTTP.

Read `Engine.submit` first, then `Engine._run`.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from server.errors import ApiError
from server.prompt import FIXTURES, LONGEST_TOKEN, Message
from tuning.adapter import AdapterSet
from tuning.errors import PromptTooLong, is_out_of_memory
from tuning.generate import Piece, Sampling, answer
from tuning.generator import Generator, load_generator
from tuning.grammar import Grammars

logger = logging.getLogger(__name__)

SLOTS = 4  # answers that are written in turns; more wait in the queue


class Overloaded(ApiError):
    """The queue is full; nothing was started."""

    def __init__(self, waiting: int) -> None:
        super().__init__(
            429,
            f"{waiting} questions are waiting already: try again in a few seconds.",
            code="overloaded",
            headers={"retry-after": "5"},
        )


def _stopping() -> ApiError:
    return ApiError(503, "The server is stopping.", code="stopping")


@dataclass(slots=True)
class Ticket:
    """One request in the engine. Iterate it for its pieces; `cancel` ends it within a token."""

    prompt_ids: list[int]
    adapter: str | None
    sampling: Sampling
    loop: asyncio.AbstractEventLoop
    outbox: asyncio.Queue[Piece | Exception] = field(default_factory=asyncio.Queue)
    cancelled: bool = False

    def cancel(self) -> None:
        self.cancelled = True

    def deliver(self, item: Piece | Exception) -> None:
        """Hand a piece or the failure to the waiting request; called by the engine's thread."""
        try:
            self.loop.call_soon_threadsafe(self.outbox.put_nowait, item)
        except RuntimeError:  # the loop was closed: nobody waits any more
            self.cancelled = True

    async def __aiter__(self) -> AsyncIterator[Piece]:
        while True:
            item = await self.outbox.get()
            if isinstance(item, Exception):
                raise item
            yield item
            if item.finish_reason:
                return


class Engine:
    """The generator behind its queue. `start` loads it and returns when it can answer."""

    def __init__(
        self,
        name: str,
        *,
        models_dir: Path,
        adapters_dir: Path,
        device: str = "auto",
        threads: int | None = None,
        context_tokens: int = 2048,
        queue_length: int = 32,
    ) -> None:
        self._name = name
        self._models_dir = models_dir
        self._adapters_dir = adapters_dir
        self._device = device
        self._threads = threads
        self._context_tokens = context_tokens
        self._inbox: queue.Queue[Ticket | None] = queue.Queue(queue_length)
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._stopping = False
        self.writing = 0  # answers that are being written
        self.generator: Generator
        self.grammars: Grammars
        self.prompt_digest = ""
        self.context_tokens = context_tokens

    def start(self) -> None:
        """Load the generator and begin to answer; raises GeneratorError."""
        self.generator = load_generator(
            self._name, models_dir=self._models_dir, device=self._device, threads=self._threads
        )
        self.grammars = Grammars(self.generator)
        self.prompt_digest = self.generator.template.digest(FIXTURES)
        self.context_tokens = min(self._context_tokens, self.generator.context_tokens)
        self._adapters = AdapterSet(
            self.generator, folder=self._adapters_dir, prompt_digest=self.prompt_digest
        )
        self._thread.start()

    def stop(self) -> None:
        """Cancel what is being written and end the thread."""
        self._stopping = True
        try:
            self._inbox.put_nowait(None)
        except queue.Full:
            pass
        self._thread.join(timeout=30)

    @property
    def waiting(self) -> int:
        return self._inbox.qsize()

    def count_tokens(self, text: str) -> int:
        """Tokens of a text as the generator reads it; safe from any thread."""
        return len(self.generator.template.text(text))

    def check_length(self, messages: Sequence[Message]) -> None:
        """Refuse what cannot fit before anything reads it; raises PromptTooLong."""
        characters = sum(len(message["content"]) for message in messages)
        if characters > LONGEST_TOKEN * self.context_tokens:
            raise self._too_long(f"{characters} characters")

    def room(self, answer_tokens: int) -> int:
        """Tokens that a prompt may have, so that an answer of that length fits behind it.

        A quarter of the context is kept free at most: a longer answer is cut when it is written.
        """
        return self.context_tokens - min(answer_tokens, self.context_tokens // 4)

    def encode(self, messages: Sequence[Message]) -> list[int]:
        """The ids of a prompt; safe from any thread. Raises PromptTooLong."""
        self.check_length(messages)
        ids = self.generator.template.prompt(messages)
        if len(ids) >= self.context_tokens:
            raise self._too_long(f"{len(ids)} tokens")
        return ids

    def _too_long(self, size: str) -> PromptTooLong:
        return PromptTooLong(
            f"This conversation has {size}; at most {self.context_tokens - 1} tokens fit "
            f"into the context of {self.context_tokens}. Shorten it."
        )

    def submit(self, prompt_ids: list[int], *, adapter: str | None, sampling: Sampling) -> Ticket:
        """Queue a request; returns at once. Call it on the event loop that will read the pieces.

        Raises:
            Overloaded: the queue is full.
            ApiError: the server is stopping.
        """
        if self._stopping:
            raise _stopping()
        ticket = Ticket(prompt_ids, adapter, sampling, asyncio.get_running_loop())
        try:
            self._inbox.put_nowait(ticket)
        except queue.Full:
            raise Overloaded(self._inbox.qsize()) from None
        return ticket

    # -- the engine's thread

    def _run(self) -> None:
        active: list[tuple[Ticket, Iterator[Piece]]] = []
        while not self._stopping:
            active += self._admit(room=SLOTS - len(active), wait=not active)
            self.writing = len(active)
            active = [(ticket, pieces) for ticket, pieces in active if self._step(ticket, pieces)]
            self.writing = len(active)
        waiting = [self._inbox.get_nowait() for _ in range(self._inbox.qsize())]
        for ticket in [*(ticket for ticket, _ in active), *waiting]:
            if ticket is not None:
                ticket.deliver(_stopping())

    def _admit(self, *, room: int, wait: bool) -> list[tuple[Ticket, Iterator[Piece]]]:
        admitted: list[tuple[Ticket, Iterator[Piece]]] = []
        while len(admitted) < room:
            try:
                ticket = self._inbox.get(block=wait and not admitted)
            except queue.Empty:
                break
            if ticket is None:
                break
            admitted.append((ticket, self._begin(ticket)))
        return admitted

    def _begin(self, ticket: Ticket) -> Iterator[Piece]:
        """The answer's pieces; nothing is done before the first is asked for."""
        grammar = ticket.sampling.grammar
        yield from answer(
            self.generator,
            ticket.prompt_ids,
            ticket.sampling,
            context_tokens=self.context_tokens,
            constraint=self.grammars.constraint(grammar) if grammar is not None else None,
        )

    def _step(self, ticket: Ticket, pieces: Iterator[Piece]) -> bool:
        """Write one token; false when this answer has ended."""
        if ticket.cancelled:
            return False
        try:
            self._adapters.select(ticket.adapter)
            piece = next(pieces)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                ticket.deliver(error)
                return False
            logger.error("out of memory while answering", exc_info=error)
            ticket.deliver(ApiError(503, "The machine is out of memory.", code="out_of_memory"))
            return False
        except Exception as error:
            ticket.deliver(error)
            return False
        ticket.deliver(piece)
        return piece.finish_reason is None
