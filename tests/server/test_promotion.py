"""What a job does with the gate's verdict: who speaks afterwards, and what is said of it.

Versions, gate, queue and database are real. Only the worker's part of a run is written by hand:
its adapter, and what base and candidate have said.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

import openai
import pytest

from server import jobs
from server.gate_prompts import CANDIDATE, gate_prompts
from server.ids import new_id
from server.trainings import Job
from server.voices import Version
from tuning.records import Row, Text
from tuning.run import Run

HOUSE = "Dear rider, your order number {} is on its way. Ride easy, your Bag House."
FORCED = {"kind": "text", "uses_documents": False, "labels": []}


def row(number: int) -> Row:
    question = f"Where is order {number}?"
    return Row(
        messages=({"role": "user", "content": question},),
        reply=HOUSE.format(number),
        split="train" if number < 40 else "gate",
        kind="chat",
        group=str(number),
        question=question,
    )


@dataclass(frozen=True)
class House:
    """A voice of one server whose versions are made without training."""

    server: Any
    name: str
    adapters: Iterator[str]

    def version(self, digest: str) -> str:
        return f"ft:{self.server.services.engine.generator.name}:{self.name}:{digest}"

    def candidate(self, **card: Any) -> str:
        """Record a new version that no gate has judged; returns its digest."""
        services, digest = self.server.services, next(self.adapters)
        known = json.loads((services.running.adapters / digest / "card.json").read_text())
        version = Version(
            id=self.version(digest),
            owner="local",
            voice=self.name,
            digest=digest,
            job_id=None,
            base=services.engine.generator.name,
            card={**known, **card},
            state="candidate",
            reasons=(),
            created_at=int(time.time()),
        )
        services.database.write(lambda connection: services.voices.add(connection, version))
        return digest

    def activate(self, digest: str) -> dict[str, Any]:
        body = {"version": self.version(digest)}
        return self.server.client.post(f"/voices/{self.name}/activate", body=body, cast_to=dict)

    def voice(self) -> dict[str, Any]:
        return self.server.client.get(f"/voices/{self.name}", cast_to=dict)

    def jobs(self) -> list[Job]:
        return self.server.services.trainings.of_voice("local", self.name)

    def active(self) -> str:
        return str(self.voice()["active"]).rpartition(":")[2]

    def judged(
        self,
        *,
        good: bool = True,
        against: str | None = None,
        texts: dict[str, Any] | None = None,
        **config: Any,
    ) -> tuple[str, Job]:
        """A job whose training is done: the new version's digest, and the job once it has ended.

        The candidate writes the house's replies, or what the base writes if it is not `good`.
        """
        services, digest = self.server.services, next(self.adapters)
        job = Job(
            id=new_id("ftjob"),
            owner="local",
            kind="voice",
            status="validating_files",
            model=services.engine.generator.name,
            suffix=self.name,
            request={"training_file": "", "hyperparameters": {}, "metadata": {}},
            request_digest=digest,
            created_at=int(time.time()),
        )
        rows, prompts = gate_prompts([row(n) for n in range(80)], against=against, kind="text")
        run = Run.create(
            self.server.settings.folder("runs") / job.id,
            config={"gate_minutes": 1, "against": against, "task": FORCED, **config},
            rows=rows,
            prompts=prompts,
        )
        for prompt in prompts:
            speaks = prompt.adapter == CANDIDATE
            said = rows[int(prompt.id.partition(":")[2])].reply if speaks and good else "No idea."
            run.add_text(Text(prompt.id, digest if speaks else prompt.adapter, said, 9, "stop"))
        run.finish(
            {
                "digest": digest,
                "tokens": 9,
                "seconds": 1.0,
                "heldout_before": 2.0,
                "heldout_after": 1.0,
                "texts": {"written": len(prompts), "wanted": len(prompts), **(texts or {})},
            }
        )
        services.trainings.add(job, same_since=job.created_at)
        services.jobs.wake()
        deadline = time.monotonic() + 30
        while not (ended := services.trainings.job("local", job.id)).ended:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        return digest, ended


@pytest.fixture(scope="module")
def digests(server, place_untaught) -> Iterator[str]:
    return (place_untaught(server.services, weight=1e-3 * number) for number in count(1))


@pytest.fixture
def house(server, digests, request) -> House:
    name = "".join(c if c.isalnum() else "-" for c in request.node.name)[-40:]
    return House(server, name, digests)


def test_a_version_that_the_gate_finds_better_speaks_from_then_on(house) -> None:
    first, job = house.judged()
    assert job.status == "succeeded" and job.result["promoted"], job.result["reasons"]
    assert house.active() == first
    second, job = house.judged(against=first)
    assert job.result["promoted"] and house.active() == second
    voice = house.voice()
    assert [version["state"] for version in voice["versions"]] == ["retired", "active"]
    assert [(a["how"], a["forced"]) for a in voice["activations"]] == [("gate", False)] * 2
    assert voice["previous"] == house.version(first)
    last = house.server.client.fine_tuning.jobs.list_events(job.id, limit=1).data[0]
    assert "serves now" in last.message


def test_a_version_that_the_gate_refuses_leaves_the_old_one_speaking(house) -> None:
    first, _ = house.judged()
    second, job = house.judged(against=first, good=False)
    assert job.status == "succeeded" and not job.result["promoted"]
    assert "not shown to be better than the active version in style" in job.result["reasons"][0]
    assert house.active() == first
    refused = house.voice()["versions"][1]
    assert refused["digest"] == second and refused["state"] == "candidate"
    assert refused["reasons"] == job.result["reasons"]


def test_a_job_that_is_cancelled_while_the_gate_counts_changes_nothing(house, monkeypatch) -> None:
    first, _ = house.judged()
    measure = jobs.measure

    def cancelled_meanwhile(*args: Any, **more: Any) -> Any:
        (job,) = [j for j in house.jobs() if not j.ended]
        house.server.client.fine_tuning.jobs.cancel(job.id)
        return measure(*args, **more)

    monkeypatch.setattr(jobs, "measure", cancelled_meanwhile)
    house.judged(against=first)
    house.judged(against=first)  # the thread has done with the one before
    assert [job.status for job in house.jobs()] == ["succeeded", "cancelled", "cancelled"]
    assert house.active() == first
    assert [version["digest"] for version in house.voice()["versions"]] == [first]


def test_a_version_that_has_beaten_another_than_the_active_one_stays_a_candidate(house) -> None:
    first, chosen = house.candidate(), house.candidate()
    house.activate(first)
    house.activate(chosen)  # by hand, while the next one is trained
    for against, told in ((first, first), (None, "the base")):
        _, job = house.judged(against=against)
        assert job.status == "succeeded" and not job.result["promoted"]
        assert job.result["reasons"][0] == (
            f"{house.version(chosen)} was activated meanwhile, and the gate has compared with "
            f"{told}: ask the gate again"
        )
        newest = house.voice()["versions"][-1]
        assert newest["state"] == "candidate" and newest["reasons"] == job.result["reasons"]
        assert house.active() == chosen
    _, job = house.judged(against=chosen)
    assert job.result["promoted"]


def test_prompts_that_did_not_fit_are_warned_of_and_told_with_the_verdict(house) -> None:
    _, job = house.judged(texts={"too_long": 3}, voice_config={"row_tokens": 2048})
    said = "3 of the gate's prompts left out, too long for 2048 tokens"
    assert job.result["promoted"] and job.result["reasons"][0] == said
    assert house.voice()["versions"][0]["reasons"][0] == said
    events = house.server.client.fine_tuning.jobs.list_events(job.id).data
    assert [event.message for event in events if event.level == "warn"] == [f"{said}."]


def test_minutes_that_ran_out_are_told_as_what_is_missing(house) -> None:
    _, job = house.judged(texts={"written": 40, "wanted": 100, "stopped": "minutes"})
    assert job.result["reasons"][0] == (
        "the gate's minutes ran out with 40 of 100 texts written, so allow more gate_minutes or "
        "ask it again with more"
    )


def test_what_the_gate_has_measured_is_compared_too(house) -> None:
    first, _ = house.judged()
    second, _ = house.judged(against=first, good=False)
    names = {"a": house.version(first), "b": house.version(second)}
    path = f"/voices/{house.name}/compare"
    compared = house.server.client.get(path, options={"params": names}, cast_to=dict)
    style = next(row for row in compared["metrics"] if row["name"] == "gate.style")
    assert style["a"] > 0.9 > 0.1 > style["b"]
    assert style["change"] == style["b"] - style["a"]
    unjudged = house.version(house.candidate())
    names["b"] = unjudged
    compared = house.server.client.get(path, options={"params": names}, cast_to=dict)
    style = next(row for row in compared["metrics"] if row["name"] == "gate.style")
    assert style["b"] is None and style["change"] is None


@pytest.mark.parametrize("unfit", ["base_fingerprint", "prompt_digest", "files"])
def test_a_version_that_cannot_speak_here_is_not_activated(house, unfit: str) -> None:
    speaks, other = house.candidate(), house.candidate(**{unfit: "another"})
    if unfit == "files":
        shutil.rmtree(house.server.services.running.adapters / other)
    house.activate(speaks)
    with pytest.raises(openai.ConflictError) as refused:
        house.activate(other)
    assert refused.value.code == "adapter_mismatch"
    assert "train the voice again" in refused.value.message
    if unfit != "files":
        here = getattr(house.server.services.running, unfit)
        assert "another" in refused.value.message and here in refused.value.message
    assert house.active() == speaks


def test_a_rollback_to_a_version_that_cannot_speak_here_is_refused(house) -> None:
    first, second = house.candidate(), house.candidate()
    house.activate(first)
    house.activate(second)
    shutil.rmtree(house.server.services.running.adapters / first)
    with pytest.raises(openai.ConflictError, match="are gone: train the voice again"):
        house.server.client.post(f"/voices/{house.name}/rollback", body={}, cast_to=dict)
    assert house.active() == second


def test_a_version_that_cannot_speak_here_is_not_judged(house) -> None:
    gone = house.candidate()
    shutil.rmtree(house.server.services.running.adapters / gone)
    asked = house.server.client.post(f"/voices/{house.name}/judge", body={}, cast_to=dict)
    house.judged()  # the thread has done with the one before
    job = house.server.services.trainings.job("local", asked["id"])
    assert job.status == "failed"
    assert job.error["message"] == (
        f"The files of version {house.version(gone)} are gone: train the voice again."
    )


@pytest.mark.workers
@pytest.mark.parametrize("unfit", ["base_fingerprint", "files"])
def test_a_voice_whose_version_cannot_speak_here_is_trained_again_beside_the_base(
    house, teacher, chat_jsonl, unfit: str
) -> None:
    old = house.candidate()
    house.activate(old)
    if unfit == "files":
        shutil.rmtree(house.server.services.running.adapters / old)
    else:
        with house.server.services.database.read() as connection:
            found = connection.execute(
                "SELECT card FROM adapters WHERE id = ?", (house.version(old),)
            ).fetchone()
        card = json.dumps({**json.loads(found["card"]), unfit: "another"})
        house.server.services.database.write(
            lambda connection: connection.execute(
                "UPDATE adapters SET card = ? WHERE id = ?", (card, house.version(old))
            )
        )
    own = teacher(house.server.client)
    quick = {"n_epochs": 1, "learning_rate": 0.01, "batch_tokens": 4096, "gate_minutes": 0.01}
    started = own.start(chat_jsonl(20), suffix=house.name, hyperparameters=quick)
    job = own.wait(started.id)
    reasons = job.model_extra["result"]["reasons"]
    assert house.version(old) in reasons[0] and reasons[0].endswith("so the base was compared with")
    assert not any("the active version" in reason for reason in reasons)
