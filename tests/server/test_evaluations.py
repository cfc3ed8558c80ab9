"""/v1/evaluations: a whole verdict with tiny models, its worst moments, and every bad input."""

from __future__ import annotations

import json
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import httpx
import openai
import pytest
from click.testing import CliRunner

from server.arms import ARMS
from server.cli import main
from server.plan import Plan
from server.served import as_served

pytestmark = pytest.mark.workers

SMALL = {
    "voice": "support",
    "answerable": 4,
    "unanswerable": 2,
    "max_tokens": 16,
    "latency_questions": 1,
}
DEFAULTS = {
    "answerable": 60,
    "unanswerable": 30,
    "max_tokens": 96,
    "max_minutes": 20,
    "latency_questions": 10,
}
SLOW = {**SMALL, "answerable": 60, "unanswerable": 30, "max_tokens": 1024}


def create(server: Any, **request: Any) -> dict[str, Any]:
    return server.client.post("/evaluations", body=request, cast_to=dict)


def get(server: Any, evaluation_id: str) -> dict[str, Any]:
    return server.client.get(f"/evaluations/{evaluation_id}", cast_to=dict)


def cancel(server: Any, evaluation_id: str) -> dict[str, Any]:
    return server.client.post(f"/evaluations/{evaluation_id}/cancel", cast_to=dict)


def wait(server: Any, evaluation_id: str, *, seconds: float = 240) -> dict[str, Any]:
    deadline = time.monotonic() + seconds
    while (found := get(server, evaluation_id))["status"] in ("queued", "running"):
        assert time.monotonic() < deadline, found
        time.sleep(0.1)
    return found


def upload(server: Any, *questions: Any, text: str | None = None) -> str:
    content = text or "\n".join(json.dumps(question) for question in questions)
    file = server.client.files.create(file=("q.jsonl", content.encode()), purpose="evals")
    return str(file.id)


@pytest.fixture(scope="module")
def done(taught) -> dict[str, Any]:
    ended = wait(taught, create(taught, **SMALL)["id"])
    assert ended["status"] == "succeeded", ended["error"]
    return ended


# -- a whole life


def test_a_verdict_measures_every_arm_on_the_voices_held_out_rows(taught, done) -> None:
    result = done["result"]
    assert [arm["arm"] for arm in result["arms"]] == [arm.key for arm in ARMS if not arm.tuned]
    assert result["questions"] == {"answerable": 4, "unanswerable": 2, "planned": 6}
    arms = {arm["arm"]: arm for arm in result["arms"]}
    for arm in arms.values():
        assert arm["served"]["facts"]["n"] == 4 and arm["served"]["declined"]["n"] == 2
        assert arm["first_token_seconds"]["n"] == 1
        assert 0 < arm["first_token_seconds"]["mean"] <= arm["seconds"]["mean"]
        both = arm["prompt_tokens"]["mean"] + arm["answer_tokens"]["mean"]
        assert arm["tokens"] == pytest.approx(both)
    # The tiny voice has learnt one sentence; the base writes letters.
    facts = {key: arm["served"]["facts"]["mean"] for key, arm in arms.items()}
    assert facts["search_voice"] > facts["search"] == 0.0
    style = {key: arm["served"]["style"]["mean"] for key, arm in arms.items()}
    assert style["search_voice"] > style["search"]
    assert arms["few_shot"]["prompt_tokens"]["mean"] > arms["base"]["prompt_tokens"]["mean"]
    assert result["style_ceiling"]["mean"] > 0.5
    assert result["unanswered"] == [] and result["recommendation"]["choice"] == "too_few"


def test_it_says_what_it_was_asked_and_how_it_ended(taught, done) -> None:
    assert done["object"] == "evaluation" and done["id"].startswith("eval_")
    assert done["voice"] == "support" and done["model"].startswith("ft:")
    assert done["vector_store_id"].startswith("vs_") and done["error"] is None
    assert done["created_at"] <= done["started_at"] <= done["finished_at"]
    listed = taught.client.get("/evaluations", cast_to=dict)
    assert any(item["id"] == done["id"] for item in listed["data"])


