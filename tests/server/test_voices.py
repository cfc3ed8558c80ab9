"""/v1/voices: versions, activation, and what a voice's name means from one answer to the next."""

from __future__ import annotations

import json
import os
import shutil
import time
from typing import Any

import openai
import pytest
from openai import OpenAI

from server.voices import Version
from tuning.adapter import adapter_digest

HELLO: Any = [{"role": "user", "content": "Hello!"}]


def voice(client: OpenAI, name: str) -> dict[str, Any]:
    return client.get(f"/voices/{name}", cast_to=dict)


def activate(client: OpenAI, name: str, version: str) -> dict[str, Any]:
    return client.post(f"/voices/{name}/activate", body={"version": version}, cast_to=dict)


def speaker(client: OpenAI, model: str) -> str | None:
    """The digest of the adapter that answered."""
    answer = client.chat.completions.create(model=model, messages=HELLO, max_tokens=2)
    return answer.model_extra["houseword"]["adapter"]


@pytest.fixture(scope="module")
def twins(taught) -> list[str]:
    """A voice with two candidates: the taught adapter, and a copy that differs in one byte."""
    services, adapters = taught.services, taught.settings.folder("adapters")
    taught_version = services.voices.voice("local", "support").versions[0]
    copy = adapters / "copy"
    shutil.copytree(adapters / taught_version.digest, copy)
    with (copy / "adapter_config.json").open("a") as config:
        config.write("\n")
    digest = adapter_digest(copy)
    os.rename(copy, adapters / digest)
    ids = []
    for name in (taught_version.digest, digest):
        version = Version(
            id=f"ft:{taught_version.base}:twin:{name}",
            owner="local",
            voice="twin",
            digest=name,
            job_id=None,
            base=taught_version.base,
            card=taught_version.card,
            state="candidate",
            reasons=("a test",),
            created_at=int(time.time()),
        )
        services.database.write(lambda c, version=version: services.voices.add(c, version))
        ids.append(version.id)
    return ids


def test_a_taught_voice_is_listed_with_its_version_and_figures(taught) -> None:
    listed = taught.client.get("/voices", cast_to=dict)
    assert listed["object"] == "list"
    found = next(v for v in listed["data"] if v["name"] == "support")
    assert found == voice(taught.client, "support")
    (version,) = found["versions"]
    assert found["active"] == version["id"] and found["previous"] is None
    assert version["state"] == "active" and version["reasons"]
    assert version["metrics"]["heldout_after"] < version["metrics"]["heldout_before"]
    job = taught.client.fine_tuning.jobs.retrieve(version["job_id"])
    assert job.fine_tuned_model == version["id"]


def test_voices_and_their_versions_are_models(taught, strict) -> None:
    models = {model.id for model in strict(taught.client.models.with_raw_response.list()).data}
    version = voice(taught.client, "support")["active"]
    assert {"support", version, taught.services.engine.generator.name} <= models
    for name in ("support", version):
        assert strict(taught.client.models.with_raw_response.retrieve(name)).id == name


def test_a_name_means_the_active_version_and_an_id_a_fixed_one(taught, twins) -> None:
    client, (first, second) = taught.client, twins
    with pytest.raises(openai.NotFoundError):
        speaker(client, "twin")  # two candidates, and nobody was chosen
    assert speaker(client, first) == first.rsplit(":", 1)[1]

    assert activate(client, "twin", first)["active"] == first
    assert speaker(client, "twin") == first.rsplit(":", 1)[1]
    changed = activate(client, "twin", second)
    assert (changed["active"], changed["previous"]) == (second, first)
    assert [version["state"] for version in changed["versions"]] == ["retired", "active"]
    assert changed["versions"][1]["reasons"] == ["a test", "activated by hand"]
    assert speaker(client, "twin") == second.rsplit(":", 1)[1]
    assert speaker(client, first) == first.rsplit(":", 1)[1]
    assert speaker(client, taught.services.engine.generator.name) is None

    assert activate(client, "twin", second) == changed  # again changes nothing
    assert activate(client, "twin", first)["previous"] == second
    assert speaker(client, "twin") == first.rsplit(":", 1)[1]


def test_unknown_voices_and_versions_are_404(taught) -> None:
    client = taught.client
    version = voice(client, "support")["active"]
    for ask in (
        lambda: voice(client, "nobody"),
        lambda: activate(client, "nobody", version),
        lambda: activate(client, "support", "ft:x:support:0000"),
        lambda: speaker(client, "nobody"),
        lambda: speaker(client, "ft:x:support:0000"),
    ):
        with pytest.raises(openai.NotFoundError) as missing:
            ask()
        assert missing.value.body.keys() == {"message", "type", "param", "code"}
    with pytest.raises(openai.BadRequestError):
        client.post("/voices/support/activate", body={}, cast_to=dict)


def test_a_version_of_another_voice_cannot_be_activated(taught, twins) -> None:
    with pytest.raises(openai.NotFoundError):
        activate(taught.client, "support", twins[0])


@pytest.mark.parametrize(
    ("field", "said"),
    [("prompt_digest", "prompt format"), ("base_fingerprint", "was trained on base")],
)
def test_an_adapter_that_does_not_fit_is_refused_naming_both(
    taught, twins, field: str, said: str
) -> None:
    services, adapters = taught.services, taught.settings.folder("adapters")
    made = adapters / "made"
    shutil.copytree(adapters / twins[0].rsplit(":", 1)[1], made)
    with (made / "adapter_config.json").open("a") as config:
        config.write(" " * len(field))  # a digest of its own
    card = json.loads((made / "card.json").read_text())
    (made / "card.json").write_text(json.dumps({**card, field: "another"}))
    digest = adapter_digest(made)
    os.rename(made, adapters / digest)
    model = services.voices.voice("local", "twin").versions[0]
    foreign = Version(
        id=f"ft:{model.base}:{field.replace('_', '-')}:{digest}",
        owner="local",
        voice=field.replace("_", "-"),
        digest=digest,
        job_id=None,
        base=model.base,
        card=card,
        state="candidate",
        reasons=(),
        created_at=int(time.time()),
    )
    services.database.write(lambda connection: services.voices.add(connection, foreign))
    for stream in (False, True):
        with pytest.raises(openai.ConflictError) as refused:
            taught.client.chat.completions.create(model=foreign.id, messages=HELLO, stream=stream)
        assert said in refused.value.message and "another" in refused.value.message
        assert refused.value.response.headers["x-should-retry"] == "false"
    assert speaker(taught.client, "support")


def test_a_voice_whose_files_are_gone_says_so(taught, twins) -> None:
    adapters = taught.settings.folder("adapters")
    digest = "feedfeedfeedfeed"
    shutil.copytree(adapters / twins[0].rsplit(":", 1)[1], adapters / digest)
    services = taught.services
    model = services.voices.voice("local", "twin").versions[0]
    damaged = Version(
        id=f"ft:{model.base}:damaged:{digest}",
        owner="local",
        voice="damaged",
        digest=digest,
        job_id=None,
        base=model.base,
        card=model.card,
        state="candidate",
        reasons=(),
        created_at=0,
    )
    services.database.write(lambda connection: services.voices.add(connection, damaged))
    for said in ("is damaged", "not on disk"):
        with pytest.raises(openai.ConflictError, match=said):
            speaker(taught.client, damaged.id)
        shutil.rmtree(adapters / digest, ignore_errors=True)
