"""Training a voice again in one call: its data, its lineage, its splits, and who starts it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import openai
import pytest
from click.testing import CliRunner
from openai import OpenAI

from server.cli import main
from server.retrain import retrain_what_is_due
from server.schedule import Schedule

pytestmark = pytest.mark.workers

QUICK = {"n_epochs": 2, "learning_rate": 0.01, "batch_tokens": 2048, "gate_minutes": 0}
DAY = 86_400


@pytest.fixture(scope="module")
def house(start_server, tmp_path_factory, teacher, chat_jsonl) -> Any:
    """A server that trains again after two approvals or a day, with one version of `support`."""
    server = start_server(
        tmp_path_factory.mktemp("retrained"),
        worker_threads=1,
        retrain_after_feedback=2,
        retrain_every_days=1.0,
    )
    own = teacher(server.client)
    job = own.start(chat_jsonl(40), hyperparameters=QUICK)
    assert own.wait(job.id).status == "succeeded"
    assert (
        voice(server.client)["active"]
        == own.client.fine_tuning.jobs.list().data[0].fine_tuned_model
    )
    return server


@pytest.fixture
def busy(house, teacher, chat_jsonl) -> Iterator[None]:
    """The worker has a long training of another voice, so that new jobs wait."""
    own = teacher(house.client)
    hyperparameters = {**QUICK, "n_epochs": 50}
    blocker = own.start(chat_jsonl(200), suffix="other", hyperparameters=hyperparameters)
    own.wait(blocker.id, "running")
    yield
    for job in house.client.fine_tuning.jobs.list():
        if job.status not in ("succeeded", "failed", "cancelled"):
            house.client.fine_tuning.jobs.cancel(job.id)


def voice(client: OpenAI) -> dict[str, Any]:
    return client.get("/voices/support", cast_to=dict)


def retrain(client: OpenAI, **body: Any) -> dict[str, Any]:
    return client.post("/voices/support/retrain", body=body, cast_to=dict)


def approve(client: OpenAI, question: str, edited: str) -> dict[str, Any]:
    """Ask, correct the answer, and approve the correction."""
    messages: Any = [{"role": "user", "content": question}]
    asked = client.chat.completions.create(model="support", messages=messages, max_tokens=2)
    body = {"turn": asked.id, "rating": "down", "edited": edited}
    said = client.post("/feedback", body=body, cast_to=dict)
    return client.post(f"/feedback/{said['id']}", body={"status": "approved"}, cast_to=dict)


def forget_feedback(client: OpenAI) -> None:
    for one in client.get("/feedback", cast_to=dict)["data"]:
        client.delete(f"/feedback/{one['id']}", cast_to=dict)


def training_lines(client: OpenAI, job: dict[str, Any]) -> dict[str, str]:
    """Question -> reply, of the file that a job trains on."""
    text = client.files.content(job["training_file"]).text
    talks = [json.loads(line)["messages"] for line in text.splitlines()]
    return {talk[-2]["content"]: talk[-1]["content"] for talk in talks}


def questions(house: Any, job_id: str, split: str) -> set[str]:
    """What the rows of one split ask, read from a job's run folder."""
    path = house.settings.folder("runs") / job_id / "examples.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return {row["messages"][-1]["content"] for row in rows if row["split"] == split}


def added_file(client: OpenAI, *pairs: tuple[str, str]) -> str:
    talks = (
        [{"role": "user", "content": asked}, {"role": "assistant", "content": reply}]
        for asked, reply in pairs
    )
    content = "".join(json.dumps({"messages": talk}) + "\n" for talk in talks).encode()
    file = client.files.create(file=("more.jsonl", content), purpose="fine-tune")
    return file.id


