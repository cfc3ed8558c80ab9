"""kill -9 of a server with the default models: what was acknowledged is there after the restart."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

BASE = "smollm2-135m-instruct"


def test_a_kill_during_ingestion_loses_nothing_acknowledged(
    start_real, demo: Path, tmp_path: Path
) -> None:
    paths = sorted((demo / "documents").iterdir())
    with start_real(tmp_path / "state") as server:
        client = server.client
        store = client.vector_stores.create(name="shop").id
        ids = [client.files.create(file=path, purpose="user_data").id for path in paths]
        batch = client.vector_stores.file_batches.create(store, file_ids=ids)
        while not (counts := client.vector_stores.retrieve(store).file_counts).completed:
            time.sleep(0.01)
        server.process.send_signal(signal.SIGKILL)
        server.process.wait()
    assert counts.in_progress, "the kill came too late to show anything"

    with start_real(tmp_path / "state") as server:
        client = server.client
        after = client.vector_stores.file_batches.poll(
            batch.id, vector_store_id=store, poll_interval_ms=200
        )
        assert (after.file_counts.completed, after.file_counts.failed) == (len(paths), 0)
        for path, file_id in zip(paths, ids, strict=True):
            assert client.files.content(file_id).read() == path.read_bytes()
        hits = client.vector_stores.search(store, query="How long do returns take?").data
        assert hits[0].filename == "returns-policy.md"


@pytest.mark.timeout(900)
def test_a_kill_during_training_loses_no_job_and_it_goes_on(
    start_real, demo: Path, tmp_path: Path
) -> None:
    lines = (demo / "voices" / "trade.jsonl").read_bytes()
    with start_real(tmp_path / "state") as server:
        file = server.client.files.create(file=("trade.jsonl", lines), purpose="fine-tune")
        job = server.client.fine_tuning.jobs.create(
            model=BASE,
            training_file=file.id,
            suffix="trade",
            hyperparameters={"gate_minutes": 0},
            # Time for a checkpoint even where a step takes 20 s.
            extra_body={"max_minutes": 2},
        )
        waiting = server.client.fine_tuning.jobs.create(
            model=BASE, training_file=file.id, suffix="next"
        )
        checkpoints = tmp_path / "state" / "runs" / job.id / "checkpoint"
        while not any(checkpoints.glob("step-*")):
            status = server.client.fine_tuning.jobs.retrieve(job.id).status
            assert status not in ("failed", "succeeded"), "it ended without a checkpoint"
            time.sleep(0.2)
        learned = _losses(server, job.id)
        (worker,) = [c for c in server.process.children() if "tuning" in c.cmdline()]
        server.process.send_signal(signal.SIGKILL)
        server.process.wait()
        worker.wait(10)  # it never outlives its server

    with start_real(tmp_path / "state") as server:
        jobs = server.client.fine_tuning.jobs
        assert jobs.retrieve(waiting.id).status == "validating_files"
        jobs.cancel(waiting.id)
        ended = server.wait_for(job.id, seconds=400)
        assert ended.status == "succeeded", ended.error
        assert len(_losses(server, job.id)) > len(learned)
        events = [event.message for event in jobs.list_events(job.id, limit=100)]
        assert "Training goes on from its checkpoint." in events
        answer = server.client.chat.completions.create(
            model=str(ended.fine_tuned_model),
            messages=[{"role": "user", "content": "Good morning!"}],
            max_tokens=24,
        )
        print(f"\nthe voice: {answer.choices[0].message.content}")
        assert answer.choices[0].message.content


def _losses(server, job_id: str) -> list[float]:
    events = server.client.fine_tuning.jobs.list_events(job_id, limit=100)
    return [event.data["train_loss"] for event in events if "train_loss" in (event.data or {})]
