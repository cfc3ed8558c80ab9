"""The default models do the main job: find, answer, learn a voice, and stay within the figures."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

BASE = "smollm2-135m-instruct"
DOCUMENTS = ("returns-policy.md", "shipping.md", "price-list-2026.csv", "shop-desk-manual.docx")
MARKER = re.compile(r" \[\d+\]")
WORDS = "the bench keeps copper rivets waxed thread and a ledger of every ride to the harbour "
PLAIN = {  # question: the document that answers it
    "How many days do I have to return an order?": "returns-policy.md",
    "How much is standard shipping?": "shipping.md",
    "When is shipping free?": "shipping.md",
}
HELLO: Any = [{"role": "user", "content": "Hello!"}]

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def shop(start_real, demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A server that holds some of the demo's documents in its default store."""
    with start_real(tmp_path_factory.mktemp("shop") / "state") as server:
        store = server.client.get("/vector_stores/default", cast_to=dict)["id"]
        for name in DOCUMENTS:
            file = server.client.files.create(file=demo / "documents" / name, purpose="user_data")
            added = server.client.vector_stores.files.create_and_poll(
                file.id, vector_store_id=store, poll_interval_ms=100
            )
            assert added.status == "completed", added.last_error
        yield server


@pytest.fixture(scope="module")
def job(shop, demo: Path) -> Any:
    """The voice `support`, taught for a minute and a half; chat is asked meanwhile."""
    lines = (demo / "voices" / "support.jsonl").read_bytes().splitlines()
    topics = {"shipping", "returns"}
    chosen = [line for line in lines if json.loads(line)["topic"] in topics] + lines[-40:]
    content = b"\n".join(chosen)
    file = shop.client.files.create(file=("support.jsonl", content), purpose="fine-tune")
    job = shop.client.fine_tuning.jobs.create(
        model=BASE,
        training_file=file.id,
        suffix="support",
        hyperparameters={"gate_minutes": 0},
        # A step takes up to 20 s where the processor has no bfloat16.
        extra_body={"max_minutes": 1.5},
    )
    while shop.client.fine_tuning.jobs.retrieve(job.id).status != "running":
        time.sleep(0.1)
    began = time.monotonic()
    say(shop, BASE, max_tokens=16)
    print(f"\nan answer of 16 tokens while a job trains: {time.monotonic() - began:.1f} s")
    return shop.wait_for(job.id, seconds=400)


def say(shop, model: str, *, messages: Any = HELLO, **more: Any) -> Any:
    return shop.client.chat.completions.create(model=model, messages=messages, **more)


def first_token_seconds(shop, model: str, text: str) -> float:
    began = time.monotonic()
    stream = say(
        shop,
        model,
        messages=[{"role": "user", "content": text}],
        tool_choice="none",
        max_tokens=8,
        stream=True,
    )
    for chunk in stream:
        if chunk.choices[0].delta.content:
            break
    seconds = time.monotonic() - began
    list(stream)
    return seconds


def test_questions_find_their_documents(shop, demo: Path) -> None:
    lines = (demo / "questions.jsonl").read_text().splitlines()
    asked = [q for q in map(json.loads, lines) if q.get("document") in DOCUMENTS]
    store = shop.client.get("/vector_stores/default", cast_to=dict)["id"]
    best = [shop.client.vector_stores.search(store, query=q["question"]).data[0] for q in asked]
    found = [hit.filename == q["document"] for hit, q in zip(best, asked, strict=True)]
    print(f"\nright document first: {sum(found)} of {len(found)}")
    assert sum(found) >= 0.8 * len(found) >= 5


def test_a_store_of_one_short_document_answers(shop) -> None:
    """Little stores have next to no BM25; their evidence must not look weak for that."""
    text = b"Returns are accepted within 45 days of delivery. Repairs cost 12 dollars."
    file = shop.client.files.create(file=("terms.txt", text), purpose="user_data")
    store = shop.client.vector_stores.create(name="terms")
    added = shop.client.vector_stores.files.create_and_poll(
        file.id, vector_store_id=store.id, poll_interval_ms=100
    )
    assert added.status == "completed", added.last_error
    for question, fact in {
        "How many days do I have to return an order?": "45 days",
        "How much does a repair cost?": "12 dollars",
    }.items():
        answer = say(
            shop,
            BASE,
            messages=[{"role": "user", "content": question}],
            max_tokens=48,
            extra_body={"vector_store_ids": [store.id]},
        )
        assert fact in answer.choices[0].message.content


