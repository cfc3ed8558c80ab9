"""What chat searches, how it cites, and what is kept of a turn."""

from __future__ import annotations

import json
from typing import Any

import pytest

ANSWER = "Bags cost 45. [1]"
PRICE: Any = [{"role": "user", "content": "What is the price of bag 7?"}]


@pytest.fixture(scope="module")
def base(taught) -> str:
    """The model's own name: no voice."""
    return taught.services.engine.generator.name


@pytest.fixture(scope="module")
def store(taught) -> str:
    return taught.services.default_store("local")


# -- what is searched


def test_the_default_store_is_searched_by_itself(taught, base: str, store: str, turn) -> None:
    answer = taught.client.chat.completions.create(model=base, messages=PRICE, max_tokens=1)
    row = turn(taught, answer.id)
    assert row["stores"] == [store] and row["hits"]
    assert "Bags cost 45." in row["messages"][-1]["content"]


@pytest.mark.parametrize("greeting", ["Good morning!", "Thank you so much", "hi there, bye"])
def test_a_greeting_is_answered_without_a_search(taught, greeting: str, turn) -> None:
    answer = taught.client.chat.completions.create(
        model="support", messages=[{"role": "user", "content": greeting}]
    )
    row = turn(taught, answer.id)
    assert (row["stores"], row["hits"], row["messages"][-1]["content"]) == ([], [], greeting)
    assert answer.choices[0].message.content


def test_a_long_row_of_thanks_is_judged_in_no_time(taught, base: str, turn) -> None:
    # The pattern for greetings once took twice as long for every further "thank you".
    thanks = "thank you " * 200 + "x"
    answer = taught.client.with_options(timeout=10).chat.completions.create(
        model=base, messages=[{"role": "user", "content": thanks}], max_tokens=1
    )
    assert turn(taught, answer.id)["stores"]


def test_a_talk_longer_than_the_context_loses_its_oldest_turns_whole(
    taught, base: str, turn
) -> None:
    old: list[Any] = [
        {"role": role, "content": f"{role} {number} " + "of old " * 40}
        for number in range(40)
        for role in ("user", "assistant")
    ]
    answer = taught.client.chat.completions.create(model=base, messages=[*old, *PRICE])
    row = turn(taught, answer.id)
    _, *kept, question = row["messages"]
    assert question["content"].endswith(f"Question: {PRICE[0]['content']}")
    assert 0 < len(kept) < len(old) and kept == old[-len(kept) :] and kept[0]["role"] == "user"
    room = taught.services.engine.room(taught.services.settings.max_tokens)
    assert room - 800 < row["usage"]["prompt_tokens"] <= room
    assert answer.choices[0].finish_reason in ("stop", "length")
    assert json.loads(row["conversation"]) == [*old, *PRICE], "what was asked is kept whole"


def test_tool_choice_none_turns_the_search_off(taught, base: str, turn) -> None:
    answer = taught.client.chat.completions.create(
        model=base, messages=PRICE, tool_choice="none", max_tokens=1
    )
    row = turn(taught, answer.id)
    assert (row["stores"], row["hits"]) == ([], [])
    assert row["messages"][-1]["content"] == PRICE[0]["content"]


@pytest.fixture(scope="module")
def shelf(taught) -> str:
    """A second store: two documents, told apart by an attribute."""
    client = taught.client
    store = client.vector_stores.create(name="shelf")
    for colour in ("red", "blue"):
        text = f"The {colour} lamp shines for days. The {colour} lamp is in the store."
        file = client.files.create(file=(f"{colour}.txt", text.encode()), purpose="user_data")
        client.vector_stores.files.create_and_poll(
            file.id, vector_store_id=store.id, attributes={"colour": colour}, poll_interval_ms=20
        )
    return store.id


LAMP: Any = [{"role": "user", "content": "Which lamp shines?"}]