@pytest.fixture(scope="module")
def again(house, teacher) -> dict[str, Any]:
    """`support` trained again with two new pairs and a corrected reply: job, file, feedback."""
    client, own = house.client, teacher(house.client)
    one = approve(client, "What is the price of bag 3?", "Bags cost 45, friend.")
    assert one["job_id"] is None
    file = added_file(client, ("Is there a lamp?", "A lamp is 45."), ("A rack?", "A rack is 45."))
    unjudged = {"gate_minutes": 0}
    job = retrain(client, **{"training_file": file, "from": "active", "hyperparameters": unjudged})
    assert own.wait(job["id"]).status == "succeeded"
    taken = client.get(f"/feedback/{one['id']}", cast_to=dict)
    forget_feedback(client)
    return {"job": job, "file": file, "feedback": taken}


def test_a_voice_is_trained_again_on_all_its_data(house, again) -> None:
    job = again["job"]
    assert job["object"] == "fine_tuning.job" and job["suffix"] == "support"
    assert job["hyperparameters"]["n_epochs"] == 2  # as the last job had it
    replies = training_lines(house.client, job)
    assert len(replies) == 40 + 2
    assert replies["What is the price of bag 3?"] == "Bags cost 45, friend."
    assert replies["What is the price of bag 4?"] == "Bags cost 45."
    assert replies["A rack?"] == "A rack is 45."


def test_a_version_tells_where_it_comes_from(house, again) -> None:
    first, second = voice(house.client)["versions"][:2]
    assert second["id"] != first["id"] and second["reasons"]
    lineage = second["lineage"]
    assert lineage["parent"] == first["id"] and lineage["from"] == "active"
    assert lineage["files"] == [*first["lineage"]["files"], again["file"]]
    assert lineage["feedback"] == [again["feedback"]["id"]] and lineage["because"] == "request"
    assert lineage["data_digest"] != first["lineage"]["data_digest"]
    assert lineage["prompt_digest"] == first["lineage"]["prompt_digest"]
    assert again["feedback"]["job_id"] == second["job_id"] == again["job"]["id"]
    run = house.settings.folder("runs") / second["job_id"]
    parent = json.loads((run / "config.json").read_text())["parent_adapter"]
    assert parent == str(house.settings.folder("adapters").resolve() / first["digest"])


def test_what_once_judged_a_voice_is_never_learned(house, again) -> None:
    first = voice(house.client)["versions"][0]
    for split in ("gate", "dev", "train"):
        before = questions(house, first["job_id"], split)
        assert before and before <= questions(house, again["job"]["id"], split)


def test_asking_twice_gives_one_job_and_another_one_has_to_wait(house, again, busy) -> None:
    client = house.client
    files = len(client.files.list().data)
    job = retrain(client)
    assert retrain(client)["id"] == job["id"]
    assert job["lineage"]["from"] == "scratch" and "parent" in job["lineage"]
    with pytest.raises(openai.ConflictError):  # the same data, but trained otherwise
        retrain(client, hyperparameters={"n_epochs": 1})
    file = added_file(client, ("A new one?", "Yes."))
    with pytest.raises(openai.ConflictError, match=job["id"]) as refused:
        retrain(client, training_file=file)
    assert refused.value.response.headers["x-should-retry"] == "false"
    assert len(client.files.list().data) == files + 2  # the merged one and the added one
    client.fine_tuning.jobs.cancel(job["id"])
    again = retrain(client, training_file=file)
    assert again["id"] != job["id"]
    assert training_lines(client, again).keys() >= {"A new one?", "A rack?"}


def test_a_voice_is_trained_again_as_it_was_but_for_the_gate_that_was_left_out(
    house, busy, teacher, chat_jsonl
) -> None:
    services = house.services
    voice = {"suffix": "careful", "extra_body": {"drop": ["secrets"]}}
    first = teacher(house.client).start(chat_jsonl(12), hyperparameters=QUICK, **voice)
    _end(services, first.id)
    job = house.client.post("/voices/careful/retrain", body={}, cast_to=dict)
    request = services.trainings.job("local", job["id"]).request
    assert request["drop"] == ["secrets"]
    assert request["hyperparameters"]["max_epochs"] == 2
    assert "gate_minutes" not in request["hyperparameters"]  # so it is judged as a new one is


