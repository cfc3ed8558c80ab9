"""A plan under the strict policy: what the hits offer is frozen with the questions."""

from __future__ import annotations

import json

import pytest

from retrieval.grounds import find
from server.asking import Asker, House, Plan
from server.questions import Question


@pytest.fixture(scope="module")
def store(server, teacher) -> str:
    return teacher(server.client).ingest()


def test_a_plan_holds_what_chat_would_quote_and_survives_its_run_folder(server, store) -> None:
    services = server.services
    asker = Asker(
        services.library,
        (store,),
        hits=1,
        budget=160,
        count_tokens=services.engine.count_tokens,
        encode=services.engine.encode,
        embedder=services.embedder,
        policy="strict",
    )
    text = "What is the price of bag 7?"
    question = Question("q", ({"role": "user", "content": text},), answerable=True)
    plan, _ = asker.plan([question], House(), max_tokens=8, progress=lambda done, of: None)
    (asked,) = plan.asked
    assert len(asked.hits) == 1 < len(asked.grounds.hits), "more are quoted than shown"
    assert asked.grounds == find(text, asked.grounds.hits, services.embedder)
    assert asked.grounds.sentences and plan.policy == "strict"
    assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan
