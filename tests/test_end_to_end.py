"""The whole product in one story, with the official client and nothing else: read this first."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import OpenAI

pytestmark = pytest.mark.workers


def question(text: str) -> Any:
    return [{"role": "user", "content": text}]


def test_documents_in_a_voice_taught_answers_cited_and_a_deletion_is_a_deletion(
    start_server, strict, tmp_path: Path
) -> None:
    server = start_server(tmp_path, worker_threads=1)
    client: OpenAI = server.client

    # Ingest: upload, index, search.
    store = strict(client.vector_stores.with_raw_response.create(name="shop"))
    files = client.vector_stores.file_batches.upload_and_poll(
        store.id,
        files=[
            ("prices.md", b"# Prices\n\nTents cost 80. The green one is for rain."),
            ("hours.html", b"<html><body><h1>Hours</h1><p>We open at 9.</p></body></html>"),
        ],
    )
    assert files.status == "completed" and files.file_counts.completed == 2
    best = client.vector_stores.search(store.id, query="What do tents cost?").data[0]
    assert best.filename == "prices.md" and "Tents cost 80." in best.content[0].text

    # Retrain: a voice, on the shop's documents.
    (base, *_) = [model.id for model in client.models.list()]
    pairs = [
        {"messages": [*question(f"What does tent {n} cost?"), reply("Tents cost 80.")]}
        for n in range(60)
    ]
    lines = "\n".join(json.dumps(pair) for pair in pairs).encode()
    training_file = client.files.create(file=("pairs.jsonl", lines), purpose="fine-tune")
    job = client.fine_tuning.jobs.create(
        model=base,
        training_file=training_file.id,
        suffix="counter",
        metadata={"vector_store_id": store.id},
        extra_body={
            "hyperparameters": {
                "n_epochs": 14,
                "learning_rate": 0.01,
                "batch_tokens": 2048,
                "patience": 100,
            }
        },
    )
    # Chat goes on while a job trains.
    asked: Any = {
        "messages": question("What does tent 5 cost?"),
        "tools": [{"type": "file_search", "vector_store_ids": [store.id]}],
        "max_tokens": 40,
    }
    untuned = client.chat.completions.create(model=base, **asked).choices[0].message.content
    while (job := client.fine_tuning.jobs.retrieve(job.id)).status not in ("succeeded", "failed"):
        time.sleep(0.05)
    assert job.status == "succeeded", job.error
    gate = job.model_extra["result"]["gate"]
    assert {"support", "expected", "style"} <= {measure["name"] for measure in gate}
    client.post(
        "/voices/counter/activate", cast_to=dict[str, Any], body={"version": job.fine_tuned_model}
    )

    # Ask: in the voice, cited, streamed and not.
    answer = strict(client.chat.completions.with_raw_response.create(model="counter", **asked))
    message = answer.choices[0].message
    assert message.content == "Tents cost 80. [1]" != untuned
    (citation,) = message.model_extra["citations"]
    assert citation["file_id"] == best.file_id
    text = client.vector_stores.files.content(best.file_id, vector_store_id=store.id).data[0].text
    assert text is not None and text[citation["start"] : citation["end"]] == citation["text"]
    stream = client.chat.completions.create(model="counter", stream=True, **asked)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == message.content
    assert job.fine_tuned_model in {model.id for model in client.models.list()}
    fixed = client.chat.completions.create(model=str(job.fine_tuned_model), **asked)
    assert fixed.choices[0].message.content == message.content
    assert client.chat.completions.create(model=base, **asked).choices[0].message.content == untuned

    # Delete: gone from search and from answers at once.
    client.files.delete(best.file_id)
    assert best.file_id not in {
        hit.file_id for hit in client.vector_stores.search(store.id, query="What do tents cost?")
    }
    after = client.chat.completions.create(model="counter", **asked).choices[0].message
    assert best.file_id not in {c["file_id"] for c in after.model_extra["citations"]}
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(best.file_id)


def reply(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}