def test_a_validation_file_that_was_deleted_since_is_missed_and_hinders_nothing(
    house, busy, teacher, chat_jsonl
) -> None:
    client, own = house.client, teacher(house.client)
    held_out = own.upload(chat_jsonl(3))
    first = own.start(
        chat_jsonl(30), suffix="judged", hyperparameters=QUICK, validation_file=held_out
    )
    _end(house.services, first.id)
    kept = client.post("/voices/judged/retrain", body={}, cast_to=dict)
    assert kept["validation_file"] == held_out and kept["lineage"]["missing_files"] == []
    client.fine_tuning.jobs.cancel(kept["id"])
    client.files.delete(held_out)
    job = client.post("/voices/judged/retrain", body={}, cast_to=dict)
    assert job["validation_file"] is None
    assert job["lineage"]["missing_files"] == [held_out]


def _end(services: Any, job_id: str) -> None:
    """End a waiting job as if it had been carried out, its version the one of `support`."""
    job = services.trainings.job("local", job_id)
    version = services.voices.voice("local", "support").versions[0]
    own = replace(version, id=f"ft:x:{job.suffix}:1", voice=job.suffix, job_id=job.id)
    services.database.write(lambda connection: services.voices.add(connection, own))
    assert services.trainings.move(job, "succeeded", now=0, fine_tuned_model=own.id)


def test_what_was_deleted_since_is_not_learned_again(house, busy) -> None:
    client = house.client
    file = added_file(client, ("Shall I be deleted?", "Yes."))
    one = approve(client, "Am I rejected later?", "You are.")
    job = retrain(client, training_file=file)
    assert {"Shall I be deleted?", "Am I rejected later?"} <= training_lines(client, job).keys()
    without = retrain_after_cancelling(client, job, feedback=False, training_file=file)
    assert "Am I rejected later?" not in training_lines(client, without)
    assert without["lineage"]["feedback"] == []

    client.post(f"/feedback/{one['id']}", body={"status": "rejected"}, cast_to=dict)
    client.files.delete(file)
    kept = retrain_after_cancelling(client, without)
    assert not {"Shall I be deleted?", "Am I rejected later?"} & training_lines(client, kept).keys()
    forget_feedback(client)


def retrain_after_cancelling(client: OpenAI, job: dict[str, Any], **body: Any) -> dict[str, Any]:
    client.fine_tuning.jobs.cancel(job["id"])
    return retrain(client, **body)


def test_enough_approvals_start_one_job(house, busy) -> None:
    client = house.client
    first = approve(client, "Is the tent green?", "It is green, friend.")
    assert first["job_id"] is None
    second = approve(client, "Is the tent red?", "It is not red, friend.")
    job = client.fine_tuning.jobs.retrieve(second["job_id"])
    lineage = job.model_extra["lineage"]
    assert lineage["because"] == "feedback"
    assert lineage["feedback"] == [first["id"], second["id"]]
    assert client.get(f"/feedback/{first['id']}", cast_to=dict)["job_id"] == job.id

    for number in (3, 4):  # as many again, but one job waits already
        assert approve(client, f"Is tent {number} blue?", "It is blue.")["job_id"] is None
    client.fine_tuning.jobs.cancel(job.id)
    (later,) = retrain_what_is_due(house.services, now=time.time())
    assert len(later.request["lineage"]["feedback"]) == 4
    assert retrain_what_is_due(house.services, now=time.time()) == []
    forget_feedback(client)


def test_approvals_of_a_job_without_fruit_count_again_beside_a_new_one(house, busy) -> None:
    client, services = house.client, house.services
    approve(client, "Is the rack green?", "It is green, friend.")
    second = approve(client, "Is the rack red?", "It is not red, friend.")
    job = services.trainings.job("local", second["job_id"])
    assert services.trainings.move(job, "failed", now=int(time.time()))
    assert services.feedback.waiting("local", "support") == 0
    assert retrain_what_is_due(services, now=time.time()) == []  # it would fail again and again
    third = approve(client, "Is the rack blue?", "It is blue, friend.")
    assert third["job_id"] not in (None, job.id)
    lineage = services.trainings.job("local", third["job_id"]).request["lineage"]
    assert len(lineage["feedback"]) == 3
    assert services.feedback.waiting("local", "support") == 0
    forget_feedback(client)