def test_a_short_training_teaches_a_voice_that_answers_from_the_documents(shop, job) -> None:
    assert job.status == "succeeded", job.error
    result = job.model_extra["result"]
    print(f"\nheld-out {result['heldout_loss_before']:.3f} -> {result['heldout_loss_after']:.3f}")
    assert result["seconds"] <= 90 + 15 and result["tokens"] > 1000
    assert result["heldout_loss_after"] < result["heldout_loss_before"] - 0.1
    store = shop.client.get("/vector_stores/default", cast_to=dict)["id"]
    right = 0
    for question, document in PLAIN.items():
        messages = [{"role": "user", "content": question}]
        base, voice = (
            say(shop, model, messages=messages, max_tokens=80).choices[0].message
            for model in (BASE, job.fine_tuned_model)
        )
        # Under strict both may give way to the same quotation: the drafts tell the two apart.
        base_draft, voice_draft = (
            say(shop, model, messages=messages, max_tokens=24, extra_body={"grounding": "off"})
            .choices[0]
            .message.content
            for model in (BASE, job.fine_tuned_model)
        )
        print(f"\n{question}\n  base:  {base.content}\n  voice: {voice.content}")
        print(f"  drafts: {base_draft!r}, {voice_draft!r}")
        assert voice_draft != base_draft
        for message in (base, voice):
            citations = message.model_extra["citations"]
            assert len(set(MARKER.findall(message.content))) == len(citations)
            for c in citations:
                (text,) = shop.client.vector_stores.files.content(
                    c["file_id"], vector_store_id=store
                )
                assert text.text[c["start"] : c["end"]] == c["text"]
        right += document in {c["filename"] for c in voice.model_extra["citations"]}
    assert right, "the voice does not speak from the documents"


def test_the_voice_changes_from_one_request_to_the_next_within_a_second(shop, job) -> None:
    speakers = [BASE, job.fine_tuned_model]
    for model in speakers:
        first_token_seconds(shop, model, "Hello!")  # loads the adapter
    seconds = [first_token_seconds(shop, speakers[n % 2], "Hello!") for n in range(6)]
    print(f"\nfirst token after a switch of voices: {max(seconds):.2f} s at most")
    assert max(seconds) < 1


def test_the_first_token_of_a_long_prompt_comes_within_three_seconds(shop) -> None:
    text = WORDS * 56
    whole = say(
        shop,
        BASE,
        messages=[{"role": "user", "content": text}],
        tool_choice="none",
        max_tokens=1,
    )
    assert 1000 <= whole.usage.prompt_tokens <= 1100
    seconds = [first_token_seconds(shop, BASE, text) for _ in range(3)]
    print(
        f"\nfirst token of {whole.usage.prompt_tokens}: {min(seconds):.2f} to {max(seconds):.2f} s"
    )
    assert min(seconds) <= 3


def test_a_question_over_the_real_context_is_refused_with_the_limit(shop) -> None:
    with pytest.raises(Exception, match="2047") as refused:
        say(shop, BASE, messages=[{"role": "user", "content": WORDS * 150}])
    assert refused.value.status_code == 400  # type: ignore[attr-defined]


def test_the_server_is_ready_soon_and_small(shop, starts: list[float]) -> None:
    gigabytes = shop.process.memory_info().rss / 1e9
    children = sum(child.memory_info().rss for child in shop.process.children()) / 1e9
    print(f"\nready in {min(starts):.1f} s at best; {gigabytes:.2f} + {children:.2f} GB")
    assert min(starts) <= 10  # the other starts shared the processor with something else
    assert gigabytes + children <= 2.5
