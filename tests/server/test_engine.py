"""The engine itself: one thread, several answers at once, each in its own voice."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from server.engine import SLOTS, Engine, Overloaded, Ticket
from server.errors import ApiError
from tuning.adapter import Card, adapter_digest, new_adapter, save_adapter
from tuning.errors import AdapterError, PromptTooLong
from tuning.generate import Sampling
from tuning.generator import load_generator
from tuning.records import VoiceConfig

QUEUE = 3
QUESTIONS = ("What is it?", "Do you open on Sunday?", "Ünïcode 日本 🎉 <|end|>")
StartEngine = Callable[[], Engine]


@pytest.fixture(scope="module")
def start_engine(
    tiny_generator: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[StartEngine]:
    folder = tmp_path_factory.mktemp("engine")
    engines: list[Engine] = []

    def start() -> Engine:
        engine = Engine(
            str(tiny_generator),
            models_dir=folder / "models",
            adapters_dir=folder / "adapters",
            device="cpu",
            threads=1,
            context_tokens=1024,
            queue_length=QUEUE,
        )
        engine.start()
        engines.append(engine)
        return engine

    yield start
    for engine in engines:
        engine.stop()


@pytest.fixture(scope="module")
def engine(start_engine: StartEngine) -> Engine:
    return start_engine()


@pytest.fixture(scope="module")
def voices(
    engine: Engine, tiny_generator: Path, tmp_path_factory: pytest.TempPathFactory
) -> list[str]:
    """Two random adapters, in their places."""
    digests = []
    for seed in (1, 2):
        generator = load_generator(str(tiny_generator), models_dir=Path(), device="cpu", threads=1)
        torch.manual_seed(seed)
        model = new_adapter(generator, VoiceConfig(rank=4))
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weight, std=0.3)
        folder = engine._adapters_dir / f"seed-{seed}"
        save_adapter(model, folder)
        Card(
            voice=f"voice-{seed}",
            base=generator.name,
            base_fingerprint=generator.fingerprint,
            prompt_digest=engine.prompt_digest,
            data_digest="none",
            config={},
        ).save(folder)
        digests.append(adapter_digest(folder))
        os.rename(folder, folder.with_name(digests[-1]))
    return digests


def ask(
    engine: Engine, question: str, *, adapter: str | None = None, max_tokens: int = 40
) -> Ticket:
    """Submit a question; called on an event loop."""
    ids = engine.encode([{"role": "user", "content": question}])
    return engine.submit(ids, adapter=adapter, sampling=Sampling(max_tokens=max_tokens))


async def read(ticket: Ticket) -> str:
    return "".join([piece.text async for piece in ticket])


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(work, 60))


@pytest.fixture(scope="module")
def long_question(engine: Engine) -> str:
    """A question that the tiny model answers without an end."""

    async def endless() -> str:
        for number in range(100):
            pieces = [piece async for piece in ask(engine, f"Go on {number}", max_tokens=200)]
            if pieces[-1].finish_reason == "length":
                return f"Go on {number}"
        raise AssertionError("every answer ends")

    return str(run(endless()))


def test_interleaved_voices_write_what_they_write_alone(engine: Engine, voices) -> None:
    asked = [(q, voice) for voice in (None, *voices) for q in QUESTIONS[: 2 if voice else 3]]

    async def serial() -> list[str]:
        return [await read(ask(engine, q, adapter=voice)) for q, voice in asked]

    async def together() -> list[str]:
        waiting = []
        for q, voice in asked:
            waiting.append(asyncio.create_task(read(ask(engine, q, adapter=voice))))
            while engine.waiting >= QUEUE:
                await asyncio.sleep(0.001)
        return list(await asyncio.gather(*waiting))

    alone = run(serial())
    assert len(asked) > SLOTS and run(together()) == alone
    by_voice = {
        voice: text for (q, voice), text in zip(asked, alone, strict=True) if q == QUESTIONS[0]
    }
    assert len(set(by_voice.values())) == len(by_voice), "the adapters changed nothing"


def test_a_short_answer_does_not_wait_for_a_long_one(engine: Engine, long_question: str) -> None:
    async def race() -> list[str]:
        ended: list[str] = []

        async def finish(name: str, ticket: Ticket) -> None:
            await read(ticket)
            ended.append(name)

        long = ask(engine, long_question, max_tokens=400)
        await anext(aiter(long))
        short = ask(engine, QUESTIONS[0], max_tokens=2)
        await asyncio.gather(finish("long", long), finish("short", short))
        return ended

    assert run(race()) == ["short", "long"]


def test_a_cancelled_answer_stops_at_once(engine: Engine, long_question: str, eventually) -> None:
    async def cancel() -> None:
        ticket = ask(engine, long_question, max_tokens=900)
        await anext(aiter(ticket))
        assert engine.writing == 1
        ticket.cancel()

    run(cancel())
    eventually(lambda: engine.writing == 0, seconds=1)


def test_a_full_queue_refuses_at_once_and_recovers(engine: Engine, long_question: str) -> None:
    async def fill() -> None:
        tickets = [ask(engine, long_question, max_tokens=900) for _ in range(QUEUE)]
        while engine.writing < SLOTS:
            while engine.waiting:
                await asyncio.sleep(0.001)
            tickets.append(ask(engine, long_question, max_tokens=900))
        while engine.waiting < QUEUE:
            tickets.append(ask(engine, long_question, max_tokens=900))
        with pytest.raises(Overloaded, match=str(QUEUE)) as refused:
            ask(engine, QUESTIONS[0])
        assert (refused.value.status, refused.value.headers) == (429, {"retry-after": "5"})
        for ticket in tickets:
            ticket.cancel()
        while engine.writing or engine.waiting:
            await asyncio.sleep(0.001)
        assert await read(ask(engine, QUESTIONS[0]))

    run(fill())


def test_a_missing_adapter_fails_its_own_request_only(engine: Engine, voices) -> None:
    async def both() -> tuple[str, str]:
        good = asyncio.create_task(read(ask(engine, QUESTIONS[0], adapter=voices[0])))
        with pytest.raises(AdapterError, match="0123 is not on disk"):
            await read(ask(engine, QUESTIONS[0], adapter="0123"))
        return await good, await read(ask(engine, QUESTIONS[0], adapter=voices[0]))

    first, second = run(both())
    assert first == second


def test_a_reader_that_has_gone_does_no_harm(
    engine: Engine, long_question: str, eventually
) -> None:
    async def leave() -> None:
        ask(engine, long_question, max_tokens=900)

    asyncio.run(leave())  # the loop is closed, and nobody has cancelled
    eventually(lambda: engine.writing == 0 and not engine.waiting, seconds=10)
    assert run(_ask_and_read(engine))


async def _ask_and_read(engine: Engine) -> str:
    return await read(ask(engine, QUESTIONS[0]))


@pytest.mark.parametrize("characters", [1024, 1_000_000, 50_000_000])
def test_a_prompt_over_the_context_is_refused_quickly_and_names_the_limit(
    engine: Engine, characters: int
) -> None:
    with pytest.raises(PromptTooLong, match="1023"):
        engine.encode([{"role": "user", "content": "x" * characters}])


def test_prompts_are_the_same_from_many_threads(engine: Engine) -> None:
    # The tokenizer's switch for special tokens was shared: another thread could flip it.
    messages = [{"role": "user", "content": "<|end|> " + "words " * 50}]
    wanted = engine.encode(messages)
    wrong: list[object] = []

    def encode() -> None:
        for _ in range(100):
            if (ids := engine.encode(messages)) != wanted:
                wrong.append(ids)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        threads = [threading.Thread(target=encode) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert not wrong


def test_a_stop_tells_everyone_who_waits(start_engine: StartEngine, long_question: str) -> None:
    engine = start_engine()

    async def stopped() -> list[BaseException | str]:
        tickets = [ask(engine, long_question, max_tokens=900) for _ in range(QUEUE)]
        while engine.waiting:
            await asyncio.sleep(0.001)
        tickets += [ask(engine, long_question, max_tokens=900) for _ in range(QUEUE)]
        await asyncio.to_thread(engine.stop)
        with pytest.raises(ApiError, match="stopping"):
            ask(engine, QUESTIONS[0])
        return await asyncio.gather(*map(read, tickets), return_exceptions=True)

    ends = run(stopped())
    assert len(ends) == 2 * QUEUE
    assert all(isinstance(end, ApiError) and end.status == 503 for end in ends), ends
