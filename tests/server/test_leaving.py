"""A client that leaves: over a real socket, before anything was sent and in mid-stream."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection
from typing import Any

import httpx
import pytest

from server.engine import SLOTS

LONG = {"type": "string", "minLength": 3000}
TOKENS = 3500
PATHS = ["responses", "chat/completions"]


@pytest.fixture(scope="module")
def base(stocked) -> str:
    return stocked.services.engine.generator.name


def request(path: str, question: str, *, schema: Any = LONG, **more: Any) -> dict[str, Any]:
    """A question whose answer takes long."""
    format = {"type": "json_schema", "name": "long", "schema": schema}
    if path == "responses":
        asked = {"input": question, "max_output_tokens": TOKENS, "text": {"format": format}}
    else:
        asked = {
            "messages": [{"role": "user", "content": question}],
            "max_tokens": TOKENS,
            "response_format": {"type": "json_schema", "json_schema": format},
        }
    if schema is None:
        asked = {key: asked[key] for key in asked if key not in ("text", "response_format")}
    return {**asked, **more}


def turns_about(server, question: str) -> list[Any]:
    """The turns whose last message holds a text, oldest first."""
    with server.services.database.read() as connection:
        rows = connection.execute("SELECT id FROM turns ORDER BY rowid").fetchall()
    turns = [server.services.turns.turn("local", row["id"]) for row in rows]
    kept = [turn for turn in turns if turn.conversation]
    return [turn for turn in kept if question in turn.conversation[-1]["content"]]


@contextmanager
def asking(server, path: str, asked: dict[str, Any]) -> Iterator[None]:
    """Ask, and hang up at the end of the block, whatever was told until then."""
    connection = HTTPConnection(server.settings.host, server.settings.port)
    headers = {"content-type": "application/json"}
    connection.request("POST", f"/v1/{path}", body=json.dumps(asked), headers=headers)
    yield
    connection.close()


@pytest.mark.parametrize("path", PATHS)
def test_who_leaves_while_a_whole_answer_is_written_stops_the_generator(
    stocked, base: str, path: str, eventually
) -> None:
    question = f"Who waits for the whole of {path}?"
    engine = stocked.services.engine
    with asking(stocked, path, request(path, question, model=base)):
        eventually(lambda: engine.writing == 1)
        time.sleep(0.3)  # some tokens
    eventually(lambda: engine.writing == 0, seconds=5)
    (turn,) = eventually(lambda: turns_about(stocked, question), seconds=5)
    assert turn.status == "cancelled" and turn.answer.startswith('"')
    assert 0 < turn.usage["completion_tokens"] < 3000


@pytest.mark.parametrize("path", PATHS)
def test_who_leaves_a_stream_that_waits_for_its_turn_is_forgotten_by_the_queue(
    stocked, base: str, path: str, eventually
) -> None:
    url, question = f"{stocked.url}/v1/{path}", f"Who waits in the queue of {path}?"
    engine = stocked.services.engine
    reading = []
    with ExitStack() as others:
        for number in range(SLOTS):
            asked = request(path, f"Other {number}", model=base, stream=True)
            answer = others.enter_context(httpx.stream("POST", url, json=asked, timeout=30))
            reading.append(answer.iter_lines())  # kept: one that is dropped hangs up
            next(reading[-1])
        with asking(stocked, path, request(path, question, model=base, stream=True)):
            eventually(lambda: engine.waiting == 1)
        (turn,) = eventually(lambda: turns_about(stocked, question), seconds=5)
        assert engine.writing == SLOTS, "nobody has made room"
    assert (turn.status, turn.answer, turn.usage["completion_tokens"]) == ("cancelled", "", 0)
    eventually(lambda: engine.writing == 0, seconds=5)


@pytest.mark.parametrize("stream", [False, True])
def test_who_leaves_a_chain_stops_the_step_that_is_written(
    stocked, base: str, stream: bool, eventually
) -> None:
    name, question = f"leaving-{stream}".lower(), f"Who leaves a chain, {stream}?"
    steps = [
        {"name": "first", "model": base, "max_tokens": 3, "search": False},
        {"name": "long", "model": base, "max_tokens": TOKENS, "schema": LONG, "search": False},
        {"name": "last", "model": base, "search": False},
    ]
    body = {"name": name, "steps": steps}
    made = httpx.post(f"{stocked.url}/v1/chains", json=body, timeout=30)
    assert made.status_code == 200, made.text
    path, engine = "chat/completions", stocked.services.engine
    asked = request(path, question, model=name, stream=stream, schema=None)
    with asking(stocked, path, asked):
        eventually(lambda: turns_about(stocked, question))
        eventually(lambda: engine.writing == 1)
    eventually(lambda: engine.writing == 0, seconds=5)
    eventually(lambda: len(turns_about(stocked, question)) == 2, seconds=5)
    assert [turn.status for turn in turns_about(stocked, question)] == ["completed", "cancelled"]


@pytest.mark.parametrize("path", PATHS)
def test_who_leaves_under_strict_before_a_sentence_is_told_stops_the_generator(
    stocked, base: str, path: str, eventually
) -> None:
    question = f"Who leaves {path} under strict?"
    asked = request(path, question, schema=None, model=base, stream=True, grounding="strict")
    with httpx.stream("POST", f"{stocked.url}/v1/{path}", json=asked, timeout=30) as answer:
        first = next(line for line in answer.iter_lines() if line.startswith("data: "))
    told = json.loads(first.removeprefix("data: "))
    turn_id = told["response"]["id"] if path == "responses" else told["id"]
    eventually(lambda: stocked.services.engine.writing == 0, seconds=5)
    turn = eventually(lambda: stocked.services.turns.turn("local", turn_id), seconds=5)
    assert (turn.status, turn.policy, turn.answer) == ("cancelled", "strict", "")
    assert turn.usage["completion_tokens"] < TOKENS
