"""/v1/responses with the official client: whole, streamed, kept, built upon, refused."""

from __future__ import annotations

import json
from typing import Any

import httpx
import openai
import pytest
from pydantic import BaseModel

QUESTION = "What is the price of bag 7?"
SHORT = {"max_output_tokens": 30}


@pytest.fixture(scope="module")
def base(stocked) -> str:
    return stocked.services.engine.generator.name


@pytest.fixture(scope="module")
def store(stocked) -> str:
    return stocked.services.default_store("local")


@pytest.fixture(scope="module")
def shelf(stocked) -> str:
    """A second store: two documents, told apart by an attribute."""
    client = stocked.client
    store = client.vector_stores.create(name="shelf")
    for colour in ("red", "blue"):
        text = f"The {colour} lamp shines for days. The {colour} lamp is in the store."
        file = client.files.create(file=(f"{colour}.txt", text.encode()), purpose="user_data")
        client.vector_stores.files.create_and_poll(
            file.id, vector_store_id=store.id, attributes={"colour": colour}, poll_interval_ms=20
        )
    return store.id


def wire(server, **request: Any) -> list[dict[str, Any]]:
    """The events of a streamed response as they stand on the wire."""
    url = f"{server.url}/v1/responses"
    with httpx.stream("POST", url, json={"stream": True, **request}) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in answer.iter_lines() if line]
    names = [line.removeprefix("event: ") for line in lines[::2]]
    events = [json.loads(line.removeprefix("data: ")) for line in lines[1::2]]
    assert [event["type"] for event in events] == names
    return events


# -- an answer


def test_a_response_is_what_chat_answers(stocked, base: str, store: str, strict, turn) -> None:
    raw = stocked.client.responses.with_raw_response.create(
        model=base, input=QUESTION, metadata={"a": "b"}, **SHORT
    )
    response = strict(raw)
    chat = stocked.client.chat.completions.create(
        model=base, messages=[{"role": "user", "content": QUESTION}], max_tokens=30
    )
    assert response.output_text == chat.choices[0].message.content
    assert response.id.startswith("resp_") and response.metadata == {"a": "b"}
    assert response.usage.input_tokens == chat.usage.prompt_tokens
    assert response.usage.output_tokens == chat.usage.completion_tokens
    search, message = response.output
    assert (search.type, search.status, search.queries) == (
        "file_search_call", "completed", [QUESTION],
    )  # fmt: skip
    assert search.results is None and message.role == "assistant"
    assert turn(stocked, response.id)["stores"] == [store]
    assert response.model_extra["houseword"] == chat.model_extra["houseword"]


def test_citations_stand_where_their_markers_stand(taught, strict) -> None:
    response = strict(
        taught.client.responses.with_raw_response.create(model="support", input=QUESTION)
    )
    text = response.output[-1].content[0]
    assert text.text == "Bags cost 45. [1]"
    (citation,) = text.annotations
    assert (citation.type, citation.filename) == ("file_citation", "prices.md")
    assert text.text[: citation.index] == "Bags cost 45."
    assert taught.client.files.retrieve(citation.file_id).filename == "prices.md"
    events = wire(taught, model="support", input=QUESTION)
    (added,) = [event for event in events if event["type"].endswith("annotation.added")]
    assert added["annotation"] == citation.model_dump() and added["annotation_index"] == 0


def test_the_events_come_in_openais_order(stocked, base: str) -> None:
    events = wire(stocked, model=base, input=QUESTION, **SHORT)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    kinds = [event["type"].removeprefix("response.") for event in events]
    deltas = kinds.count("output_text.delta")
    assert deltas >= 1
    at = kinds.index("output_text.delta")
    assert kinds[:at] == [
        "created", "in_progress", "output_item.added", "file_search_call.in_progress",
        "file_search_call.searching", "file_search_call.completed", "output_item.done",
        "output_item.added", "content_part.added",
    ]  # fmt: skip
    after = [kind for kind in kinds[at + deltas :] if kind != "output_text.annotation.added"]
    assert after[:3] == ["output_text.done", "content_part.done", "output_item.done"]
    assert after[3:] in (["completed"], ["incomplete"])
    assert {e["output_index"] for e in events if e["type"].startswith("response.output_text")} == {
        1
    }
    whole = events[-1]["response"]
    text = "".join(e["delta"] for e in events if e["type"] == "response.output_text.delta")
    assert whole["output"][-1]["content"][0]["text"] == text
    kept = stocked.client.responses.retrieve(whole["id"])
    assert kept.output_text == text


