"""A full fine-tune over the API: warned about, gated and served like any other version."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import openai
import pytest

from tuning.generate import Sampling

pytestmark = pytest.mark.workers

QUICK = {"learning_rate": 0.003, "batch_tokens": 2048, "n_epochs": 4, "gate_minutes": 0}
QUESTION = [{"role": "user", "content": "What is the price of bag 7?"}]


@pytest.fixture(scope="module")
def trained(server, teacher, chat_jsonl):
    """A job that has trained all weights of the tiny model."""
    house = teacher(server.client)
    job = house.start(
        chat_jsonl(30), suffix="whole", hyperparameters=QUICK, extra_body={"adapter": "full"}
    )
    return house.wait(job.id, seconds=200)


def test_a_full_fine_tune_is_warned_about_and_becomes_a_version(server, trained, strict) -> None:
    assert trained.status == "succeeded", trained.error
    told = strict(server.client.fine_tuning.jobs.with_raw_response.retrieve(trained.id))
    assert told.model_extra["adapter"] == "full" and told.method.type == "supervised"
    events = server.client.fine_tuning.jobs.list_events(trained.id, limit=1000).data
    (warning,) = [
        event.message for event in events if event.level == "warn" and "memory" in event.message
    ]
    assert "forgets" in warning and "copy of the model" in warning
    (version,) = server.client.get("/voices/whole", cast_to=dict)["versions"]
    folder = server.settings.folder("adapters") / version["digest"]
    assert {file.name for file in folder.iterdir()} >= {"card.json", "full_model.safetensors"}
    card = json.loads((folder / "card.json").read_text())
    assert card["adapter"] == "full" and card["metrics"]["heldout_after"] > 0
    assert version["state"] == "active"  # by hand, as the gate was not asked
    assert version["reasons"] == ["not judged, as gate_minutes is 0", "activated by hand"]


def test_its_answers_and_the_bases_can_be_written_in_turns(server, trained) -> None:
    engine = server.services.engine
    digest = trained.fine_tuned_model.rpartition(":")[2]

    async def read(adapter: str | None) -> str:
        ids = engine.encode(QUESTION)
        ticket = engine.submit(ids, adapter=adapter, sampling=Sampling(max_tokens=24))
        return "".join([piece.text async for piece in ticket])

    async def in_turns() -> list[str]:
        speakers = (None, digest, None, digest)
        return list(await asyncio.gather(*(read(speaker) for speaker in speakers)))

    alone = [asyncio.run(read(speaker)) for speaker in (None, digest)]
    assert alone[0] != alone[1], "it says the same, so this proves nothing"
    assert asyncio.run(in_turns()) == alone * 2


@pytest.mark.parametrize(
    ("request_", "param"),
    [
        ({"hyperparameters": {"rank": 4}}, "rank"),
        ({"hyperparameters": {"alpha": 4}}, "alpha"),
    ],
)
def test_what_a_full_fine_tune_does_not_have_is_refused(
    server, teacher, request_: dict[str, Any], param: str
) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        teacher(server.client).start(extra_body={"adapter": "full"}, **request_)
    assert refused.value.param == param


def test_another_kind_of_adapter_is_refused(server, teacher) -> None:
    with pytest.raises(openai.BadRequestError, match="adapter"):
        teacher(server.client).start(extra_body={"adapter": "half"})
