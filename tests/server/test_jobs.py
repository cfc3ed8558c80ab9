"""Jobs at their worst moments: cancelled, killed, interrupted by a stop of the server."""

from __future__ import annotations

import signal
from dataclasses import replace

import pytest

from server.settings import Settings

LONG = {"n_epochs": 50, "learning_rate": 0.001, "batch_tokens": 64, "patience": 100}


@pytest.fixture(scope="module")
def settings(tiny_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return replace(tiny_settings, worker_threads=1, data_dir=tmp_path_factory.mktemp("jobs"))


def test_a_queued_job_waits_its_turn_and_can_be_cancelled(
    server, teacher, workers, eventually
) -> None:
    house = teacher(server.client)
    first = house.start(suffix="first", hyperparameters=LONG)
    second = house.start(suffix="second", hyperparameters=LONG)
    house.wait(first.id, "running")
    assert server.client.fine_tuning.jobs.retrieve(second.id).status == "validating_files"
    assert server.client.fine_tuning.jobs.cancel(second.id).status == "cancelled"

    eventually(lambda: workers(first.id))
    cancelled = server.client.fine_tuning.jobs.cancel(first.id)
    assert cancelled.status == "cancelled" and cancelled.finished_at and not cancelled.error
    eventually(lambda: not workers(first.id), seconds=5)
    voices = server.client.get("/voices", cast_to=dict)["data"]
    assert voices == []
    assert server.client.fine_tuning.jobs.retrieve(first.id).status == "cancelled"


@pytest.mark.workers
def test_a_killed_worker_fails_its_job_with_a_reason_and_the_next_one_goes_on(
    server, teacher, workers, eventually
) -> None:
    house = teacher(server.client)
    killed = house.start(suffix="killed", hyperparameters=LONG)
    following = house.start(suffix="following", hyperparameters=LONG)
    (worker,) = eventually(lambda: workers(killed.id))
    worker.send_signal(signal.SIGKILL)
    failed = house.wait(killed.id, "failed")
    assert failed.error.code == "training_failed" and "SIGKILL" in failed.error.message
    assert failed.fine_tuned_model is None and failed.finished_at
    last = server.client.fine_tuning.jobs.list_events(killed.id, limit=1).data[0]
    assert last.level == "error" and "SIGKILL" in last.message
    eventually(lambda: workers(following.id))
    server.client.fine_tuning.jobs.cancel(following.id)


@pytest.mark.workers
def test_a_store_that_is_deleted_meanwhile_fails_the_job_in_words(
    server, teacher, workers, eventually
) -> None:
    house = teacher(server.client)
    busy = house.start(suffix="busy", hyperparameters=LONG)
    store = server.client.vector_stores.create(name="soon gone")
    job = house.start(suffix="homeless", metadata={"vector_store_id": store.id})
    server.client.vector_stores.delete(store.id)
    server.client.fine_tuning.jobs.cancel(busy.id)
    failed = house.wait(job.id, "failed")
    assert store.id in failed.error.message


def test_data_without_enough_to_learn_from_fails_the_job_in_words(
    server, teacher, chat_jsonl
) -> None:
    house = teacher(server.client)
    house.ingest()
    # None of these figures stands in a document, so no row may be taught.
    job = house.start(chat_jsonl(reply="It costs 987654 dollars."), suffix="liar")
    failed = house.wait(job.id, "failed")
    events = [event.message for event in server.client.fine_tuning.jobs.list_events(job.id)]
    assert any("left out" in message and "60 replies" in message for message in events)
    assert "examples" in failed.error.message


@pytest.mark.workers
def test_a_job_goes_on_after_the_server_was_stopped_and_its_voice_serves(
    serving, settings, teacher, workers, eventually, free_port
) -> None:
    with serving(replace(settings, port=free_port)) as server:
        house = teacher(server.client)
        house.ingest()
        job = house.start()
        waiting = house.start(suffix="waiting", hyperparameters={"n_epochs": 1})
        run = server.settings.folder("runs") / job.id
        eventually(lambda: (run / "metrics.jsonl").exists(), seconds=60)
    assert not workers(job.id)

    with serving(replace(settings, port=free_port)) as server:
        house = teacher(server.client)
        assert house.client.fine_tuning.jobs.retrieve(job.id).status == "running"
        ended = house.wait(job.id)
        assert ended.status == "succeeded" and ended.started_at
        answer = house.client.chat.completions.create(
            model="support", messages=[{"role": "user", "content": "What is the price of bag 7?"}]
        )
        assert answer.choices[0].message.content == "Bags cost 45. [1]"
        house.client.fine_tuning.jobs.cancel(waiting.id)  # it had kept its place in the queue
