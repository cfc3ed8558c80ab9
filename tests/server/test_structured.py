"""Structured answers over the wire: `response_format`, and voices of labels or JSON."""

from __future__ import annotations

import json
import time
from typing import Any, Literal

import httpx
import openai
import pytest
from pydantic import BaseModel, Field

ASK: Any = [{"role": "user", "content": "What is the price of bag 7?"}]


class Price(BaseModel, extra="forbid"):
    currency: Literal["EUR", "USD"]
    amount: int = Field(ge=0, le=999)
    notes: list[str] = Field(max_length=2)


PRICE_FORMAT = {
    "type": "json_schema",
    "json_schema": {"name": "price", "strict": True, "schema": Price.model_json_schema()},
}
BRIEF = {
    "type": "object",
    "properties": {"route": {"enum": ["sales", "returns"]}, "sure": {"type": "boolean"}},
    "required": ["route", "sure"],
    "additionalProperties": False,
}


def brief(schema: dict[str, Any] = BRIEF) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "brief", "schema": schema}}


@pytest.fixture(scope="module")
def base(stocked) -> str:
    return stocked.services.engine.generator.name


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_meets_the_schema_and_carries_no_marker(stocked, base, stream) -> None:
    request = {"model": base, "messages": ASK, "response_format": brief()}
    answer = stocked.client.chat.completions.create(**request, stream=stream)
    if stream:
        choices = [chunk.choices[0] for chunk in answer]
        text = "".join(choice.delta.content or "" for choice in choices)
        reason = choices[-1].finish_reason
    else:
        (choice,) = answer.choices
        text, reason = choice.message.content, choice.finish_reason
        assert choice.message.model_extra["citations"] == []
    told = json.loads(text)
    assert told.keys() == {"route", "sure"} and told["route"] in ("sales", "returns")
    assert told["sure"] in (True, False) and reason == "stop"


def test_the_clients_own_parsing_gets_its_model(stocked, base: str) -> None:
    for seed in range(4):
        try:
            parsed = stocked.client.chat.completions.parse(
                model=base, messages=ASK, response_format=Price, temperature=1.0, seed=seed,
                max_completion_tokens=600,
            )  # fmt: skip
        except openai.LengthFinishReasonError:
            continue
        assert isinstance(parsed.choices[0].message.parsed, Price)


def test_a_schema_that_is_not_met_in_time_ends_with_length(stocked, base: str) -> None:
    answer = stocked.client.chat.completions.create(
        model=base, messages=ASK, response_format=PRICE_FORMAT, max_tokens=5
    )
    assert answer.choices[0].finish_reason == "length" and answer.usage.completion_tokens == 5


def test_any_object_can_be_asked_for(stocked, base: str) -> None:
    answer = stocked.client.chat.completions.create(
        model=base, messages=ASK, response_format={"type": "json_object"}, max_tokens=400
    )
    (choice,) = answer.choices
    assert choice.message.content.startswith("{")
    if choice.finish_reason == "stop":
        assert isinstance(json.loads(choice.message.content), dict)


def test_without_documents_the_schema_is_met_all_the_same(server) -> None:
    answer = server.client.chat.completions.create(
        model=server.services.engine.generator.name, messages=ASK, response_format=brief()
    )
    assert json.loads(answer.choices[0].message.content).keys() == {"route", "sure"}


@pytest.mark.parametrize("temperature", [0, 2])
def test_a_label_voice_answers_with_one_of_its_labels(stocked, speak_as, temperature) -> None:
    labels = ["refund", "refund status", "opening hours"]
    model = speak_as("labels", {"kind": "label", "labels": labels})
    for seed in range(3):
        answer = stocked.client.chat.completions.create(
            model=model, messages=ASK, temperature=temperature, seed=seed
        )
        (choice,) = answer.choices
        assert choice.message.content in labels and choice.finish_reason == "stop"


def test_a_json_voice_writes_the_fields_on_its_card(stocked, speak_as) -> None:
    model = speak_as("fields", {"kind": "json", "labels": [], "schema": BRIEF})
    answer = stocked.client.chat.completions.create(model=model, messages=ASK)
    assert json.loads(answer.choices[0].message.content).keys() == {"route", "sure"}
    other = {"type": "object", "properties": {"x": {"const": 1}}, "required": ["x"],
             "additionalProperties": False}  # fmt: skip
    asked = stocked.client.chat.completions.create(
        model=model, messages=ASK, response_format=brief(other)
    )
    assert json.loads(asked.choices[0].message.content) == {"x": 1}


@pytest.mark.parametrize(
    "format",
    [
        {"type": "json_schema"},
        {"type": "json_schema", "json_schema": {"name": "x"}},
        {"type": "json_schema", "json_schema": {"schema": BRIEF}},
        {"type": "json_schema", "json_schema": {"name": "x", "schema": [1]}},
        {"type": "json_schema", "json_schema": "x"},
        brief({"$ref": "#"}),
        brief({"type": "nonsense"}),
        brief({"enum": list(range(5000))}),
        brief({"type": "string", "pattern": "(((" * 100}),
        brief({"type": "string", "pattern": "(a{1,999}){1,999}" * 50}),
        brief(json.loads('{"items":' * 300 + "{}" + "}" * 300)),
    ],
)
def test_bombs_and_nonsense_are_refused_at_once(stocked, base: str, format: Any) -> None:
    began = time.monotonic()
    answer = httpx.post(
        f"{stocked.url}/v1/chat/completions",
        json={"model": base, "messages": ASK, "response_format": format},
    )
    assert answer.status_code == 400 and time.monotonic() - began < 1, answer.text
    assert answer.json()["error"]["code"] in ("invalid_schema", "unsupported_value")


def test_a_stop_text_cannot_cut_a_structured_answer(stocked, base: str) -> None:
    with pytest.raises(openai.BadRequestError, match="stop"):
        stocked.client.chat.completions.create(
            model=base, messages=ASK, response_format=brief(), stop="}"
        )