def test_the_clients_own_stream_puts_it_together(stocked, base: str) -> None:
    with stocked.client.responses.stream(model=base, input="Hello there!", **SHORT) as stream:
        kinds = [event.type for event in stream]
    assert kinds[0] == "response.created" and kinds[-1] in (
        "response.completed", "response.incomplete",
    )  # fmt: skip
    assert not any("file_search" in kind for kind in kinds), "a greeting is not searched for"


def test_every_event_is_of_the_clients_own_kind(stocked, base: str) -> None:
    stream = stocked.client.responses.create(model=base, input=QUESTION, stream=True, **SHORT)
    for event in stream:
        # Loosely built by the client; here checked against its own model.
        type(event).model_validate(event.model_dump(by_alias=True, exclude_unset=True))
    assert event.response.usage.total_tokens > 0


def test_an_answer_that_is_cut_is_incomplete_and_says_why(stocked, base: str) -> None:
    response = stocked.client.responses.create(model=base, input=QUESTION, max_output_tokens=2)
    assert response.status == "incomplete"
    assert response.incomplete_details.reason == "max_output_tokens"
    assert response.output[-1].status == "incomplete"


# -- the search


def test_the_tool_chooses_stores_documents_and_hits(stocked, base: str, shelf: str) -> None:
    def names(**tool: Any) -> list[str]:
        response = stocked.client.responses.create(
            model=base,
            input="Which lamp shines?",
            max_output_tokens=1,
            tools=[{"type": "file_search", "vector_store_ids": [shelf], **tool}],
            include=["file_search_call.results"],
        )
        assert response.tools[0].vector_store_ids == [shelf]
        return sorted({result.filename for result in response.output[0].results})

    assert names() == ["blue.txt", "red.txt"]
    assert len(names(max_num_results=1)) == 1
    assert names(filters={"type": "eq", "key": "colour", "value": "red"}) == ["red.txt"]
    assert names(filters={"type": "eq", "key": "colour", "value": "green"}) == []
    assert names(ranking_options={"ranker": "auto", "score_threshold": 0}) == names()


def test_hits_below_the_score_threshold_are_not_shown(stocked, base, shelf, turn) -> None:
    def scores(least: float) -> list[float]:
        tool: Any = {
            "type": "file_search",
            "vector_store_ids": [shelf],
            "ranking_options": {"score_threshold": least},
        }
        response = stocked.client.responses.create(
            model=base, input="Which red lamp shines?", max_output_tokens=1, tools=[tool]
        )
        return sorted(hit["score"] for hit in turn(stocked, response.id)["hits"])

    low, high = scores(0.0)
    assert low < high
    assert scores((low + high) / 2) == [high]


@pytest.mark.parametrize("path", ["responses", "chat/completions"])
def test_an_expired_store_is_not_answered_from(stocked, base: str, path: str) -> None:
    store = stocked.client.vector_stores.create(
        name="old", expires_after={"anchor": "last_active_at", "days": 1}
    )
    asked = {
        "model": base,
        "input": QUESTION,
        "messages": [{"role": "user", "content": QUESTION}],
        "tools": [{"type": "file_search", "vector_store_ids": [store.id]}],
        "max_output_tokens": 1,
        "max_tokens": 1,
    }
    url = f"{stocked.url}/v1/{path}"
    assert httpx.post(url, json=asked).status_code == 200
    stocked.services.database.write(
        lambda connection: connection.execute(
            "UPDATE stores SET last_active_at = 0 WHERE id = ?", (store.id,)
        )
    )
    refused = [httpx.post(url, json=asked)]
    refused.append(
        httpx.post(f"{stocked.url}/v1/vector_stores/{store.id}/search", json={"query": "Bags"})
    )
    for answer in refused:
        assert answer.status_code == 400 and answer.json()["error"]["code"] == "expired"
    assert stocked.client.vector_stores.retrieve(store.id).status == "expired"


def test_results_are_told_where_they_are_asked_for(stocked, base: str) -> None:
    create = stocked.client.responses.create
    asked = create(model=base, input=QUESTION, include=["file_search_call.results"], **SHORT)
    best = asked.output[0].results[0]
    assert "Bags cost 45." in best.text and 0 <= best.score <= 1 and best.attributes == {}
    retrieve = stocked.client.responses.retrieve
    assert retrieve(asked.id).output[0].results is None
    told = retrieve(asked.id, include=["file_search_call.results"])
    assert told.output[0].results == asked.output[0].results
    streamed = list(create(model=base, input=QUESTION, stream=True, **SHORT))
    assert streamed[-1].response.output[0].results is None


def test_tool_choice_none_turns_the_search_off(stocked, base: str) -> None:
    response = stocked.client.responses.create(
        model=base, input=QUESTION, tool_choice="none", **SHORT
    )
    assert [item.type for item in response.output] == ["message"]


# -- the talk