def test_a_day_without_training_starts_one_job(house, busy, eventually) -> None:
    services = house.services
    assert retrain_what_is_due(services, now=time.time()) == []
    schedule = Schedule(services, seconds=0.01, clock=lambda: time.time() + DAY + 60)
    schedule.start()
    try:
        waiting = eventually(
            lambda: [j for j in services.trainings.of_voice("local", "support") if not j.ended]
        )
        time.sleep(0.2)
        assert len([j for j in services.trainings.of_voice("local", "support") if not j.ended]) == 1
    finally:
        schedule.stop()
    assert waiting[0].request["lineage"]["because"] == "schedule"


def test_faults_of_an_added_file_are_told_at_its_own_lines(house) -> None:
    client = house.client
    before = {file.id for file in client.files.list()}
    good = (
        b'{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}'
    )
    for content, said in (
        (good + b"\n{oops", "line 2: broken JSON"),
        (good + b'\n{"messages": [{"role": "user", "content": "x"}]}', "line 2: the last message"),
    ):
        bad = client.files.create(file=("bad.jsonl", content), purpose="fine-tune")
        with pytest.raises(openai.BadRequestError, match=said) as refused:
            retrain(client, training_file=bad.id)
        assert "bad.jsonl" in refused.value.message
        client.files.delete(bad.id)
    assert {file.id for file in client.files.list()} == before


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"training_file": "file-unknown"}, openai.NotFoundError),
        ({"from": "active", "hyperparameters": {"rank": 4}}, openai.BadRequestError),
        ({"from": "nowhere"}, openai.BadRequestError),
        ({"hyperparameters": {"momentum": 1}}, openai.BadRequestError),
    ],
)
def test_what_cannot_be_trained_again_is_refused(house, body, error) -> None:
    files = len(house.client.files.list().data)
    with pytest.raises(error):
        retrain(house.client, **body)
    assert len(house.client.files.list().data) == files


def test_unknown_voices_are_404(house) -> None:
    for path in ("retrain", "rollback"):
        with pytest.raises(openai.NotFoundError):
            house.client.post(f"/voices/nobody/{path}", body={}, cast_to=dict)
    with pytest.raises(openai.NotFoundError):
        house.client.get("/voices/nobody/compare", cast_to=dict)


def test_a_rollback_goes_back_step_by_step_and_everything_is_recorded(house, again) -> None:
    client = house.client
    versions = [version["id"] for version in voice(client)["versions"]]
    known = voice(client)
    if known["active"] == versions[0]:  # the gate may have refused the second
        known = client.post("/voices/support/activate", body={"version": versions[1]}, cast_to=dict)
        assert known["activations"][-1]["forced"] and known["activations"][-1]["how"] == "hand"
    assert [entry["version"] for entry in known["activations"]] == versions
    assert known["activations"][0] == {
        "version": versions[0],
        "how": "hand",  # the gate was not asked
        "forced": True,
        "by": "local",
        "created_at": known["activations"][0]["created_at"],
    }
    client.post("/voices/support/activate", body={"version": versions[0]}, cast_to=dict)
    for active, previous in ((versions[1], versions[0]), (versions[0], None)):
        back = client.post("/voices/support/rollback", body={}, cast_to=dict)
        assert (back["active"], back["previous"]) == (active, previous)
        assert back["activations"][-1]["how"] == "rollback"
        states = {version["id"]: version["state"] for version in back["versions"]}
        assert states[active] == "active" and list(states.values()).count("active") == 1
    with pytest.raises(openai.ConflictError) as refused:
        client.post("/voices/support/rollback", body={}, cast_to=dict)
    assert refused.value.code == "nothing_to_roll_back"
    assert refused.value.body.keys() == {"message", "type", "param", "code"}


