"""Grounding over the wire: the policy is chosen per request, and the turn tells what it did."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import openai
import pytest

from tuning.declines import looks_like_decline

PRICE: Any = [{"role": "user", "content": "What is the price of bag 7?"}]


@pytest.fixture(scope="module")
def grounded(server, teacher):
    """A server with documents, where the base model speaks (it writes letters)."""
    teacher(server.client).ingest()
    return server


def ask(server, grounding: str, **request: Any) -> Any:
    return server.client.chat.completions.create(
        model=request.pop("model", server.services.engine.generator.name),
        messages=request.pop("messages", PRICE),
        max_tokens=12,
        extra_body={"grounding": grounding},
        **request,
    )


def test_under_strict_an_invention_is_never_sent(grounded, turn) -> None:
    free = ask(grounded, "off")
    invented = free.choices[0].message.content
    answer = ask(grounded, "strict")
    (message,) = [choice.message for choice in answer.choices]
    assert invented not in message.content
    row = turn(grounded, answer.id)
    assert row["policy"] == "strict" and row["changes"]
    assert turn(grounded, free.id)["policy"] == "off"
    cited = message.model_extra["citations"]
    assert bool(cited) is not looks_like_decline(message.content)
    for citation in cited:
        text = grounded.services.library.document_text(row["stores"][0], citation["file_id"])
        assert text[citation["start"] : citation["end"]] == citation["text"]
        assert len(citation["spans"]) == message.content.count(f"[{citation['index']}]")
        for start, end in citation["spans"]:
            assert text[start:end] in citation["text"] and text[start:end].strip()


def test_under_strict_a_stream_says_what_the_whole_answer_says(grounded) -> None:
    whole = ask(grounded, "strict").choices[0].message
    chunks = list(ask(grounded, "strict", stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == whole.content


def test_flag_keeps_what_the_model_wrote_and_marks_it(grounded, turn) -> None:
    free = ask(grounded, "off").choices[0].message.content
    answer = ask(grounded, "flag")
    text = answer.choices[0].message.content
    assert text.startswith(free[:5]) and "[unsupported]" in text
    assert turn(grounded, answer.id)["changes"]


def test_a_voice_does_not_learn_the_marks_of_flag(grounded) -> None:
    answer = ask(grounded, "flag")
    body = {"turn": answer.id, "rating": "up"}
    one = grounded.client.post("/feedback", body=body, cast_to=dict[str, Any])
    assert "[unsupported]" in one["answer"]
    assert "[unsupported]" not in grounded.services.feedback.get("local", one["id"]).reply
    grounded.client.delete(f"/feedback/{one['id']}", cast_to=dict)


def test_a_greeting_is_left_alone(grounded, turn) -> None:
    answer = ask(grounded, "strict", messages=[{"role": "user", "content": "Hello!"}])
    assert turn(grounded, answer.id)["policy"] == "off"


def test_an_unknown_policy_is_refused(grounded) -> None:
    with pytest.raises(openai.BadRequestError, match="strict, flag, off"):
        ask(grounded, "loose")


def test_its_owner_can_read_what_the_model_saw_and_what_was_changed(grounded) -> None:
    answer = ask(grounded, "strict")
    turn = grounded.client.get(f"/turns/{answer.id}", cast_to=dict[str, Any])
    assert turn["object"] == "turn" and turn["policy"] == "strict"
    assert turn["answer"] == answer.choices[0].message.content
    assert turn["messages"][-1]["content"].endswith(PRICE[0]["content"])
    assert turn["conversation"] == PRICE and turn["changes"]
    assert {"was", "now", "reason"} == set(turn["changes"][0])
    assert [hit["filename"] for hit in turn["hits"]]
    assert turn["usage"]["prompt_tokens"] == answer.usage.prompt_tokens


def test_another_owners_turn_is_not_found(grounded) -> None:
    answer = ask(grounded, "strict")
    grounded.services.database.write(
        lambda connection: connection.execute(
            "UPDATE turns SET owner = 'somebody' WHERE id = ?", (answer.id,)
        )
    )
    with pytest.raises(openai.NotFoundError, match=answer.id):
        grounded.client.get(f"/turns/{answer.id}", cast_to=dict[str, Any])
    with pytest.raises(openai.NotFoundError, match=answer.id):
        opened(grounded, answer.id, 1)


def test_under_strict_annotations_of_a_response_stand_behind_what_their_files_say(grounded) -> None:
    def respond(**more: Any) -> Any:
        return grounded.client.responses.create(
            model=grounded.services.engine.generator.name,
            input="When do you open, and what is the price of bag 7?",
            max_output_tokens=12,
            extra_body={"grounding": "strict"},
            **more,
        )

    whole = respond()
    events = list(respond(stream=True))
    streamed = events[-1].response
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    added = [
        event.annotation.model_dump()
        for event in events
        if event.type == "response.output_text.annotation.added"
    ]
    (content,) = whole.output[-1].content
    assert streamed.output_text == whole.output_text == "".join(deltas)
    assert streamed.output[-1].content[0].annotations == content.annotations
    assert added == [annotation.model_dump() for annotation in content.annotations]
    assert content.annotations, "the extract is cited"
    store = grounded.services.default_store("local")
    for annotation in content.annotations:
        said = content.text[: annotation.index]
        quoted = said[said.rindex("“") + 1 : said.rindex("”")]
        assert said.endswith("”") and content.text[annotation.index :].startswith(" [")
        assert quoted in grounded.services.library.document_text(store, annotation.file_id)
        assert grounded.client.files.retrieve(annotation.file_id).filename == annotation.filename
    turn = grounded.client.get(f"/turns/{whole.id}", cast_to=dict[str, Any])
    assert (turn["policy"], turn["answer"]) == ("strict", whole.output_text)


def opened(server, turn_id: str, citation: int) -> dict[str, Any]:
    body = {"citation": citation}
    return server.client.post(f"/turns/{turn_id}/opened", cast_to=dict[str, Any], body=body)


def test_a_turn_keeps_what_was_cited_and_which_citations_were_opened(grounded) -> None:
    answer = ask(grounded, "off", messages=[{"role": "user", "content": "Hello!"}])
    with pytest.raises(openai.BadRequestError, match="cites nothing"):
        opened(grounded, answer.id, 1)
    (hit,) = grounded.services.library.search(
        [grounded.services.default_store("local")], "price", k=1
    )
    turn = grounded.services.turns.turn("local", answer.id)
    cited = replace(turn, id="chatcmpl-cited", citations=[asdict(hit)])
    grounded.services.turns.record(cited)
    for number in (0, 2):
        with pytest.raises(openai.BadRequestError, match=f"no citation {number}"):
            opened(grounded, "chatcmpl-cited", number)
    assert opened(grounded, "chatcmpl-cited", 1)["opened"] == [1]
    told = opened(grounded, "chatcmpl-cited", 1)  # once more is as once
    assert told["opened"] == [1] and told["citations"][0]["text"] == hit.passage.text


def test_what_an_answer_cites_is_in_its_turn(grounded) -> None:
    answer = ask(grounded, "strict", messages=[{"role": "user", "content": "When do you open?"}])
    cited = answer.choices[0].message.model_extra["citations"]
    turn = grounded.client.get(f"/turns/{answer.id}", cast_to=dict[str, Any])
    for name in ("text", "spans"):
        assert [one[name] for one in turn["citations"]] == [one[name] for one in cited]


def test_an_unknown_turn_is_not_found(grounded) -> None:
    with pytest.raises(openai.NotFoundError, match="chatcmpl-none"):
        grounded.client.get("/turns/chatcmpl-none", cast_to=dict[str, Any])
    with pytest.raises(openai.NotFoundError, match="chatcmpl-none"):
        opened(grounded, "chatcmpl-none", 1)


def test_of_a_turn_that_was_not_stored_only_the_figures_are_told(grounded) -> None:
    answer = ask(grounded, "strict", store=False)
    turn = grounded.client.get(f"/turns/{answer.id}", cast_to=dict[str, Any])
    assert turn["messages"] is turn["answer"] is turn["hits"] is turn["changes"] is None
    assert turn["usage"]["prompt_tokens"] > 0