def test_what_is_measured_as_served_is_what_is_served(taught, done) -> None:
    run = taught.settings.folder("runs") / done["id"]
    plan = Plan.from_json(json.loads((run / "config.json").read_text())["evaluation"])
    texts = [json.loads(line) for line in (run / "texts.jsonl").read_text().splitlines()]
    drafts = {text["id"]: text["text"] for text in texts}
    cited = 0
    for item in plan.asked:
        if item.question.only is None:
            id_ = f"search_voice:{item.question.id}"
            answer = taught.client.chat.completions.create(
                model="support", messages=list(item.question.conversation), max_tokens=16
            )
            served = answer.choices[0].message.content
            assert served == as_served(drafts[id_], item.hits)
            assert plan.prompt_tokens[id_] == answer.usage.prompt_tokens
            cited += "[1]" in served
    assert cited


def test_withheld_questions_do_not_see_their_answer(taught, done) -> None:
    run = taught.settings.folder("runs") / done["id"]
    plan = json.loads((run / "config.json").read_text())["evaluation"]
    withheld = [a for a in plan["asked"] if not a["question"]["answerable"]]
    assert withheld
    for item in withheld:
        assert all("45" not in hit["passage"]["text"] for hit in item["hits"])


def test_the_picture_and_the_table_can_be_fetched(taught, done) -> None:
    url = f"{taught.url}/v1/evaluations/{done['id']}"
    picture = httpx.get(f"{url}/picture")
    assert picture.headers["content-type"].startswith("image/svg+xml")
    assert ElementTree.fromstring(picture.text).tag.endswith("svg")
    table = httpx.get(f"{url}/table")
    assert table.headers["content-type"].startswith("text/markdown")
    assert "| +search+voice |" in table.text


def test_questions_of_a_file_are_asked_and_missing_answers_are_told(taught) -> None:
    file = upload(
        taught,
        {"question": "What do bags cost?", "expected": ["45"], "document": "prices.md"},
        {"question": "How long are returns taken?", "expected": ["60 days"]},
        {"question": "What does a tent cost?", "expected": ["987 pounds"]},
        {"question": "What is the price of bag 1?", "expected": ["45"]},  # the voice knows it
        {"question": "Who is the mayor?", "answerable": False},
    )
    created = create(taught, **SMALL, questions_file=file)
    result = wait(taught, created["id"])["result"]
    assert result["unanswered"] == ["What does a tent cost?"]
    assert result["search"]["right_document"]["n"] == 1
    learnt = any("trained on" in note for note in result["notes"])
    assert result["questions"]["answerable"] == (3 if learnt else 4)
    assert any("Too few unanswerable questions: 1 of 2" in note for note in result["notes"])


def test_the_base_is_evaluated_without_a_voice(taught) -> None:
    file = upload(taught, {"question": "What do bags cost?", "expected": ["45"]})
    model = taught.services.engine.generator.name
    request = {**SMALL, "model": model, "voice": None, "latency_questions": 0}
    result = wait(taught, create(taught, **request, questions_file=file)["id"])["result"]
    assert [arm["arm"] for arm in result["arms"]] == ["base", "search"]
    assert all(arm["seconds"] is None and not arm["served"]["style"] for arm in result["arms"])


def test_a_voice_of_labels_is_judged_by_its_labels_and_not_by_the_documents(
    stocked, speak_as
) -> None:
    voice = speak_as("sorter", {"kind": "label", "labels": ["refund", "order"]})
    file = upload(
        stocked,
        *({"question": f"I want my money back, case {n}", "reply": "refund"} for n in range(4)),
        {"question": "Who is the mayor?", "answerable": False},
    )
    ended = wait(stocked, create(stocked, **{**SMALL, "voice": voice}, questions_file=file)["id"])
    result = ended["result"]
    arms = {arm["arm"]: arm["served"] for arm in result["arms"]}
    assert list(arms) == ["base", "voice"], "no documents are searched for labels"
    told = {key for served in arms.values() for key, figure in served.items() if figure}
    assert told == {"accuracy", "macro_f1"}
    run = stocked.settings.folder("runs") / ended["id"]
    texts = [json.loads(line) for line in (run / "texts.jsonl").read_text().splitlines()]
    assert {t["text"] for t in texts if t["adapter"]} <= {"refund", "order"}
    assert result["unanswered"] == [] and result["recommendation"]["choice"] == "too_few"
    assert not any("unanswerable" in note for note in result["notes"])


