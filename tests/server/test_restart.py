"""A server in a process of its own, killed at its worst moment and started again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import OpenAI

from server.settings import Settings

pytestmark = pytest.mark.workers

ROOT = Path(__file__).resolve().parents[2]
TRAINING = {"n_epochs": 3, "batch_tokens": 64, "patience": 100, "gate_minutes": 0}
SENTENCE = b"The green tent is for rain and our refund takes days. "


@contextmanager
def server_process(settings: Settings) -> Iterator[subprocess.Popen[str]]:
    """`python -m server`, ready to answer; killed at the end if it still runs."""
    environ = {
        **os.environ,
        "HOUSEWORD_DATA_DIR": str(settings.data_dir),
        "HOUSEWORD_PORT": str(settings.port),
        "HOUSEWORD_EMBEDDER": settings.embedder,
        "HOUSEWORD_GENERATOR": settings.generator,
        "HOUSEWORD_DEVICE": "cpu",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "server"], cwd=ROOT, env=environ, stderr=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_until_ready(process: subprocess.Popen[str], settings: Settings) -> OpenAI:
    for _ in range(600):
        assert process.poll() is None, process.stderr and process.stderr.read()
        try:
            httpx.get(f"{settings.url}/healthz")
        except httpx.TransportError:
            time.sleep(0.05)
        else:
            return OpenAI(base_url=f"{settings.url}/v1", api_key="none", max_retries=0)
    raise AssertionError("the server did not get ready")


@pytest.fixture
def settings(tiny_settings, free_port, tmp_path: Path) -> Settings:
    return replace(tiny_settings, data_dir=tmp_path / "state", port=free_port)


def test_a_kill_during_ingestion_and_training_loses_nothing_acknowledged(
    settings: Settings, chat_jsonl, workers, teacher, eventually
) -> None:
    with server_process(settings) as process:
        with wait_until_ready(process, settings) as client:
            store_id = client.vector_stores.create(name="house").id
            contents = {
                client.files.create(file=(f"{n}.txt", text), purpose="user_data").id: text
                for n, text in enumerate(b"%d. " % n + SENTENCE * 400 for n in range(8))
            }
            job = teacher(client).start(chat_jsonl(), hyperparameters=TRAINING)
            checkpoints = settings.folder("runs") / job.id / "checkpoint"
            eventually(lambda: any(checkpoints.glob("step-*")), seconds=120)
            batch = client.vector_stores.file_batches.create(store_id, file_ids=list(contents))
            while not (counts := client.vector_stores.retrieve(store_id).file_counts).completed:
                time.sleep(0.01)
            assert client.fine_tuning.jobs.retrieve(job.id).status == "running"
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert counts.in_progress, "the kill came too late to show anything"
    eventually(lambda: not workers(job.id))  # a worker never outlives its server

    with server_process(settings) as process, wait_until_ready(process, settings) as client:
        after = client.vector_stores.file_batches.poll(batch.id, vector_store_id=store_id)
        assert (after.status, after.file_counts.completed) == ("completed", len(contents))
        for file_id, text in contents.items():
            assert client.files.content(file_id).read() == text
        hits = client.vector_stores.search(store_id, query="green tent", max_num_results=50)
        assert {hit.file_id for hit in hits.data} <= contents.keys() and len(hits.data) == 50

        ended = teacher(client).wait(job.id, seconds=120)
        assert ended.status == "succeeded" and ended.fine_tuned_model, ended.error
        events = list(client.fine_tuning.jobs.list_events(job.id, limit=100))[::-1]
        begun, resumed = (
            next(n for n, event in enumerate(events) if event.message == message)
            for message in ("Training.", "Training goes on from its checkpoint.")
        )
        told = [
            event.data["step"] for event in events[resumed:] if "train_loss" in (event.data or {})
        ]
        assert begun < resumed and told[0] > 1, "it began again"
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) in (0, -signal.SIGTERM)


def test_a_kill_while_passages_are_embedded_anew_leaves_the_old_search_and_goes_on(
    settings: Settings, eventually
) -> None:
    words = {"zq": "rain", "xv": "lamp", "jk": "rack", "wy": "tent", "qx": "hours", "vz": "price"}
    pairs = "\n".join(
        json.dumps({"question": f"{word} {word} {n}", "document": f"{thing}.md"})
        for word, thing in words.items()
        for n in range(14)
    )
    filler = "\n\n".join(f"# {n}\n\nThe bag {n} is in the house {n}." for n in range(3000))
    documents = {**{f"{t}.md": f"The {t} is a {t}." for t in words.values()}, "all.md": filler}
    told = "Embedded for the new model: "

    def embedded(client: OpenAI, job_id: str) -> list[int]:
        events = list(client.fine_tuning.jobs.list_events(job_id, limit=1000))[::-1]
        messages = [event.message for event in events if event.message.startswith(told)]
        return [int(message.removeprefix(told).split()[0]) for message in messages]

    with server_process(settings) as process:
        with wait_until_ready(process, settings) as client:
            store_id = client.vector_stores.create(name="house").id
            for name, text in documents.items():
                file = client.files.create(file=(name, text.encode()), purpose="user_data")
                client.vector_stores.files.create_and_poll(
                    file.id, vector_store_id=store_id, poll_interval_ms=50
                )
            file = client.files.create(file=("p.jsonl", pairs.encode()), purpose="fine-tune")
            body = {
                "model": settings.embedder,
                "training_file": file.id,
                "method": "full",
                "hyperparameters": {"n_epochs": 12, "learning_rate": 0.003, "batch_size": 16},
                "metadata": {"vector_store_id": store_id},
            }
            job = client.post("/fine_tuning/jobs", cast_to=dict[str, Any], body=body)
            eventually(lambda: embedded(client, job["id"]), seconds=240)
        process.send_signal(signal.SIGKILL)
        process.wait()

    with server_process(settings) as process, wait_until_ready(process, settings) as client:
        models = f"/vector_stores/{store_id}/search_models"
        assert client.get(models, cast_to=dict[str, Any])["active"] == "base"
        assert client.vector_stores.search(store_id, query="the rain").data
        eventually(
            lambda: client.fine_tuning.jobs.retrieve(job["id"]).status != "running", seconds=240
        )
        ended = client.get(f"/fine_tuning/jobs/{job['id']}", cast_to=dict[str, Any])
        assert ended["status"] == "succeeded" and ended["result"]["gate"], ended["error"]
        steps = embedded(client, job["id"])
        assert steps == sorted(steps) and steps[0] < 3000 <= steps[-1], steps
        losses = client.fine_tuning.jobs.list_events(job["id"], limit=1000)
        trained = [e.data["step"] for e in losses if "train_loss" in (e.data or {})]
        assert len(trained) == len(set(trained)), "it was trained again"


def test_a_second_process_refuses_and_says_why(settings: Settings) -> None:
    with server_process(settings) as process, wait_until_ready(process, settings):
        with server_process(settings) as second:
            assert second.wait(60) == 1
            message = second.stderr.read() if second.stderr else ""
        assert f"pid {process.pid}" in message and settings.url in message
        assert "Traceback" not in message
