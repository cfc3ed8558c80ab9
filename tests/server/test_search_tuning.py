"""Tuning search over the API: trained, judged, flipped, rolled back; every kind of bad input."""

from __future__ import annotations

import json
import random
import shutil
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import openai
import pytest

from server.turns import Turn
from tuning.records import Text
from tuning.run import Run

pytestmark = pytest.mark.workers

ALIASES = {"zq": "rain", "xv": "lamp", "jk": "rack", "wy": "tent", "qx": "shipping", "vz": "hours"}
FILLERS = "house green blue red price color order store open closed for with our your".split()


def document(thing: str) -> str:
    return f"# About\n\nThe {thing} of our {thing} is for the {thing}."


def pairs(*, wrong: bool = False, count: int = 14, **more: Any) -> bytes:
    """Questions that name each document by a word that only the pairs can teach."""
    random_ = random.Random(0)
    things = list(ALIASES.values())
    lines = [
        {
            "question": f"{alias} {alias} {FILLERS[n % 14]} {n}",
            "document": f"{random_.choice(things) if wrong else thing}.md",
            **more,
        }
        for alias, thing in ALIASES.items()
        for n in range(count)
    ]
    return "\n".join(map(json.dumps, lines)).encode()


class House:
    """One store at one server, and its search."""

    def __init__(self, server: Any, teacher: Any) -> None:
        self.server, self.client = server, server.client
        self.teacher = teacher(server.client)
        self.store = self.client.vector_stores.create(name="search").id
        for thing in ALIASES.values():
            self.add(f"{thing}.md", document(thing))

    def add(self, name: str, text: str) -> None:
        file = self.client.files.create(file=(name, text.encode()), purpose="user_data")
        added = self.client.vector_stores.files.create_and_poll(
            file.id, vector_store_id=self.store, poll_interval_ms=20
        )
        assert added.status == "completed", added.last_error

    def start(self, content: bytes | None, **more: Any) -> dict[str, Any]:
        body = {
            "model": self.server.settings.embedder,
            "metadata": {"vector_store_id": self.store},
            **({"training_file": self.teacher.upload(content)} if content is not None else {}),
            **more,
        }
        return self.client.post("/fine_tuning/jobs", cast_to=dict[str, Any], body=body)

    def tune(self, content: bytes | None, **more: Any) -> dict[str, Any]:
        return self.wait(self.start(content, **more)["id"])

    def wait(self, job_id: str, seconds: float = 240) -> dict[str, Any]:
        deadline = time.monotonic() + seconds
        while True:
            job = self.client.get(f"/fine_tuning/jobs/{job_id}", cast_to=dict[str, Any])
            if job["status"] in ("succeeded", "failed", "cancelled"):
                return job
            assert time.monotonic() < deadline, job["status"]
            time.sleep(0.05)

    def events(self, job: dict[str, Any]) -> list[str]:
        found = self.client.fine_tuning.jobs.list_events(job["id"], limit=1000)
        return [event.message for event in found][::-1]

    def models(self) -> dict[str, Any]:
        return self.client.get(f"/vector_stores/{self.store}/search_models", cast_to=dict[str, Any])

    def post(self, path: str) -> dict[str, Any]:
        return self.client.post(
            f"/vector_stores/{self.store}/search_models{path}", cast_to=dict[str, Any]
        )

    def served(self, query: str = "zq zq") -> set[str]:
        hits = self.server.services.library.search([self.store], query)
        return {hit.generation for hit in hits}

    def first(self, query: str) -> str:
        found = self.client.vector_stores.search(self.store, query=query, max_num_results=1)
        return found.data[0].filename


@pytest.fixture
def house(server, teacher) -> House:
    return House(server, teacher)


