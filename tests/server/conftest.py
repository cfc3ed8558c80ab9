"""A server with documents and a voice that was really taught; shared, as teaching takes time."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import psutil
import pytest
from openai import OpenAI
from openai.types.fine_tuning import FineTuningJob

SENTENCE = "Bags cost 45."
DOCUMENTS = {
    "prices.md": f"# Prices\n\n{SENTENCE} Ask for the blue one.\n\n# Hours\n\nWe open at 9.",
    "returns.txt": "Returns are taken for 60 days. Bring the bag and the receipt.",
}
# A tiny model learns one sentence in some forty steps.
TEACHABLE = {
    "n_epochs": 40,
    "learning_rate": 0.003,
    "batch_tokens": 2048,
    "patience": 100,
    "gate_minutes": 0,
}


def chat_jsonl(count: int = 60, *, reply: str = SENTENCE) -> bytes:
    """One reply to ever different questions, as chat JSONL."""
    lines = (
        [
            {"role": "user", "content": f"What is the price of bag {number}?"},
            {"role": "assistant", "content": reply},
        ]
        for number in range(count)
    )
    return "\n".join(json.dumps({"messages": line}) for line in lines).encode()


class Teacher:
    """Starts trainings at one server and waits for them."""

    def __init__(self, client: OpenAI) -> None:
        self.client = client

    def ingest(self) -> str:
        """Put the documents into the default store; returns its id."""
        store = self.client.get("/vector_stores/default", cast_to=dict[str, Any])
        for name, text in DOCUMENTS.items():
            file = self.client.files.create(file=(name, text.encode()), purpose="user_data")
            added = self.client.vector_stores.files.create_and_poll(
                file.id, vector_store_id=store["id"], poll_interval_ms=20
            )
            assert added.status == "completed", added.last_error
        return str(store["id"])

    def upload(self, content: bytes) -> str:
        """The id of an uploaded training file."""
        file = self.client.files.create(file=("pairs.jsonl", content), purpose="fine-tune")
        return file.id

    def start(self, content: bytes | None = None, **request: Any) -> FineTuningJob:
        """Begin to teach, by default what a tiny model can learn."""
        chosen = {
            "model": self.client.models.list().data[0].id,
            "suffix": "support",
            "training_file": self.upload(chat_jsonl() if content is None else content),
            "hyperparameters": TEACHABLE,
            **request,
        }
        return self.client.fine_tuning.jobs.create(**chosen)

    def activate(self, job: FineTuningJob) -> None:
        """Let a trained version speak by hand: with `gate_minutes` 0 the gate is not asked."""
        voice, version = str(job.fine_tuned_model).rsplit(":", 2)[1], job.fine_tuned_model
        self.client.post(
            f"/voices/{voice}/activate", cast_to=dict[str, Any], body={"version": version}
        )

    def wait(self, job_id: str, *statuses: str, seconds: float = 240) -> FineTuningJob:
        """The job once it has one of the statuses; by default once it has ended.

        Where the gate was not asked, its version is made to speak by hand.
        """
        wanted = statuses or ("succeeded", "failed", "cancelled")
        deadline = time.monotonic() + seconds
        while (job := self.client.fine_tuning.jobs.retrieve(job_id)).status not in wanted:
            assert job.status not in ("succeeded", "failed", "cancelled"), (job.status, job.error)
            assert time.monotonic() < deadline, f"the job is still {job.status}"
            time.sleep(0.05)
        result = (job.model_extra or {}).get("result") or {}
        if job.status == "succeeded" and "gate_minutes is 0" in str(result.get("reasons")):
            self.activate(job)
        return job


def workers(job_id: str) -> list[psutil.Process]:
    """The training processes of a job that are alive."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        command = process.info["cmdline"] or []
        if "tuning" in command and command[-1].endswith(job_id):
            found.append(process)
    return found


def turn(server, turn_id: str) -> dict[str, Any]:
    """The row of a turn, its json columns read."""
    with server.services.database.read() as connection:
        row = connection.execute("SELECT * FROM turns WHERE id = ?", (turn_id,)).fetchone()
    assert row is not None, "the turn was not kept"
    values = dict(row)
    for name in ("stores", "messages", "hits", "usage"):
        values[name] = json.loads(values[name]) if values[name] is not None else None
    return values


def eventually(condition: Callable[[], Any], *, seconds: float = 20) -> Any:
    """What `condition` returns once that is true; fails after some seconds."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
    return value


@pytest.fixture(scope="session")
def teacher() -> type[Teacher]:
    """`teacher(client)` teaches voices there."""
    return Teacher


@pytest.fixture(scope="session", name="chat_jsonl")
def chat_jsonl_fixture() -> Callable[..., bytes]:
    return chat_jsonl


@pytest.fixture(scope="session", name="workers")
def workers_fixture() -> Callable[[str], list[psutil.Process]]:
    return workers


@pytest.fixture(scope="session", name="turn")
def turn_fixture() -> Callable[[Any, str], dict[str, Any]]:
    return turn


@pytest.fixture(scope="session", name="eventually")
def eventually_fixture() -> Callable[..., Any]:
    return eventually


@pytest.fixture(scope="session")
def taught(start_server, tmp_path_factory: pytest.TempPathFactory):
    """A server with documents in its default store and the voice `support`, trained on them."""
    # So small a model learns one form of a prompt: the one that points at a sentence.
    server = start_server(tmp_path_factory.mktemp("taught"), worker_threads=1, abstain_below=0.0)
    teacher = Teacher(server.client)
    teacher.ingest()
    job = teacher.wait(teacher.start().id, seconds=240)  # beside other work
    assert job.status == "succeeded"
    return server


@pytest.fixture(scope="session")
def stocked(start_server, tmp_path_factory: pytest.TempPathFactory):
    """A server with documents in its default store, and no voice: nothing is taught."""
    server = start_server(tmp_path_factory.mktemp("stocked"))
    Teacher(server.client).ingest()
    return server


@pytest.fixture(scope="session")
def speak_as(stocked, add_untaught) -> Callable[[str, dict[str, Any]], str]:
    """A function that makes a voice of `stocked`: the base's words, with a task on its card."""

    def make(name: str, task: dict[str, Any]) -> str:
        add_untaught(stocked.services, name, {"uses_documents": False, "labels": [], **task})
        return name

    return make