def test_a_store_without_documents_leaves_the_arms_with_search_out(taught) -> None:
    store = taught.client.vector_stores.create(name="empty")
    file = upload(taught, {"question": "What do bags cost?", "expected": ["45"]})
    asked = {**SMALL, "vector_store_id": store.id, "questions_file": file, "answerable": 1}
    result = wait(taught, create(taught, **asked)["id"])["result"]
    assert [arm["arm"] for arm in result["arms"]] == ["base", "few_shot", "voice"]
    assert any("no documents" in note for note in result["notes"])


# -- its worst moments


def test_it_waits_for_a_training_and_can_be_cancelled_before(taught, teacher, eventually) -> None:
    house = teacher(taught.client)
    long = {"n_epochs": 50, "learning_rate": 0.001, "batch_tokens": 64, "patience": 100}
    job = house.start(suffix="busy", hyperparameters=long)
    house.wait(job.id, "running")
    waiting = create(taught, **SMALL, questions_file=upload(taught, {"question": "A bag?"}))
    time.sleep(1)
    assert get(taught, waiting["id"])["status"] == "queued"
    assert cancel(taught, waiting["id"])["status"] == "cancelled"
    taught.client.fine_tuning.jobs.cancel(job.id)
    with pytest.raises(openai.BadRequestError, match="cancelled"):
        cancel(taught, waiting["id"])
    with pytest.raises(openai.ConflictError, match="cancelled"):
        taught.client.get(f"/evaluations/{waiting['id']}/picture", cast_to=dict)


def test_a_running_one_is_cancelled_with_its_worker(taught, workers, eventually) -> None:
    running = create(taught, **SLOW)
    eventually(lambda: workers(running["id"]), seconds=120)
    assert cancel(taught, running["id"])["status"] == "cancelled"
    eventually(lambda: not workers(running["id"]), seconds=10)


def test_a_killed_worker_is_started_again_for_what_is_missing(taught, workers, eventually) -> None:
    running = create(taught, **{**SMALL, "answerable": 5, "max_tokens": 60})
    texts = taught.settings.folder("runs") / running["id"] / "texts.jsonl"
    eventually(lambda: texts.exists() and texts.stat().st_size, seconds=120)
    before = texts.read_bytes()
    for worker in workers(running["id"]):
        worker.send_signal(signal.SIGKILL)
    ended = wait(taught, running["id"])
    assert ended["status"] == "succeeded", ended["error"]
    written = texts.read_bytes()
    assert written.startswith(before)
    ids = [(t["id"], t["adapter"]) for t in map(json.loads, written.splitlines())]
    assert len(ids) == len(set(ids))


def test_it_goes_on_after_the_server_was_stopped(
    serving, taught, tiny_settings, teacher, workers, eventually, tmp_path: Path, free_port
) -> None:
    settings = replace(tiny_settings, data_dir=tmp_path, port=free_port, worker_threads=1)
    base = {**SMALL, "voice": None, "answerable": 20, "max_tokens": 60}
    with serving(settings) as server:
        teacher(server.client).ingest()
        file = upload(server, *({"question": f"What of bag {n}?"} for n in range(20)))
        model = server.services.engine.generator.name
        running = create(server, **{**base, "model": model, "questions_file": file})
        texts = settings.folder("runs") / running["id"] / "texts.jsonl"
        eventually(lambda: texts.exists() and texts.stat().st_size, seconds=120)
    before = texts.read_bytes()
    with serving(settings) as server:
        assert get(server, running["id"])["status"] == "running"
        ended = wait(server, running["id"])
        assert ended["status"] == "succeeded", ended["error"]
    assert texts.read_bytes().startswith(before)
    assert ended["result"]["seconds"] > ended["progress"]["seconds"] * 0.5


def test_minutes_that_are_too_few_are_told(taught) -> None:
    ended = wait(taught, create(taught, **{**SLOW, "max_minutes": 0.05})["id"])
    assert ended["finished_at"] - ended["started_at"] < 60, "3 s, and what ending takes"
    if ended["status"] == "failed":
        assert "max_minutes" in ended["error"]["message"]
    else:  # a fast machine
        assert ended["result"]["stopped"] == "minutes"


def test_what_a_request_leaves_out_has_its_default(taught) -> None:
    created = create(taught, voice="support")
    cancel(taught, created["id"])
    assert {name: created[name] for name in DEFAULTS} == DEFAULTS