def test_a_query_adapter_is_trained_judged_and_rolled_back(house: House, strict) -> None:
    base = house.served()
    job = house.tune(pairs())
    result = job["result"]
    assert job["status"] == "succeeded", job["error"]
    assert result["promoted"], result["reasons"]
    assert result["method"] == "query_adapter" and result["seconds"] < 10
    events = house.events(job)
    told = "84 given, 0 from approved feedback, 0 from opened citations, 0 found"
    assert any(told in event for event in events), events
    assert any("query_adapter, since" in event and "fewer than 500" in event for event in events)
    assert any("nDCG@10" in event and "BM25 alone" in event for event in events)
    digest = result["digest"]
    assert house.served() == {f"{next(iter(base))}+{digest}"}
    assert sum(house.first(f"{a} {a} 99") == f"{t}.md" for a, t in ALIASES.items()) >= 5

    listed = house.models()
    assert listed["active"] == digest and listed["previous"] == "base"
    assert [model["id"] for model in listed["data"]] == ["base", digest]
    row = listed["data"][1]["gate"][0]
    assert row["name"] == "nDCG@10" and row["low"] > 0 and row["n"] >= 20 and row["passed"]
    parsed = strict(house.client.fine_tuning.jobs.with_raw_response.retrieve(job["id"]))
    assert parsed.fine_tuned_model.endswith(f":search:{digest}")

    house.add("late.md", "The late bag.")
    assert house.post("/rollback")["active"] == "base" and house.served() == base
    with pytest.raises(openai.ConflictError, match="nothing to bring back"):
        house.post("/rollback")
    assert house.post(f"/{job['fine_tuned_model']}/activate")["active"] == digest
    told = [(a["version"], a["how"], a["forced"]) for a in house.models()["activations"]]
    assert told == [(digest, "gate", False), ("base", "rollback", False), (digest, "hand", False)]


def test_a_tuned_embedder_is_built_beside_the_live_one_and_flipped(house: House) -> None:
    (base,) = house.served()
    job = house.tune(
        pairs(),
        method="full",
        hyperparameters={"n_epochs": 12, "learning_rate": 0.003, "batch_size": 16},
    )
    result = job["result"]
    assert job["status"] == "succeeded", job["error"]
    assert result["method"] == "full" and result["promoted"], result["reasons"]
    events = house.events(job)
    assert any("Embedded for the new model: 6 of 6" in event for event in events), events
    (tuned,) = house.served()
    assert tuned != base and "+" not in tuned and house.models()["serves"] == tuned
    rows = [
        house.client.embeddings.create(model=model, input="zq", dimensions=8).data[0].embedding
        for model in (job["fine_tuned_model"], house.server.settings.embedder)
    ]
    assert max(abs(a - b) for a, b in zip(*rows, strict=True)) > 0.01
    house.add("late.md", "The late bag is red.")
    assert house.first("The late bag is red.") == "late.md"
    began = time.perf_counter()
    house.post("/rollback")
    assert time.perf_counter() - began < 1 and house.served() == {base}
    assert house.first("The late bag is red.") == "late.md"
    answer = house.client.chat.completions.create(
        model=house.server.services.engine.generator.name,
        messages=[{"role": "user", "content": "Is the late bag red?"}],
        max_tokens=4,
        extra_body={"vector_store_ids": [house.store]},
    )
    assert answer.model_extra["houseword"]["embedder"] == base


def test_a_verdict_asks_by_the_base_and_by_the_tuned_search(house: House) -> None:
    job = house.tune(pairs())
    assert job["result"]["promoted"], job["result"]["reasons"]
    house.add("late.md", "The late bag is red.")
    lines = [
        {"question": f"{alias} {alias} with our", "document": f"{thing}.md"}
        for alias, thing in ALIASES.items()
    ]
    content = "\n".join(map(json.dumps, lines)).encode()
    file = house.client.files.create(file=("asked.jsonl", content), purpose="evals")
    asked = {
        "model": house.server.services.engine.generator.name,
        "questions_file": file.id,
        "vector_store_id": house.store,
        "max_tokens": 4,
        "latency_questions": 1,
    }
    made = house.client.post("/evaluations", cast_to=dict[str, Any], body=asked)
    path, deadline = f"/evaluations/{made['id']}", time.monotonic() + 120
    while (found := house.client.get(path, cast_to=dict[str, Any]))["result"] is None:
        assert time.monotonic() < deadline and found["error"] is None, found
        time.sleep(0.1)
    arms = {arm["arm"]: arm for arm in found["result"]["arms"]}
    assert list(arms) == ["base", "search", "tuned_search"]
    assert arms["tuned_search"]["seconds"]["n"] == 1
    search = found["result"]["search"]
    assert search["right_document"]["mean"] < search["right_document_tuned"]["mean"] == 1


