"""/v1/fine_tuning/jobs with the official client: a whole life, and every kind of bad input."""

from __future__ import annotations

import json
import time
from pathlib import Path

import openai
import pytest
from openai import OpenAI
from openai.types.fine_tuning import FineTuningJob

from tuning.run import Run


@pytest.fixture(scope="module")
def done(taught) -> FineTuningJob:
    """The job that has taught the shared voice."""
    return taught.client.fine_tuning.jobs.list().data[-1]


def lines(*conversations: list[tuple[str, str]]) -> bytes:
    return b"\n".join(
        json.dumps({"messages": [{"role": r, "content": c} for r, c in talk]}).encode()
        for talk in conversations
    )


def talks(count: int, *, reply: str = "Fine.") -> list[list[tuple[str, str]]]:
    return [[("user", f"question {n}"), ("assistant", reply)] for n in range(count)]


# -- a whole life


def test_a_finished_job_names_its_model_and_its_figures(taught, done, strict) -> None:
    raw = taught.client.fine_tuning.jobs.with_raw_response.retrieve(done.id)
    job = strict(raw)
    assert job.status == "succeeded" and job.error is None and job.object == "fine_tuning.job"
    model = taught.services.engine.generator.name
    digest = taught.client.get("/voices/support", cast_to=dict)["versions"][0]["digest"]
    assert job.fine_tuned_model == f"ft:{model}:support:{digest}"
    assert job.created_at <= job.started_at <= job.finished_at
    assert job.trained_tokens > 1000 and job.result_files == [] and job.seed == 0
    result = job.model_extra["result"]
    assert result["heldout_loss_after"] < result["heldout_loss_before"]
    assert not result["promoted"] and "gate_minutes is 0" in result["reasons"][0]
    assert result["rows"] >= 36 and result["stopped"] == "epochs"


def test_jobs_are_listed_with_the_clients_own_model(taught, done, strict) -> None:
    page = strict(taught.client.fine_tuning.jobs.with_raw_response.list(limit=1))
    assert len(page.data) == 1
    everything = list(taught.client.fine_tuning.jobs.list(limit=1))
    assert everything[-1].id == done.id
    assert len({job.id for job in everything}) == len(everything)


def test_events_tell_the_losses_and_the_clients_iterator_reads_them_all(
    taught, done, strict
) -> None:
    raw = taught.client.fine_tuning.jobs.with_raw_response.list_events(done.id, limit=5)
    assert strict(raw).has_more
    events = list(taught.client.fine_tuning.jobs.list_events(done.id, limit=5))
    whole = list(taught.client.fine_tuning.jobs.list_events(done.id, limit=1000))
    assert [event.id for event in events] == [event.id for event in whole]
    assert len({event.id for event in events}) == len(events) > 20
    oldest_first = taught.client.fine_tuning.jobs.list_events(
        done.id, limit=1000, extra_query={"order": "asc"}
    )
    assert [event.id for event in oldest_first] == [event.id for event in reversed(events)]
    metrics = [event.data for event in reversed(events) if event.type == "metrics"]
    steps = [data["step"] for data in metrics if "train_loss" in data]
    assert steps == list(range(1, len(steps) + 1))
    assert metrics[0].keys() >= {"step", "full_valid_loss", "valid_loss"}
    assert "stays a candidate" in events[0].message and done.fine_tuned_model in events[0].message


def test_checkpoints_fall_and_are_read_page_by_page(taught, done, strict) -> None:
    checkpoints = taught.client.fine_tuning.jobs.checkpoints
    strict(checkpoints.with_raw_response.list(done.id, limit=2))
    found = list(checkpoints.list(done.id, limit=2))
    assert len({item.id for item in found}) == len(found) > 3
    assert [item.step_number for item in found] == sorted(
        (item.step_number for item in found), reverse=True
    )
    assert found[0].metrics.full_valid_loss < found[-1].metrics.full_valid_loss
    assert found[0].fine_tuned_model_checkpoint == done.fine_tuned_model


def test_an_ended_job_cannot_be_cancelled(taught, done) -> None:
    with pytest.raises(openai.BadRequestError, match="succeeded"):
        taught.client.fine_tuning.jobs.cancel(done.id)
    assert taught.client.fine_tuning.jobs.retrieve(done.id).status == "succeeded"


def test_the_run_folder_shows_the_very_rows_with_their_passages(taught, done) -> None:
    run = taught.settings.folder("runs") / done.id
    rows = [json.loads(line) for line in (run / "examples.jsonl").read_text().splitlines()]
    assert {row["split"] for row in rows} == {"train", "dev", "gate"}
    rows = [row for row in rows if row["copy_of"] is None]
    golden = [row for row in rows if row["kind"].startswith("gold")]
    assert all("Bags cost 45." in row["messages"][-1]["content"] for row in golden)
    assert len(golden) >= 60
    assert not (run / "checkpoint").exists()


# -- what a request may hold


@pytest.mark.parametrize("how", ["plain", "method", "extra"])
def test_hyperparameters_are_taken_in_each_of_the_clients_forms(
    server, teacher, chat_jsonl, how: str
) -> None:
    chosen = {
        "plain": {"hyperparameters": {"n_epochs": 3, "batch_size": "auto"}},
        "method": {
            "hyperparameters": openai.omit,
            "method": {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 3}}},
        },
        "extra": {"hyperparameters": openai.omit, "extra_body": {"max_epochs": 3}},
    }[how]
    house = teacher(server.client)
    job = house.start(suffix=f"voice-{how}", seed=7, **chosen)
    try:
        assert job.status == "validating_files" and job.seed == 7
        assert job.hyperparameters.n_epochs == 3
        assert job.method.supervised.hyperparameters.n_epochs == 3
    finally:
        server.client.fine_tuning.jobs.cancel(job.id)