def test_a_response_goes_on_from_the_one_before(stocked, base: str, turn) -> None:
    create = stocked.client.responses.create
    first = create(model=base, input="Say lamp.", instructions="Be brief.", **SHORT)
    second = create(model=base, input="Again.", previous_response_id=first.id, **SHORT)
    third = create(model=base, input="Once more.", previous_response_id=second.id, **SHORT)
    contents = [message["content"] for message in turn(stocked, third.id)["messages"]]
    assert contents[1] == "Say lamp." and contents[3] == "Again." and len(contents) == 6
    assert not any("Be brief." in content for content in contents), "instructions are not handed on"
    assert "Be brief." in turn(stocked, first.id)["messages"][0]["content"]
    assert third.previous_response_id == second.id


@pytest.mark.parametrize("stream", [False, True])
def test_a_talk_that_is_too_long_is_refused_where_nothing_may_be_left_out(
    stocked, base: str, stream: bool
) -> None:
    talk: Any = [
        {"role": "user", "content": "word " * 900},
        {"role": "assistant", "content": "Hi."},
        {"role": "user", "content": "Hello"},
    ]
    create = stocked.client.responses.create
    with pytest.raises(openai.BadRequestError) as refused:
        create(model=base, input=talk, truncation="disabled", stream=stream, **SHORT)
    assert refused.value.code == "context_length_exceeded"
    assert create(model=base, input=talk, truncation="auto", **SHORT).truncation == "auto"
    assert create(model=base, input=talk, **SHORT).truncation == "auto", "as it is answered"
    assert create(model=base, input="Hello", truncation="disabled", **SHORT).output_text


def test_items_say_what_a_text_says(stocked, base: str, turn) -> None:
    items: Any = [
        {"role": "developer", "content": "Be kind."},
        {"role": "user", "content": [{"type": "input_text", "text": "Hello"}]},
        {"type": "message", "role": "assistant",
         "content": [{"type": "output_text", "text": "Hi.", "annotations": []}]},
        {"type": "file_search_call", "id": "fs_1", "queries": [], "status": "completed"},
        {"role": "user", "content": QUESTION},
    ]  # fmt: skip
    response = stocked.client.responses.create(model=base, input=items, **SHORT)
    messages = turn(stocked, response.id)["messages"]
    assert messages[0]["content"].startswith("Be kind.")
    assert [m["content"] for m in messages[1:3]] == ["Hello", "Hi."]
    listed = list(stocked.client.responses.input_items.list(response.id))
    assert [item.content[0].text for item in listed] == ["Be kind.", "Hello", "Hi.", QUESTION]


def test_what_is_deleted_or_not_stored_is_gone(stocked, base: str) -> None:
    client = stocked.client.responses
    kept = client.create(model=base, input=QUESTION, **SHORT)
    assert client.retrieve(kept.id).output_text == kept.output_text
    client.delete(kept.id)
    passing = client.create(model=base, input=QUESTION, store=False, **SHORT)
    for gone in (kept.id, passing.id, "resp_unknown"):
        for missing in (
            lambda gone=gone: client.retrieve(gone),
            lambda gone=gone: client.delete(gone),
            lambda gone=gone: client.create(model=base, input="x", previous_response_id=gone),
        ):
            with pytest.raises(openai.NotFoundError):
                missing()
    with stocked.services.database.read() as connection:
        ids = [row["id"] for row in connection.execute("SELECT id FROM turns")]
    assert kept.id not in ids and passing.id in ids


def test_another_owners_response_is_unknown(stocked, base: str) -> None:
    response = stocked.client.responses.create(model=base, input=QUESTION, **SHORT)
    stocked.services.database.write(
        lambda connection: connection.execute(
            "UPDATE responses SET owner = 'somebody' WHERE id = ?", (response.id,)
        )
    )
    with pytest.raises(openai.NotFoundError):
        stocked.client.responses.retrieve(response.id)
    with pytest.raises(openai.NotFoundError):
        stocked.client.responses.create(
            model=base, input="Again.", previous_response_id=response.id
        )


# -- structured


class Route(BaseModel, extra="forbid"):
    returns: bool


@pytest.mark.parametrize("stream", [False, True])
def test_text_format_holds_the_answer_to_a_schema(stocked, base: str, stream: bool) -> None:
    if stream:
        with stocked.client.responses.stream(
            model=base, input=QUESTION, text_format=Route
        ) as events:
            parsed = events.get_final_response()
    else:
        parsed = stocked.client.responses.parse(model=base, input=QUESTION, text_format=Route)
    assert isinstance(parsed.output_parsed, Route) and parsed.status == "completed"
    assert parsed.output[-1].content[0].annotations == []