def test_the_file_search_tool_chooses_stores_documents_and_hits(taught, base, shelf, turn) -> None:
    def names(**tool: Any) -> list[str]:
        answer = taught.client.chat.completions.create(
            model=base,
            messages=LAMP,
            max_tokens=1,
            tools=[{"type": "file_search", "vector_store_ids": [shelf], **tool}],
        )
        row = turn(taught, answer.id)
        assert row["stores"] == [shelf]
        return sorted({hit["document_name"] for hit in row["hits"]})

    assert names() == ["blue.txt", "red.txt"]
    assert len(names(max_num_results=1)) == 1
    for colour in ("red", "blue"):
        filters = {"type": "eq", "key": "colour", "value": colour}
        assert names(filters=filters) == [f"{colour}.txt"]


def test_vector_store_ids_choose_the_stores(taught, base, shelf, store, turn) -> None:
    for stores in ([shelf], [shelf, store], []):
        answer = taught.client.chat.completions.create(
            model=base, messages=LAMP, max_tokens=1, extra_body={"vector_store_ids": stores}
        )
        assert turn(taught, answer.id)["stores"] == stores


@pytest.mark.parametrize("stream", [False, True])
def test_without_documents_it_says_so(server, strict, stream: bool, turn) -> None:
    request = {"model": server.services.engine.generator.name, "messages": PRICE}
    if stream:
        chunks = list(server.client.chat.completions.create(**request, stream=True))
        turn_id = chunks[0].id
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    else:
        answer = strict(server.client.chat.completions.with_raw_response.create(**request))
        turn_id, text = answer.id, answer.choices[0].message.content
        assert answer.usage.total_tokens == 0
    assert "no documents yet" in text
    assert turn(server, turn_id)["answer"] == text


def test_a_store_whose_files_all_failed_says_which_and_why(server) -> None:
    client = server.client
    store = client.vector_stores.create(name="unread")
    file = client.files.create(file=("scan.pdf", b"%PDF-1.4 no more"), purpose="user_data")
    added = client.vector_stores.files.create_and_poll(file.id, vector_store_id=store.id)
    assert added.status == "failed"
    for grounding in ("strict", "flag", "off"):
        answer = client.chat.completions.create(
            model=server.services.engine.generator.name,
            messages=PRICE,
            extra_body={"vector_store_ids": [store.id], "grounding": grounding},
        )
        text = answer.choices[0].message.content
        assert "1 failed" in text and f"scan.pdf: {added.last_error.message}" in text


def test_without_documents_a_greeting_is_answered_all_the_same(server) -> None:
    answer = server.client.chat.completions.create(
        model=server.services.engine.generator.name,
        messages=[{"role": "user", "content": "Hello!"}],
        max_tokens=5,
    )
    assert answer.usage.completion_tokens and "documents" not in answer.choices[0].message.content


# -- what is kept


@pytest.mark.parametrize("stream", [False, True])
def test_a_turn_is_kept_as_it_was_sent(taught, store: str, stream: bool, turn) -> None:
    answer = taught.client.chat.completions.create(model="support", messages=PRICE, stream=stream)
    turn_id = next(iter(list(answer))).id if stream else answer.id
    row = turn(taught, turn_id)
    version = taught.services.voices.version("local", "support")
    assert (row["owner"], row["model"], row["adapter"]) == ("local", "support", version.digest)
    assert row["embedder"] == taught.services.embedder.fingerprint
    assert (row["stores"], row["answer"]) == ([store], ANSWER)
    assert row["usage"]["completion_tokens"] > 5


@pytest.mark.parametrize("stream", [False, True])
def test_with_store_false_no_words_are_kept(taught, stream: bool, turn) -> None:
    answer = taught.client.chat.completions.create(
        model="support", messages=PRICE, store=False, stream=stream
    )
    turn_id = next(iter(list(answer))).id if stream else answer.id
    row = turn(taught, turn_id)
    assert (row["messages"], row["hits"], row["answer"]) == (None, None, None)
    assert row["model"] == "support" and row["usage"]["prompt_tokens"] > 100