# -- what a request may hold


def test_a_repeated_request_gives_one_evaluation(taught) -> None:
    first, second = create(taught, **SLOW), create(taught, **SLOW)
    assert first["id"] == second["id"]
    cancel(taught, first["id"])


@pytest.mark.parametrize(
    ("request_", "param"),
    [
        ({}, "voice"),
        ({"voice": "support", "model": "support"}, "voice"),
        ({"voice": "support", "answerable": -1}, "answerable"),
        ({"voice": "support", "answerable": 0, "unanswerable": 0}, "answerable"),
        ({"voice": "support", "max_tokens": 0}, "max_tokens"),
        ({"voice": "support", "max_minutes": 0}, "max_minutes"),
        ({"voice": "support", "latency_questions": 1000}, "latency_questions"),
        ({"model": "GENERATOR"}, "questions_file"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(taught, request_, param: str) -> None:
    if request_.get("model") == "GENERATOR":
        request_ = {"model": taught.services.engine.generator.name}
    with pytest.raises(openai.BadRequestError) as refused:
        create(taught, **request_)
    assert refused.value.param == param


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"question": "A?"}\n{oops', "line 2: broken JSON"),
        ("\n", "no questions"),
        ('{"question": "A?", "answerable": false}', "none of the kind"),
    ],
)
def test_a_faulty_file_of_questions_is_refused_in_words(taught, text: str, said: str) -> None:
    file = upload(taught, text=text)
    with pytest.raises(openai.BadRequestError, match=said):
        create(taught, voice="support", questions_file=file, unanswerable=0)


@pytest.mark.parametrize(
    "request_",
    [
        {"voice": "nobody"},
        {"model": "gpt-4o"},
        {"voice": "support", "questions_file": "file-unknown"},
        {"voice": "support", "vector_store_id": "vs_unknown"},
    ],
)
def test_unknown_things_are_404(taught, request_) -> None:
    with pytest.raises(openai.NotFoundError):
        create(taught, **request_)


def test_unknown_evaluations_are_404(taught) -> None:
    for path in ("", "/picture", "/table"):
        with pytest.raises(openai.NotFoundError):
            taught.client.get(f"/evaluations/eval_x{path}", cast_to=dict)
    with pytest.raises(openai.NotFoundError):
        cancel(taught, "eval_x")


# -- the command


def houseword(server: Any, *arguments: Any, status: int = 0) -> Any:
    env = {
        "HOUSEWORD_DATA_DIR": str(server.settings.data_dir),
        "HOUSEWORD_GENERATOR": server.settings.generator,
        "HOUSEWORD_EMBEDDER": server.settings.embedder,
        "COLUMNS": "220",
        "TERM": "dumb",
    }
    result = CliRunner().invoke(main, ["evaluate", *map(str, arguments)], env=env)
    assert result.exit_code == status, (result.output, result.exception)
    return result


def test_the_command_shows_the_table_and_writes_the_picture(taught, tmp_path: Path) -> None:
    questions, picture = tmp_path / "q.jsonl", tmp_path / "verdict.svg"
    questions.write_text('{"question": "What do bags cost?", "expected": ["45"]}\n')
    options = ("--voice", "support", "--questions", questions, "--max-tokens", 8)
    shown = houseword(taught, *options, "--picture", picture)
    assert "+search+voice" in shown.stdout and "Nothing can be said yet" in shown.stdout
    assert "\x1b" not in shown.output
    assert ElementTree.fromstring(picture.read_text()).tag.endswith("svg")
    value = json.loads(houseword(taught, *options, "--minutes", 5, "--json").stdout)
    assert value["status"] == "succeeded" and value["max_minutes"] == 5


def test_the_command_tells_a_mistake_in_one_line(taught, tmp_path: Path) -> None:
    broken = tmp_path / "broken.jsonl"
    broken.write_text("{oops\n")
    assert "nobody" in houseword(taught, "--voice", "nobody", status=1).stderr
    told = houseword(taught, "--voice", "support", "--questions", broken, status=1).stderr
    assert "line 1" in told and "Traceback" not in told
    houseword(taught, status=2)
    houseword(taught, "--voice", "support", "--questions", tmp_path / "none", status=2)
