"""/v1/chains: route, answer, polish, over a real socket and through both endpoints."""

from __future__ import annotations

import json
from typing import Any

import httpx
import openai
import pytest

ASK: Any = [{"role": "user", "content": "What is the price of bag 7?"}]
KIND = {
    "type": "object",
    "properties": {"kind": {"const": "prices"}},
    "required": ["kind"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def base(stocked) -> str:
    return stocked.services.engine.generator.name


def create(server, name: str, steps: Any) -> httpx.Response:
    return httpx.post(f"{server.url}/v1/chains", json={"name": name, "steps": steps}, timeout=30)


@pytest.fixture(scope="module")
def desk(stocked, base: str, speak_as) -> str:
    router = speak_as("router", {"kind": "label", "labels": ["returns"]})
    steps = [
        {"name": "route", "model": router, "search": False},
        {"name": "kind", "model": base, "schema": KIND, "search": False},
        {"name": "hours", "model": base, "when": {"step": "route", "is": "hours"}},
        {"name": "answer", "model": base, "max_tokens": 12,
         "when": {"step": "kind", "field": "kind", "is": ["prices"]}},
        {"name": "polish", "model": base, "search": False, "max_tokens": 9,
         "prompt": "Say of {{kind.kind}}, {{route}}{{hours}}: {{answer}}"},
    ]  # fmt: skip
    answer = create(stocked, "desk", steps)
    assert answer.status_code == 200, answer.text
    return "desk"


def test_every_step_has_its_turn_and_reads_what_was_written(stocked, desk, turn) -> None:
    answer = stocked.client.chat.completions.create(model=desk, messages=ASK)
    assert answer.model == desk and answer.usage.completion_tokens <= 9
    steps = answer.model_extra["houseword"]["steps"]
    assert [step["step"] for step in steps] == ["route", "kind", "answer", "polish"]
    rows = {step["step"]: turn(stocked, step["turn"]) for step in steps}
    assert rows["route"]["answer"] == "returns"
    assert json.loads(rows["kind"]["answer"]) == {"kind": "prices"}
    assert rows["answer"]["hits"] and not rows["polish"]["hits"]
    wrote = rows["answer"]["answer"]
    assert rows["polish"]["messages"][-1]["content"] == f"Say of prices, returns: {wrote}"
    assert steps[-1]["turn"] == answer.id
    assert rows["polish"]["answer"] == answer.choices[0].message.content


def test_both_endpoints_and_streams_say_the_same(stocked, desk) -> None:
    whole = stocked.client.chat.completions.create(model=desk, messages=ASK)
    text = whole.choices[0].message.content
    chunks = stocked.client.chat.completions.create(model=desk, messages=ASK, stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == text
    response = stocked.client.responses.create(model=desk, input=ASK[0]["content"])
    assert response.output_text == text and response.model == desk
    events = list(stocked.client.responses.create(model=desk, input="Hello", stream=True))
    assert events[-1].type in ("response.completed", "response.incomplete")


def test_where_no_later_step_runs_the_last_that_ran_answers(stocked, base, turn) -> None:
    steps = [
        {"name": "kind", "model": base, "schema": KIND},
        {"name": "more", "model": base, "when": {"step": "kind", "field": "kind", "is": "x"}},
    ]
    assert create(stocked, "short", steps).status_code == 200
    answer = stocked.client.chat.completions.create(model="short", messages=ASK)
    assert json.loads(answer.choices[0].message.content) == {"kind": "prices"}
    (told,) = answer.model_extra["houseword"]["steps"]
    assert told["turn"] == answer.id, "the answer's turn can be found"
    assert turn(stocked, answer.id)["answer"] == answer.choices[0].message.content


@pytest.mark.parametrize("stream", [False, True])
def test_a_failing_step_says_which_and_why(stocked, base, stream: bool) -> None:
    steps = [
        {"name": "long", "model": base, "max_tokens": 5,
         "schema": {"type": "string", "minLength": 99}},
        {"name": "answer", "model": base},
    ]  # fmt: skip
    name = f"passing-{stream}".lower()
    create(stocked, "cut", steps)
    with pytest.raises(openai.APIStatusError) as failed:
        stocked.client.chat.completions.create(model="cut", messages=ASK, stream=stream)
    assert failed.value.status_code == 422
    assert "Step 'long' of the chain 'cut' failed: what it wrote was cut" in failed.value.message
    (told,) = failed.value.body["steps"]  # type: ignore[index]
    assert (told["step"], told["model"]) == ("long", base)
    turn = stocked.client.get(f"/turns/{told['turn']}", cast_to=dict[str, Any])
    assert turn["status"] == "completed" and turn["answer"].startswith('"')
    store = stocked.client.vector_stores.create(name="passing")
    named = [
        {"name": "first", "model": base, "max_tokens": 2},
        {"name": "read", "model": base, "vector_store_ids": [store.id]},
    ]
    assert create(stocked, name, named).status_code == 200
    stocked.client.vector_stores.delete(store.id)
    with pytest.raises(openai.NotFoundError) as missing:
        stocked.client.chat.completions.create(model=name, messages=ASK, stream=stream)
    assert f"Step 'read' of the chain '{name}' failed" in missing.value.message
    (told,) = missing.value.body["steps"]  # type: ignore[index]
    assert told["step"] == "first", "the step that could not begin has no turn"
    assert stocked.client.get(f"/turns/{told['turn']}", cast_to=dict[str, Any])["conversation"]


def test_a_chain_is_listed_told_and_forgotten(stocked, base, desk) -> None:
    steps = [{"name": "only", "model": base}]
    made = create(stocked, "passing-by", steps).json()
    assert (made["id"], made["object"], made["steps"]) == ("passing-by", "chain", steps)
    url = f"{stocked.url}/v1/chains"
    assert httpx.get(f"{url}/passing-by").json() == made
    assert {desk, "passing-by"} <= {chain["id"] for chain in httpx.get(url).json()["data"]}
    assert "passing-by" in [model.id for model in stocked.client.models.list()]
    assert create(stocked, "passing-by", steps).status_code == 409
    assert httpx.delete(f"{url}/passing-by").json()["deleted"] is True
    for gone in (httpx.get(f"{url}/passing-by"), httpx.delete(f"{url}/passing-by")):
        assert gone.status_code == 404
    with pytest.raises(openai.NotFoundError):
        stocked.client.chat.completions.create(model="passing-by", messages=ASK)


def test_another_owners_chain_is_unknown(stocked, base) -> None:
    create(stocked, "theirs", [{"name": "only", "model": base}])
    stocked.services.database.write(
        lambda connection: connection.execute(
            "UPDATE chains SET owner = 'somebody' WHERE name = 'theirs'"
        )
    )
    assert httpx.get(f"{stocked.url}/v1/chains/theirs").status_code == 404
    with pytest.raises(openai.NotFoundError):
        stocked.client.responses.create(model="theirs", input="Hello")


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("Desk!", {}, "name"),
        ("a" * 41, {}, "name"),
        ("router", {}, "model or voice"),
        ("new", {"model": "gpt-4o"}, "steps[0] (only)"),
        ("new", {"model": "desk"}, "no step of a chain"),
        ("new", {"vector_store_ids": ["vs_unknown"]}, "vs_unknown"),
        ("new", {"schema": {"$ref": "#"}}, "itself"),
        ("new", {"prompt": "{{nobody}}"}, "no earlier step"),
    ],
)
def test_a_chain_that_cannot_work_is_refused(stocked, base, desk, name, change, said) -> None:
    answer = create(stocked, name, [{"name": "only", "model": base, **change}])
    assert answer.status_code == 400 and said in answer.text, answer.text


def test_a_chain_has_schemas_of_its_own_and_no_voice_takes_its_name(stocked, desk) -> None:
    with pytest.raises(openai.BadRequestError, match="schemas of their own"):
        stocked.client.chat.completions.create(
            model=desk, messages=ASK, response_format={"type": "json_object"}
        )
    with pytest.raises(openai.BadRequestError, match="name of a chain"):
        stocked.client.fine_tuning.jobs.create(
            model=stocked.services.engine.generator.name, training_file="file-x", suffix=desk
        )