def test_what_is_not_better_stays_a_candidate_and_can_be_forced(house: House) -> None:
    base = house.served()
    job = house.tune(pairs(wrong=True), method="query_adapter")
    result = job["result"]
    assert job["status"] == "succeeded" and not result["promoted"], result
    assert house.served() == base
    if result["digest"] is None:  # nothing was better on dev already
        assert "select" in result["reasons"][0]
        return
    assert "not shown to be better" in " ".join(result["reasons"])
    assert house.models()["data"][1]["state"] == "candidate"
    assert house.post(f"/{result['digest']}/activate")["job"] is None
    assert house.models()["activations"][-1]["forced"] is True
    assert house.served() != base


def test_a_version_that_lacks_passages_is_built_by_a_job_before_it_serves(house: House) -> None:
    job = house.tune(
        pairs(),
        method={"type": "full", "full": {"hyperparameters": {"n_epochs": 12, "batch_size": 16}}},
        hyperparameters={"learning_rate": 0.003},
    )
    digest = job["result"]["digest"]
    house.post("/rollback")
    # Rolled back once, it is nothing that a rollback brings back: new documents pass it by.
    house.add("late.md", "The late bag.")
    listed = house.post(f"/{digest}/activate")
    assert listed["active"] == "base" and listed["job"]["status"] == "queued"
    done = house.wait(listed["job"]["id"])
    assert done["status"] == "succeeded", done["error"]
    assert house.models()["active"] == digest
    assert house.server.services.library.search_models.unembedded(house.store) == 0


def test_without_pairs_the_documents_own_questions_teach_but_do_not_judge(house: House) -> None:
    faq = "\n\n".join(
        f"## How long is the {thing} number {n} open?\n\nThe {thing} {n} is open for {n} days."
        for n, thing in enumerate(FILLERS)
    )
    house.add("faq.md", faq)
    job = house.tune(None)
    assert job["status"] == "succeeded", job["error"]
    assert any(
        "0 given, 0 from approved feedback, 0 from opened citations, 14 found" in event
        for event in house.events(job)
    ), house.events(job)
    assert not job["result"]["promoted"] and house.models()["active"] == "base"


