"""A plan under the strict policy: what the hits offer is frozen with the questions."""

from __future__ import annotations

import json

import numpy as np
import pytest

from retrieval.versions import BASE, Version
from server.asking import Asker
from server.measures import JSON_TOKENS
from server.plan import House, Plan
from server.questions import Question
from server.verdict import Form
from tuning.query_adapter import QueryAdapter
from tuning.records import Row
from tuning.search_data import ADAPTER_FILE


@pytest.fixture(scope="module")
def store(server, teacher) -> str:
    return teacher(server.client).ingest()


def asker_of(services, store: str, **more) -> Asker:
    return Asker(
        services.library,
        (store,),
        hits=1,
        budget=160,
        count_tokens=services.engine.count_tokens,
        encode=services.engine.encode,
        policy="strict",
        **more,
    )


def test_a_plan_holds_what_chat_would_quote_and_survives_its_run_folder(server, store) -> None:
    services = server.services
    asker = asker_of(services, store)
    text = "What is the price of bag 7?"
    question = Question("q", ({"role": "user", "content": text},), answerable=True)
    plan, _ = asker.plan([question], House(), max_tokens=8, progress=lambda done, of: None)
    (asked,) = plan.asked
    assert len(asked.hits) == 1 < len(asked.grounds.hits), "more are quoted than shown"
    assert asked.grounds == services.library.calibrations.judge(text, asked.grounds.hits, [store])
    assert asked.grounds.sentences and plan.policy == "strict"
    assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan


LABELS = {"kind": "label", "uses_documents": False, "labels": ["price", "return"]}


def house_of(task: dict, replies: list[str]) -> House:
    rows = [
        Row(
            ({"role": "system", "content": "Be brief."}, {"role": "user", "content": text}),
            reply,
            "train",
            "chat",
            f"group {number}",
            question=text,
        )
        for number, reply in enumerate(replies)
        for text in (f"What of bag {number}? {reply}",)
    ]
    return House("digest", tuple(rows), task=task)


def test_a_voice_that_uses_no_documents_is_asked_without_and_they_are_no_problem(
    server, store
) -> None:
    asker = asker_of(server.services, store, embed=server.services.embedder.embed)
    questions = [
        Question(
            f"q{n}",
            ({"role": "user", "content": f"The weather on Mars, case {n}"},),
            answerable=True,
            reply="price",
        )
        for n in range(4)
    ]
    house = house_of(LABELS, ["price", "return"] * 6)
    plan, prompts = asker.plan(questions, house, max_tokens=8, progress=lambda *_: None)
    assert [arm.key for arm in plan.arms] == ["base", "few_shot", "voice"]
    assert not any(asked.hits for asked in plan.asked) and plan.unanswered == ()
    assert plan.form == Form("label", cited=False)
    assert plan.routed.keys() == {q.id for q in questions}
    assert set(plan.routed.values()) <= {"price", "return"}
    assert not any(prompt.id.startswith("style:") for prompt in prompts)
    assert "The voice uses no documents: the arms with search are left out." in plan.notes
    assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan


def test_json_has_room_to_be_whole(server, store) -> None:
    house = house_of({"kind": "json", "uses_documents": False}, ['{"a": 1}'] * 8)
    question = Question("q", ({"role": "user", "content": "Bag"},), answerable=True)
    _, prompts = asker_of(server.services, store).plan(
        [question], house, max_tokens=8, progress=lambda *_: None
    )
    assert {prompt.max_tokens for prompt in prompts} == {JSON_TOKENS}


def test_a_tuned_search_is_an_arm_of_its_own_beside_the_bases(server, store) -> None:
    services = server.services
    models = services.library.search_models
    same = np.eye(services.embedder.dimension, dtype=np.float32)
    turned = QueryAdapter(-2 * same, same, 1.0)  # every question is turned round
    (services.settings.folder("embedders") / turned.digest).mkdir(parents=True)
    turned.save(services.settings.folder("embedders") / turned.digest / ADAPTER_FILE)
    models.add(
        Version(
            id=turned.digest,
            store_id=store,
            embedder=None,
            fingerprint=models.model(store).embedder.fingerprint,
            adapter=turned.digest,
            card={},
            state="candidate",
            created_at=0,
        )
    )
    models.build(store, turned.digest)
    models.activate(store, turned.digest, how="hand")
    try:
        asker = asker_of(services, store, tuned=True)
        text = "What is the price of bag 7?"
        question = Question("q", ({"role": "user", "content": text},), answerable=True)
        plan, prompts = asker.plan([question], House(), max_tokens=8, progress=lambda *_: None)
        assert [arm.key for arm in plan.arms] == ["base", "search", "tuned_search"]
        (asked,) = plan.asked
        assert asked.tuned is not None and asked.tuned.question == asked.question
        for own, version in ((asked, BASE), (asked.tuned, turned.digest)):
            hits = services.library.search([store], text, version=version)
            assert {hit.generation for hit in own.grounds.hits} == {hits[0].generation}
        assert [prompt.id for prompt in prompts] == ["base:q", "search:q", "tuned_search:q"]
        for arm in plan.arms:
            assert (asked.by(arm) is asked.tuned) == arm.tuned
        assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan
    finally:
        models.activate(store, BASE, how="rollback")
