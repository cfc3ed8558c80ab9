"""A voice's task, from its data to its card, its rows and its answers."""

from __future__ import annotations

import json
import time
from typing import Any

import openai
import pytest

from server.answer import Question, prepare
from server.prompt import WITHOUT_PASSAGES
from server.voices import FIRST_TASK, Version
from tuning.generate import Sampling
from tuning.run import Run

pytestmark = pytest.mark.workers

JSON_REPLY = '{"bags": [45]}'
ASK: Any = [{"role": "user", "content": "What is the price of bag 7?"}]


@pytest.fixture(scope="module")
def structured(taught, teacher, chat_jsonl) -> Any:
    """The job of a voice that was taught JSON, in a house with documents."""
    house = teacher(taught.client)
    quick = {"n_epochs": 1, "gate_minutes": 0}
    job = house.start(chat_jsonl(reply=JSON_REPLY), suffix="structured", hyperparameters=quick)
    return house.wait(job.id)


@pytest.fixture(scope="module")
def speak_as(taught) -> Any:
    """A function that makes a voice of the taught adapter with another task on its card."""
    services = taught.services
    taught_version = services.voices.voice("local", "support").versions[0]

    def make(name: str, task: dict[str, Any] | None) -> str:
        card = {key: value for key, value in taught_version.card.items() if key != "task"}
        version = Version(
            id=f"ft:{taught_version.base}:{name}:{taught_version.digest}",
            owner="local",
            voice=name,
            digest=taught_version.digest,
            job_id=None,
            base=taught_version.base,
            card=card if task is None else {**card, "task": task},
            state="candidate",
            reasons=(),
            created_at=int(time.time()),
        )
        services.database.write(lambda connection: services.voices.add(connection, version))
        return version.id

    return make


def shown(server, answer: Any) -> tuple[list[str], list[Any]]:
    """The messages that a turn was written from, and its hits."""
    with server.services.database.read() as connection:
        row = connection.execute(
            "SELECT messages, hits FROM turns WHERE id = ?", (answer.id,)
        ).fetchone()
    return [m["content"] for m in json.loads(row["messages"])], json.loads(row["hits"])


# -- training


def test_json_is_learned_in_three_passes_where_no_number_is_given(
    taught, teacher, structured, chat_jsonl
) -> None:
    house = teacher(taught.client)
    brief = {"max_minutes": 0.05, "gate_minutes": 0}
    job = house.start(chat_jsonl(reply=JSON_REPLY), suffix="passes", hyperparameters=brief)
    assert house.wait(job.id).status == "succeeded"
    runs = taught.settings.folder("runs")
    passes = [
        Run(runs / id_).config()["voice_config"]["max_epochs"] for id_ in (job.id, structured.id)
    ]
    assert passes == [3, 1]


def test_the_task_is_in_the_jobs_result_its_events_and_the_voices_card(taught, structured) -> None:
    bags = {"type": "array", "items": {"type": "number"}}
    schema = {
        "type": "object",
        "properties": {"bags": bags},
        "required": ["bags"],
        "additionalProperties": False,
    }
    task = {"kind": "json", "uses_documents": False, "labels": [], "schema": schema}
    assert structured.model_extra["result"]["task"] == task
    (version,) = taught.client.get("/voices/structured", cast_to=dict)["versions"]
    assert version["task"] == task
    events = taught.client.fine_tuning.jobs.list_events(structured.id, limit=1000).data
    (told,) = [event for event in events if event.message.startswith("Task: ")]
    assert told.message == "Task: json; 100% of the replies are JSON." and told.data == task
    support = taught.client.get("/voices/support", cast_to=dict)["versions"][0]
    assert support["task"] == FIRST_TASK


def test_rows_without_documents_are_bare_even_where_a_store_has_some(taught, structured) -> None:
    run = taught.settings.folder("runs") / structured.id
    rows = [json.loads(line) for line in (run / "examples.jsonl").read_text().splitlines()]
    assert len(rows) == 60 and {row["kind"] for row in rows} == {"chat"}
    assert not any(row["passages"] for row in rows)
    assert {row["messages"][0]["content"] for row in rows} == {WITHOUT_PASSAGES}


# -- serving


def test_json_is_answered_as_written_without_search_or_marks(taught, structured) -> None:
    model = structured.fine_tuned_model
    answer = taught.client.chat.completions.create(model=model, messages=ASK, max_tokens=8)
    assert answer.choices[0].message.model_extra["citations"] == []
    assert shown(taught, answer) == ([WITHOUT_PASSAGES, ASK[0]["content"]], [])
    # A citer takes the [45] of `{"bags": [45]}` for a marker of the model's own and drops it, so
    # none reads the text of a JSON voice, even where stores are named.
    for stores in (None, (taught.services.default_store("local"),)):
        asked = Question(model, tuple(ASK), Sampling(max_tokens=8), stores=stores)
        prepared = prepare(taught.services, "local", asked)
        assert not prepared.cites and bool(prepared.shown) == (stores is not None)


def test_stores_named_in_the_request_are_searched_all_the_same(taught, speak_as) -> None:
    text = speak_as("text", {"kind": "text", "uses_documents": False, "labels": []})
    bare = taught.client.chat.completions.create(model=text, messages=ASK, max_tokens=20)
    assert shown(taught, bare)[1] == []
    store = taught.services.default_store("local")
    named = taught.client.chat.completions.create(
        model=text, messages=ASK, extra_body={"vector_store_ids": [store]}
    )
    assert shown(taught, named)[1]
    assert named.choices[0].message.model_extra["citations"]


def test_a_voice_older_than_tasks_replies_from_the_documents(taught, speak_as) -> None:
    old = speak_as("old", None)
    answer = taught.client.chat.completions.create(model=old, messages=ASK)
    assert shown(taught, answer)[1] and answer.choices[0].message.model_extra["citations"]
    version = taught.client.get("/voices/old", cast_to=dict)["versions"][0]
    assert version["task"] == FIRST_TASK


# -- what a request may say


@pytest.mark.parametrize(
    ("body", "param"),
    [({"task": "poem"}, "task"), ({"task": 3}, None), ({"uses_documents": "never"}, None)],
)
def test_unknown_tasks_are_refused(taught, teacher, body: dict[str, Any], param: str) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        teacher(taught.client).start(extra_body=body)
    if param:
        assert refused.value.param == param
        assert "reply, text, label, json" in refused.value.message


def test_what_the_request_says_goes_over_what_the_data_look_like(taught, teacher) -> None:
    house = teacher(taught.client)
    quick = {"n_epochs": 1, "gate_minutes": 0}
    job = house.start(
        suffix="named", hyperparameters=quick, extra_body={"task": "text", "uses_documents": True}
    )
    result = house.wait(job.id).model_extra["result"]
    assert result["task"] == {"kind": "text", "uses_documents": True, "labels": []}