def test_a_repeated_request_gives_one_job(server, teacher, chat_jsonl) -> None:
    house = teacher(server.client)
    file = house.upload(chat_jsonl())
    first, second = (house.start(training_file=file, suffix="twice") for _ in range(2))
    other = house.start(training_file=file, suffix="thrice")
    assert first.id == second.id != other.id
    for job in (first, other):
        server.client.fine_tuning.jobs.cancel(job.id)
    again = house.start(training_file=file, suffix="twice")
    assert again.id != first.id  # a cancelled one may be wanted after all
    server.client.fine_tuning.jobs.cancel(again.id)


GOOD = lines(*talks(12))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (GOOD + b'\n{"messages": [', ["line 13", "broken JSON"]),
        (b'{"messages": []}\n' + GOOD + b"\n[]", ["line 1:", "line 14"]),
        (GOOD + b"\n\xff\xfe", ["line 13", "UTF-8"]),
        (b"", ["no examples"]),
        (b"\n\n", ["no examples"]),
        (lines(*talks(1)), ["1 example", "at least"]),
        (lines(*talks(12), [("user", "a"), ("user", "b")]), ["line 13", "assistant"]),
        (lines(*talks(12), [("assistant", "a")]), ["line 13", "no user message"]),
        (lines(*talks(12), [("user", "a"), ("tool", "b")]), ["line 13", "'tool'"]),
        (lines(*talks(12), [("user", "a"), ("assistant", " ")]), ["line 13", "empty"]),
        (
            lines(*talks(12), [("user", "a"), ("assistant", "long " * 1000)]),
            ["line 13", "4999 tokens", "4096"],
        ),
    ],
)
def test_faulty_training_data_is_refused_with_its_line(
    server, teacher, content: bytes, said: list[str]
) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        teacher(server.client).start(content)
    assert all(words in refused.value.message for words in said), refused.value.message
    assert refused.value.body.keys() == {"message", "type", "param", "code"}


def test_a_validation_file_is_what_the_gate_judges_on(server, teacher) -> None:
    house = teacher(server.client)
    held_out = [
        *talks(1, reply="Held out."),  # the training file has this question, too
        *([("user", f"held out {n}"), ("assistant", "Fine.")] for n in range(2)),  # few will do
    ]
    file = house.upload(lines(*held_out))
    job = house.start(lines(*talks(30)), validation_file=file)
    assert job.validation_file == file
    folder = server.settings.folder("runs") / job.id
    deadline = time.monotonic() + 60
    while not (folder / "config.json").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    server.client.fine_tuning.jobs.cancel(job.id)
    rows = Run(folder).rows()
    gate = {row.question for row in rows if row.split == "gate"}
    assert gate == {"question 0", "held out 0", "held out 1"}
    assert len([row for row in rows if row.split != "gate"]) == 29


def test_a_faulty_validation_file_is_refused_with_its_line(server, teacher) -> None:
    house = teacher(server.client)
    file = house.upload(lines(*talks(20)) + b"\n{broken")
    with pytest.raises(openai.BadRequestError, match="line 21"):
        house.start(lines(*talks(30)), validation_file=file)


@pytest.mark.parametrize(
    ("request_", "param"),
    [
        ({"suffix": "Über uns"}, "suffix"),
        ({"suffix": "a" * 41}, "suffix"),
        ({"suffix": "GENERATOR"}, "suffix"),
        ({"model": "EMBEDDER"}, "metadata"),  # the store is empty: there is nothing to search
        ({"training_file": ""}, "training_file"),
        ({"method": {"type": "reinforcement"}}, "method"),
        ({"hyperparameters": {"n_epochs": 0}}, "n_epochs"),
        ({"hyperparameters": {"n_epochs": 1.5}}, "n_epochs"),
        ({"hyperparameters": {"n_epochs": "many"}}, "n_epochs"),
        ({"hyperparameters": {"n_epochs": True}}, "n_epochs"),
        ({"hyperparameters": {"learning_rate": 9}}, "learning_rate"),
        ({"hyperparameters": {"momentum": 1}}, "momentum"),
        ({"hyperparameters": {"batch_size": 8}}, "batch_size"),
        ({"extra_body": {"max_minutes": 0}}, "max_minutes"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(server, teacher, request_, param: str) -> None:
    names = {
        "GENERATOR": server.services.engine.generator.name,
        "EMBEDDER": server.settings.embedder,
    }
    request_ = {
        key: names.get(value, value) if isinstance(value, str) else value
        for key, value in request_.items()
    }
    with pytest.raises(openai.BadRequestError) as refused:
        teacher(server.client).start(GOOD, **request_)
    assert refused.value.param == param


@pytest.mark.parametrize(
    "request_",
    [
        {"model": "gpt-4o"},
        {"training_file": "file-unknown"},
        {"metadata": {"vector_store_id": "vs_unknown"}},
    ],
)
def test_unknown_things_are_404(server, teacher, request_) -> None:
    with pytest.raises(openai.NotFoundError):
        teacher(server.client).start(GOOD, **request_)


def test_unknown_jobs_are_404(client: OpenAI) -> None:
    jobs = client.fine_tuning.jobs
    for ask in (jobs.retrieve, jobs.cancel, jobs.list_events, jobs.checkpoints.list):
        with pytest.raises(openai.NotFoundError):
            ask("ftjob-unknown")


def test_nothing_refused_has_left_a_job(tmp_path: Path, start_server, teacher) -> None:
    server = start_server(tmp_path)
    with pytest.raises(openai.BadRequestError):
        teacher(server.client).start(b"{")
    assert server.client.fine_tuning.jobs.list().data == []