def test_a_candidate_that_is_activated_by_hand_was_forced(house) -> None:
    client, services = house.client, house.services
    version = services.voices.voice("local", "support").versions[0]
    candidate = replace(version, id="ft:x:forced:1", voice="forced", state="candidate")
    services.database.write(lambda connection: services.voices.add(connection, candidate))
    body = {"version": candidate.id}
    forced = client.post("/voices/forced/activate", body=body, cast_to=dict)
    assert forced["activations"][0]["forced"] is True
    with pytest.raises(openai.ConflictError):
        client.post("/voices/forced/rollback", body={}, cast_to=dict)


def test_two_versions_are_compared_side_by_side(house, again) -> None:
    client = house.client
    a, b = (version["id"] for version in voice(client)["versions"][:2])
    compared = client.get(
        "/voices/support/compare", options={"params": {"a": a, "b": b}}, cast_to=dict
    )
    assert (compared["a"]["id"], compared["b"]["id"]) == (a, b)
    figures = {row["name"]: row for row in compared["metrics"]}
    after = figures["heldout_after"]
    assert after["a"] == compared["a"]["metrics"]["heldout_after"]
    assert after["change"] == after["b"] - after["a"]
    assert any("different data" in said for said in compared["caveats"])
    for query, error in (
        ({"a": a, "b": "ft:x:support:0"}, openai.NotFoundError),
        ({"b": b}, openai.BadRequestError),  # nothing spoke before: name one
    ):
        with pytest.raises(error):
            client.get("/voices/support/compare", options={"params": query}, cast_to=dict)


def test_the_commands_do_the_same(house, again, tmp_path) -> None:
    client = house.client
    env = {
        "HOUSEWORD_DATA_DIR": str(house.settings.data_dir),
        "COLUMNS": "200",
        "TERM": "dumb",
    }

    def run(*arguments: str, status: int = 0) -> Any:
        result = CliRunner().invoke(main, arguments, env=env)
        assert result.exit_code == status, (result.output, result.exception)
        return json.loads(result.stdout) if "--json" in arguments else result.output

    asked = run("ask", "A bag?", "--model", "support", "--max-tokens", "2", "--json")
    assert f"houseword feedback add {asked['turn'][:8]}" in run("ask", "A?", "--max-tokens", "2")
    one = run("feedback", "add", asked["turn"], "down", "--edited", "A bag is 45.", "--json")
    assert (one["rating"], one["edited"], one["voice"]) == ("down", "A bag is 45.", "support")
    assert [o["id"] for o in run("feedback", "list", "--voice", "support", "--json")] == [one["id"]]
    assert one["id"] in run("feedback", "list")
    assert run("feedback", "reject", one["id"], "--json")["status"] == "rejected"
    assert "approved" in run("feedback", "approve", one["id"], "--edited", "Bags are 45.")
    assert "unknown" in run("feedback", "approve", "unknown", status=1)

    more = tmp_path / "more.jsonl"
    talk = [{"role": "user", "content": "A tent?"}, {"role": "assistant", "content": "Yes, 45."}]
    more.write_text(json.dumps({"messages": talk}) + "\n")
    job = run("voices", "retrain", "support", "--add", str(more), "--minutes", "1", "--json")
    assert job["status"] == "succeeded" and job["lineage"]["feedback"] == [one["id"]]
    assert training_lines(client, job)["A tent?"] == "Yes, 45."

    a, b = (version["id"] for version in voice(client)["versions"][-2:])
    assert run("voices", "compare", "support", a, b, "--json")["b"]["id"] == b
    assert "heldout_after" in run("voices", "compare", "support", a, b)
    run("voices", "activate", "support", a)
    run("voices", "activate", "support", b)
    assert run("voices", "rollback", "support", "--json")["active"] == a