def test_a_job_learns_from_questions_that_the_base_writes(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = "The {0} of our {0} is for the {0}, and the {0} is open for {0} in the {0}."
    for thing in ALIASES.values():
        house.add(f"long {thing}.md", long.format(thing))
    job = house.tune(pairs(), hyperparameters={"written_questions": 6})
    assert job["status"] == "succeeded", job["error"]
    events = house.events(job)  # the tiny base writes no words
    assert any("0 of 6 written questions find" in event for event in events), events

    def texts(run: Run) -> list[Text]:  # what a better base would have written
        asked = (
            next(f"Where is the {t}?" for t in ALIASES.values() if t in p.messages[-1]["content"])
            for p in run.prompts()
        )
        return [Text(str(n), None, text, 9, "stop") for n, text in enumerate(asked)]

    monkeypatch.setattr("server.pairing.carry_out", lambda run, watch: None)
    monkeypatch.setattr(Run, "texts", texts)
    events = house.events(house.tune(pairs(), hyperparameters={"written_questions": 6}))
    assert any("6 of 6 written questions find" in event for event in events), events
    assert any("6 written by a model" in event for event in events), events


def test_liked_answers_and_opened_citations_teach_what_they_cite(house: House) -> None:
    said = "The rain of our rain is for the rain."
    services, client = house.server.services, house.client
    (hit,) = services.library.search([house.store], "rain", k=1)
    turns = {"up": "chatcmpl-liked", "down": "chatcmpl-disliked", None: "chatcmpl-opened"}
    for rating, id_ in turns.items():
        talk = [{"role": "user", "content": f"what is rain, {rating}"}]
        turn = Turn(
            id=id_,
            owner="local",
            created_at=int(time.time()),
            model="m",
            adapter=None,
            embedder="e",
            stores=(house.store,),
            messages=talk,
            hits=[asdict(hit)],
            answer=f"{said} [1]",
            usage={},
            conversation=talk,
            citations=[asdict(hit)],
        )
        services.turns.record(turn)
        if rating is None:
            client.post(f"/turns/{id_}/opened", cast_to=dict[str, Any], body={"citation": 1})
            continue
        body = {"turn": id_, "rating": rating}
        given = client.post("/feedback", cast_to=dict[str, Any], body=body)
        if rating == "up":
            path = f"/feedback/{given['id']}"
            client.post(path, cast_to=dict[str, Any], body={"status": "approved"})
    job = house.tune(pairs(), method="query_adapter", seed=9)
    told = "84 given, 1 from approved feedback, 1 from opened citations"
    assert any(told in event for event in house.events(job))
    for feedback in services.feedback.approved("local", None):
        services.feedback.forget("local", feedback.id)


def test_pairs_name_passages_and_ids_and_several_answers(house: House) -> None:
    ids = {f.id for f in house.client.vector_stores.files.list(house.store).data}
    lines = [
        {"query": f"zq {n}", "positive": "The rain of our rain is for the rain."} for n in range(30)
    ]
    lines += [{"anchor": f"any {n}", "document_ids": sorted(ids)[:2]} for n in range(20)]
    lines += [{"question": "zq 1", "passage": "the lamp of our lamp is for the lamp"}]
    lines += [{"question": "lost", "passage": "Words that stand in no document at all, anywhere."}]
    job = house.tune("\n".join(map(json.dumps, lines)).encode(), method="query_adapter")
    events = house.events(job)
    assert job["status"] == "succeeded", job["error"]
    assert any("50 given" in event for event in events), events
    assert any("1 questions have several lines with different answers" in e for e in events)
    assert any("lines 52" in event for event in events), events


def test_other_stores_questions_tell_what_was_unlearned(house: House, server, teacher) -> None:
    assert house.tune(pairs())["result"]["promoted"]
    job = House(server, teacher).tune(pairs())
    (row,) = (row for row in job["result"]["gate"] if row["name"] == "nDCG@10 elsewhere")
    assert row["n"] >= 20 and row["passed"] and row["candidate"] > row["other"]


def test_two_jobs_of_one_store_wait_for_each_other(house: House) -> None:
    first = house.start(pairs(), seed=1)
    second = house.start(pairs(), seed=2)
    assert first["id"] != second["id"]
    ended = [house.wait(job["id"]) for job in (first, second)]
    assert [job["status"] for job in ended] == ["succeeded"] * 2
    assert ended[0]["finished_at"] <= ended[1]["started_at"]
    assert not ended[1]["result"]["promoted"]  # no better than the first


def test_a_store_that_is_emptied_or_deleted_meanwhile_ends_the_job_in_words(
    house: House,
) -> None:
    busy = house.start(pairs(), seed=3)
    job = house.start(pairs(), seed=4)
    for file in list(house.client.vector_stores.files.list(house.store)):
        house.client.vector_stores.files.delete(file.id, vector_store_id=house.store)
    ended = [house.wait(one["id"]) for one in (busy, job)]
    assert not any((one["result"] or {}).get("promoted") for one in ended[1:])
    assert ended[1]["status"] == "failed" and house.store in ended[1]["error"]["message"]
    assert house.client.vector_stores.search(house.store, query="zq").data == []


def test_a_job_that_is_cancelled_leaves_search_as_it_is(house: House, workers, eventually) -> None:
    base = house.served()
    job = house.start(pairs(), method="full", hyperparameters={"n_epochs": 1000}, seed=5)
    eventually(lambda: workers(job["id"]), seconds=60)
    house.client.fine_tuning.jobs.cancel(job["id"])
    eventually(lambda: not workers(job["id"]), seconds=10)
    assert house.wait(job["id"])["status"] == "cancelled"
    assert house.served() == base and len(house.models()["data"]) == 1


@pytest.fixture
def wider_embedder(tiny_embedder: Path, tmp_path: Path) -> Path:
    """The tiny embedder's folder with a random model of 48 dimensions in it."""
    from transformers import BertConfig, BertModel

    folder = Path(shutil.copytree(tiny_embedder, tmp_path / "wider"))
    config = BertConfig.from_pretrained(folder)
    config.hidden_size, config.num_attention_heads = 48, 2
    BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    pooling = {"word_embedding_dimension": 48, "pooling_mode_mean_tokens": True}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    return folder


def test_an_embedder_of_another_dimension_gets_a_generation_of_its_own(
    house: House, wider_embedder: Path
) -> None:
    with pytest.raises(openai.BadRequestError, match="full"):
        house.start(pairs(), model=str(wider_embedder), method="query_adapter")
    job = house.tune(
        pairs(),
        model=str(wider_embedder),
        hyperparameters={"n_epochs": 12, "learning_rate": 0.003, "batch_size": 16},
    )
    assert job["status"] == "succeeded", job["error"]
    assert any("another embedder" in event for event in house.events(job))
    digest = job["result"]["digest"]
    house.post(f"/{digest}/activate")  # whatever its gate has said
    models = house.server.services.library.search_models
    assert models.model(house.store).embedder.dimension == 48
    assert house.served() == {house.models()["serves"]}
    house.add("late.md", "The late bag is red.")
    assert house.first("The late bag is red.") == "late.md"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (pairs() + b'\n{"question": "a", "document": "gone.md"}', ["line 85", "'gone.md'"]),
        (pairs() + b'\n{"question": "a", "file_id": "file-x"}', ["line 85", "'file-x'"]),
        (pairs() + b'\n{"question": "a"}', ["line 85", "nothing answers"]),
        (pairs() + b'\n{"passage": "a"}', ["line 85", 'no "question"']),
        (pairs() + b'\n{"question": 7, "passage": "a"}', ["line 85", "must be a text"]),
        (pairs() + b'\n{"question": "?!", "passage": "a"}', ["line 85", "no words"]),
        (pairs() + b"\n[]", ["line 85", "not a JSON object"]),
        (pairs() + b"\n{", ["line 85", "broken JSON"]),
        (pairs() + b"\n\xff", ["line 85", "UTF-8"]),
        (pairs(count=1), ["at least 8"]),
        (b"", ["at least 8"]),
    ],
)
def test_faulty_pairs_are_refused_with_their_line(
    house: House, content: bytes, said: list[str]
) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        house.start(content)
    assert all(words in refused.value.message for words in said), refused.value.message


