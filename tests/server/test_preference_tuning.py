"""Preference jobs over the API: the voice that serves learns which of its replies is liked."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import openai
import pytest

pytestmark = pytest.mark.workers

SENTENCE = "Bags cost 45."


def preference_jsonl(
    count: int = 40, *, preferred: str = SENTENCE, rejected: str = "The price is 45 for a bag."
) -> bytes:
    """The same preference for ever different questions, as OpenAI's JSONL."""
    lines = (
        {
            "input": {
                "messages": [{"role": "user", "content": f"What is the price of bag {number}?"}]
            },
            "preferred_output": [{"role": "assistant", "content": preferred}],
            "non_preferred_output": [{"role": "assistant", "content": rejected}],
        }
        for number in range(count)
    )
    return "\n".join(map(json.dumps, lines)).encode()


def dpo(**hyperparameters: Any) -> dict[str, Any]:
    """A job's method, in the client's own form."""
    chosen = {"n_epochs": 2, "beta": 0.2, "batch_size": 4, **hyperparameters}
    return {"type": "dpo", "dpo": {"hyperparameters": chosen}}


QUICK = {"learning_rate": 0.01, "batch_tokens": 4096, "gate_minutes": 0}


@pytest.fixture(scope="module")
def tuned(start_server, teacher, chat_jsonl, tmp_path_factory: pytest.TempPathFactory):
    """A server whose voice `support` was taught, activated, and tuned on preferences."""
    server = start_server(tmp_path_factory.mktemp("tuned"), worker_threads=1)
    house = teacher(server.client)
    house.ingest()
    started = house.start(chat_jsonl(30), hyperparameters={**QUICK, "n_epochs": 3})
    taught = house.wait(started.id, seconds=140)
    assert taught.status == "succeeded", taught.error
    server.client.post(
        "/voices/support/activate", body={"version": taught.fine_tuned_model}, cast_to=dict
    )
    job = house.start(preference_jsonl(), method=dpo(), hyperparameters=QUICK)
    return server, taught, house.wait(job.id, seconds=140)


def test_a_preference_job_tells_its_method_in_the_clients_own_model(tuned, strict) -> None:
    server, _, job = tuned
    assert job.status == "succeeded", job.error
    told = strict(server.client.fine_tuning.jobs.with_raw_response.retrieve(job.id))
    assert told.method.type == "dpo" and told.method.supervised is None
    chosen = told.method.dpo.hyperparameters
    assert (chosen.beta, chosen.n_epochs, chosen.batch_size) == (0.2, 2, 4)


def test_its_result_is_a_version_of_the_voice_that_goes_on_from_the_active_one(tuned) -> None:
    server, taught, job = tuned
    versions = server.client.get("/voices/support", cast_to=dict)["versions"]
    assert [version["id"] for version in versions] == [
        taught.fine_tuned_model,
        job.fine_tuned_model,
    ]
    card = json.loads(
        (server.settings.folder("adapters") / versions[1]["digest"] / "card.json").read_text()
    )
    assert card["parent"] == versions[0]["digest"] and card["config"]["beta"] == 0.2
    lineage = versions[1]["lineage"]
    assert (lineage["parent"], lineage["from"]) == (taught.fine_tuned_model, "active")
    assert versions[0]["lineage"]["from"] == "scratch"
    result = job.model_extra["result"]
    assert result["accuracy"] > 0.5 and result["margin"] > 0
    assert result["heldout_loss_after"] < result["heldout_loss_before"]
    answer = server.client.chat.completions.create(
        model=job.fine_tuned_model,
        messages=[{"role": "user", "content": "What is the price of bag 7?"}],
    )
    assert answer.choices[0].message.content


def test_its_rows_have_both_replies_to_the_prompt_as_served(tuned) -> None:
    server, _, job = tuned
    run = server.settings.folder("runs") / job.id
    rows = [json.loads(line) for line in (run / "examples.jsonl").read_text().splitlines()]
    assert {row["split"] for row in rows} == {"train", "dev", "gate"}
    learned = [row for row in rows if row["split"] != "gate"]
    assert len(learned) > 20
    for row in learned:
        assert row["reply"] == SENTENCE and row["rejected"] == "The price is 45 for a bag."
        assert SENTENCE in row["messages"][-1]["content"], "the passage is shown"


def test_its_events_tell_accuracy_and_margin(tuned) -> None:
    server, _, job = tuned
    events = server.client.fine_tuning.jobs.list_events(job.id, limit=1000).data
    heldout = [event for event in events if event.data and "valid_loss" in event.data]
    assert {"heldout_accuracy", "heldout_margin"} <= heldout[0].data.keys()
    assert "of the preferences right" in heldout[0].message
    assert any(event.data and "margin" in event.data for event in events)


@pytest.fixture
def refused(server, teacher) -> Callable[..., openai.BadRequestError]:
    def ask(content: bytes, **request: Any) -> openai.BadRequestError:
        with pytest.raises(openai.BadRequestError) as error:
            teacher(server.client).start(content, **request)
        return error.value

    return ask


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (preference_jsonl(12) + b'\n{"input": {}}', ["line 13", "input"]),
        (
            preference_jsonl(12) + b"\n" + preference_jsonl(1, rejected=SENTENCE),
            ["line 13", "same"],
        ),
        (preference_jsonl(3), ["3 examples", "at least"]),
        (preference_jsonl(12, rejected="long " * 1000), ["line 1:", "4999 tokens"]),
    ],
)
def test_faulty_preferences_are_refused_with_their_line(refused, content, words) -> None:
    message = refused(content, method=dpo()).message
    assert all(word in message for word in words), message


def test_chat_examples_are_no_preferences_and_the_other_way_round(refused, chat_jsonl) -> None:
    assert '"input"' in refused(chat_jsonl(), method=dpo()).message
    assert '"messages"' in refused(preference_jsonl()).message


@pytest.mark.parametrize(
    ("request_", "param"),
    [
        ({"method": {"type": "reinforcement"}}, "method"),
        ({"method": {"type": "dpo", "dpo": {"hyperparameters": [1]}}}, "method"),
        ({"method": dpo(beta=-1)}, "beta"),
        ({"method": dpo(beta=99)}, "beta"),
        ({"method": dpo(batch_size=1.5)}, "batch_size"),
        ({"method": dpo(momentum=1)}, "momentum"),
    ],
)
def test_what_a_method_does_not_have_is_refused_by_name(
    refused, chat_jsonl, request_: dict[str, Any], param: str
) -> None:
    is_dpo = request_.get("method", {}).get("type") == "dpo"
    request_.setdefault("hyperparameters", {})
    error = refused(preference_jsonl() if is_dpo else chat_jsonl(), **request_)
    assert error.param == param


def test_a_supervised_job_has_no_beta(refused, chat_jsonl) -> None:
    assert refused(chat_jsonl(), hyperparameters={"beta": 0.1}).param == "beta"
