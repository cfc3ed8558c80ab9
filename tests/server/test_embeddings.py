"""/v1/embeddings and /v1/models."""

from __future__ import annotations

import numpy as np
import openai
import pytest
from openai import OpenAI


def test_float_and_base64_say_the_same(client: OpenAI, server, strict) -> None:
    texts = ["the green tent", "a refund"]
    model = server.settings.embedder
    raw = client.embeddings.with_raw_response
    floats = strict(raw.create(model=model, input=texts, encoding_format="float"))
    encoded = client.embeddings.create(model=model, input=texts)  # base64 on the wire
    assert [entry.index for entry in floats.data] == [0, 1]
    for one, other in zip(floats.data, encoded.data, strict=True):
        np.testing.assert_allclose(one.embedding, other.embedding, rtol=0, atol=1e-7)
        assert np.linalg.norm(one.embedding) == pytest.approx(1, abs=1e-5)
    assert floats.usage.prompt_tokens == floats.usage.total_tokens > 4


def test_vectors_are_those_of_search(client: OpenAI, server) -> None:
    answer = client.embeddings.create(model=server.settings.embedder, input="rain and bags")
    direct = server.services.embedder.embed(["rain and bags"])[0]
    np.testing.assert_allclose(answer.data[0].embedding, direct, rtol=0, atol=1e-6)


def test_fewer_dimensions_are_the_first_ones_as_a_unit_vector(client: OpenAI, server) -> None:
    model = server.settings.embedder
    whole = np.array(client.embeddings.create(model=model, input="rain").data[0].embedding)
    short = client.embeddings.create(model=model, input="rain", dimensions=5).data[0].embedding
    np.testing.assert_allclose(short, whole[:5] / np.linalg.norm(whole[:5]), atol=1e-6)


@pytest.mark.parametrize(
    "body",
    [
        {"input": ""},
        {"input": []},
        {"input": ["a", " "]},
        {"input": [1, 2, 3]},
        {"input": [[1, 2], [3]]},
        {"input": ["a"] * 2049},
        {"input": {"text": "a"}},
        {"input": "rain " * 400},
        {"input": "a", "dimensions": 0},
        {"input": "a", "dimensions": 10_000},
        {"input": "a", "encoding_format": "int8"},
        {},
    ],
)
def test_bad_input_is_refused(client: OpenAI, server, body: dict) -> None:
    with pytest.raises(openai.BadRequestError):
        client.post("/embeddings", body={"model": server.settings.embedder, **body}, cast_to=object)


def test_an_unknown_model_is_not_found(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as error:
        client.embeddings.create(model="other", input="a")
    assert error.value.code == "model_not_found"


def test_models_are_listed_and_found_by_names_with_slashes(client: OpenAI, server, strict) -> None:
    ids = [model.id for model in strict(client.models.with_raw_response.list()).data]
    assert ids[:2] == [server.services.engine.generator.name, server.settings.embedder]
    for model_id in ids:
        assert strict(client.models.with_raw_response.retrieve(model_id)).id == model_id
    with pytest.raises(openai.NotFoundError) as error:
        client.models.retrieve("some/other")
    assert error.value.code == "model_not_found"
