"""Many questions at once, a full queue, and those that break off."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

ANSWER = "Bags cost 45. [1]"
PRICE: Any = [{"role": "user", "content": "What is the price of bag 7?"}]


@pytest.fixture(scope="module")
def base(taught) -> str:
    """The model's own name: no voice."""
    return taught.services.engine.generator.name


@pytest.fixture(scope="module")
def endless(taught, base: str) -> dict[str, Any]:
    """A request whose answer goes on for as long as it may."""
    for number in range(100):
        request = {"model": base, "messages": [{"role": "user", "content": f"Go on {number}"}]}
        answer = taught.client.chat.completions.create(
            **request, tool_choice="none", max_tokens=200
        )
        if answer.choices[0].finish_reason == "length":
            return {**request, "tool_choice": "none", "max_tokens": 3000, "stream": True}
    raise AssertionError("every answer ends")


# -- many at once, and those that break off


def test_voices_that_answer_at_once_do_not_mix(taught, base: str) -> None:
    requests = [
        {"model": model, "messages": PRICE, "max_tokens": 40}
        for model in ("support", base, "support", base, base, "support")
    ]
    alone = [content(taught.client, request) for request in requests]
    together: dict[int, str | None] = {}

    def ask(number: int) -> None:
        together[number] = content(taught.client, requests[number])

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(len(requests))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [together[number] for number in range(len(requests))] == alone
    assert alone[0] == ANSWER != alone[1]


def content(client: openai.OpenAI, request: dict[str, Any]) -> str | None:
    return client.chat.completions.create(**request).choices[0].message.content


def test_a_client_that_hangs_up_frees_the_generator(taught, endless, eventually) -> None:
    url = f"{taught.url}/v1/chat/completions"
    with httpx.stream("POST", url, json=endless) as answer:
        lines = answer.iter_lines()
        first = json.loads(next(lines).removeprefix("data: "))
        next(lines)
        assert taught.services.engine.writing == 1
    eventually(lambda: taught.services.engine.writing == 0, seconds=2)
    eventually(lambda: taught.services.turns.turn("local", first["id"]), seconds=5)
    with taught.services.database.read() as connection:
        kept = connection.execute(
            "SELECT status FROM turns WHERE id = ?", (first["id"],)
        ).fetchone()
    assert kept["status"] == "cancelled", "it was written to its end"


@pytest.fixture
def small(start_server, taught, tmp_path) -> Iterator[Any]:
    """A server where only one question may wait."""
    yield start_server(tmp_path, queue_length=1)


def test_too_many_questions_are_429_with_a_time_to_come_back(small, endless, eventually) -> None:
    create = small.client.chat.completions.create
    answers = [create(**endless) for _ in range(4)]
    waiting: list[Any] = []
    thread = threading.Thread(target=lambda: waiting.append(create(**endless)))
    thread.start()
    eventually(lambda: small.services.engine.waiting == 1)
    for stream in (False, True):
        with pytest.raises(openai.RateLimitError) as refused:
            create(**{**endless, "stream": stream})
        assert refused.value.response.headers["retry-after"] == "5"
        assert refused.value.code == "overloaded"
    assert httpx.get(f"{small.url}/healthz").json()["queue"]["chat"] == 1
    for answer in answers:
        answer.close()
    thread.join(10)
    waiting[0].close()
    eventually(lambda: small.services.engine.writing == 0)


def test_a_failure_in_mid_stream_reaches_the_client_as_an_error(small, endless) -> None:
    url = f"{small.url}/v1/chat/completions"
    stream = iter(small.client.chat.completions.create(**endless))
    with httpx.stream("POST", url, json=endless) as raw:
        lines = raw.iter_lines()
        assert next(stream) and next(lines)
        small.services.engine.stop()
        with pytest.raises(openai.APIError, match="stopping"):
            list(stream)
        *_, last = (line for line in lines if line)
    assert json.loads(last.removeprefix("data: "))["error"].keys() == {
        "message",
        "type",
        "param",
        "code",
    }
    with pytest.raises(openai.InternalServerError, match="stopping"):
        small.client.chat.completions.create(**{**endless, "stream": False})