@pytest.mark.parametrize(
    ("request_", "param"),
    [
        ({"validation_file": "file-x"}, "validation_file"),
        ({"method": "reinforcement"}, "method"),
        ({"method": {"type": "full", "full": 7}}, "method"),
        ({"hyperparameters": {"n_epochs": 0}}, "n_epochs"),
        ({"hyperparameters": {"momentum": 1}}, "momentum"),
        ({"hyperparameters": {"rank": 1.5}}, "rank"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(house: House, request_, param: str) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        house.start(pairs(), **request_)
    assert refused.value.param == param


def test_unknown_things_are_404_and_an_empty_store_is_told(house: House) -> None:
    for request_ in (
        {"model": "no-such-embedder"},
        {"model": "no\0path"},
        {"model": "long" * 2000},
        {"model": "/"},
        {"metadata": {"vector_store_id": "vs_unknown"}},
        {"training_file": "file-unknown"},
    ):
        with pytest.raises(openai.NotFoundError):
            house.start(pairs(), **request_)
    with pytest.raises(openai.NotFoundError):
        house.post("/nope/activate")
    empty = house.client.vector_stores.create(name="empty").id
    with pytest.raises(openai.BadRequestError, match="no documents"):
        house.start(pairs(), metadata={"vector_store_id": empty})