def test_a_schema_that_cannot_be_met_in_time_is_incomplete(stocked, base: str) -> None:
    schema = {"type": "string", "minLength": 500}
    response = stocked.client.responses.create(
        model=base,
        input=QUESTION,
        max_output_tokens=20,
        text={"format": {"type": "json_schema", "name": "long", "schema": schema}},
    )
    assert (response.status, response.incomplete_details.reason) == (
        "incomplete", "max_output_tokens",
    )  # fmt: skip


# -- what is refused


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ({"tools": [{"type": "web_search"}]}, "file_search"),
        ({"tools": [{"type": "function", "name": "f", "parameters": {}}]}, "file_search"),
        ({"tools": [{"type": "file_search", "max_num_results": 99}]}, "max_num_results"),
        ({"tools": [{"type": "file_search", "filters": {"type": "like"}}]}, "like"),
        ({"tools": [{"type": "file_search"}, {"type": "file_search"}]}, "One 'file_search'"),
        ({"tools": [{"type": "file_search", "ranking_options": {"score_threshold": 2}}]},
         "score_threshold"),
        ({"tools": [{"type": "file_search", "ranking_options": {"ranker": "best"}}]}, "ranker"),
        ({"tools": [{"type": "file_search", "ranking_options": {"hybrid_search":
         {"embedding_weight": 1, "text_weight": 0}}}]}, "hybrid_search"),
        ({"tools": [{"type": "file_search", "ranking_options": "all"}]}, "ranking_options"),
        ({"tool_choice": {"type": "function", "name": "f"}}, "tool_choice"),
        ({"background": True}, "background"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"include": ["message.output_text.logprobs"]}, "logprobs"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"truncation": "head"}, "truncation"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"max_output_tokens": 10**9}, "max_output_tokens"),
        ({"temperature": 9}, "temperature"),
        ({"input": ""}, "empty"),
        ({"input": []}, "user"),
        ({"input": 3}, "input"),
        ({"input": ["x"]}, "input[0]"),
        ({"input": [{"role": "assistant", "content": "Hello"}]}, "user"),
        ({"input": [{"role": "tool", "content": "Hello"}]}, "'tool'"),
        ({"input": [{"type": "function_call_output", "output": "x"}]}, "function_call_output"),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "text"),
        ({"input": "word " * 1_000_000}, "4095"),
        ({"text": {"format": {"type": "json_schema", "name": "x", "schema": {"$ref": "#"}}}},
         "itself"),
        ({"text": {"format": {"type": "grammar"}}}, "text.format"),
        ({"metadata": {str(n): "x" for n in range(17)}}, "metadata"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("stream", [False, True])
def test_what_is_not_supported_is_refused(stocked, base, request_, said, stream) -> None:
    body = {"model": base, "input": QUESTION, "stream": stream, **request_}
    answer = httpx.post(f"{stocked.url}/v1/responses", json=body)
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert said in error["message"] or said == error["param"], error


@pytest.mark.parametrize("change", [{"model": "gpt-4o"}, {"tools": [
    {"type": "file_search", "vector_store_ids": ["vs_unknown"]}]}])  # fmt: skip
def test_unknown_models_and_stores_are_404(stocked, base: str, change) -> None:
    with pytest.raises(openai.NotFoundError):
        stocked.client.responses.create(**{"model": base, "input": QUESTION, **change})


# -- a client that leaves


@pytest.mark.parametrize("path", ["responses", "chat/completions"])
def test_a_client_that_leaves_stops_the_generator_and_the_turn_is_cancelled(
    stocked, base: str, path: str, eventually
) -> None:
    long = {"type": "string", "minLength": 3000}
    format = {"type": "json_schema", "name": "long", "schema": long}
    asked: dict[str, Any] = {"model": base, "stream": True}
    if path == "responses":
        asked |= {"input": QUESTION, "max_output_tokens": 3500, "text": {"format": format}}
    else:
        asked |= {
            "messages": [{"role": "user", "content": QUESTION}],
            "max_tokens": 3500,
            "response_format": {"type": "json_schema", "json_schema": format},
        }
    with httpx.stream("POST", f"{stocked.url}/v1/{path}", json=asked) as answer:
        lines = answer.iter_lines()
        first = next(line for line in lines if line.startswith("data: "))
        for _ in range(30):
            next(lines)
    told = json.loads(first.removeprefix("data: "))
    turn_id = told["response"]["id"] if path == "responses" else told["id"]
    eventually(lambda: stocked.services.engine.writing == 0, seconds=5)
    turn = eventually(lambda: stocked.services.turns.turn("local", turn_id), seconds=5)
    assert turn.status == "cancelled" and turn.answer.startswith('"')
    assert 0 < turn.usage["completion_tokens"] < 3000
