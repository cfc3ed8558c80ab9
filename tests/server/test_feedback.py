"""/v1/feedback: whose turns can be rated, what is kept of them, and what a review makes of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import openai
import pytest
from openai import OpenAI

from server.feedback import Feedback, preference_pairs
from server.turns import Turn

QUESTION = "What is the price of bag 3?"


@pytest.fixture
def client(taught) -> Iterator[OpenAI]:
    """The shared server's client; what was said is taken back afterwards."""
    yield taught.client
    for one in listed(taught.client, limit=100)["data"]:
        taught.client.delete(f"/feedback/{one['id']}", cast_to=dict)


def ask(client: OpenAI, text: str = QUESTION, model: str = "support", **more: Any) -> Any:
    messages: Any = [{"role": "user", "content": text}]
    more = {"max_tokens": 24, "messages": messages, **more}
    return client.chat.completions.create(model=model, **more)


def rate(client: OpenAI, turn: str, rating: str = "up", **more: Any) -> dict[str, Any]:
    body = {"turn": turn, "rating": rating, **more}
    return client.post("/feedback", body=body, cast_to=dict)


def review(client: OpenAI, feedback_id: str, status: str, **more: Any) -> dict[str, Any]:
    return client.post(f"/feedback/{feedback_id}", body={"status": status, **more}, cast_to=dict)


def listed(client: OpenAI, **query: Any) -> dict[str, Any]:
    return client.get("/feedback", options={"params": query}, cast_to=dict)


def test_a_rated_turn_keeps_the_conversation_as_the_user_gave_it(client: OpenAI) -> None:
    answer = ask(client)
    one = rate(client, answer.id, "up", comment="Short and right.")
    assert one["turn"] == answer.id and one["object"] == "feedback"
    assert one["messages"] == [{"role": "user", "content": QUESTION}]  # no passages
    assert one["answer"] == answer.choices[0].message.content
    assert (one["voice"], one["model"]) == ("support", "support")
    assert one["adapter"] == answer.model_extra["houseword"]["adapter"]
    assert (one["status"], one["comment"], one["job_id"]) == ("pending", "Short and right.", None)
    assert client.get(f"/feedback/{one['id']}", cast_to=dict) == one


def test_streamed_turns_and_fixed_versions_can_be_rated(client: OpenAI) -> None:
    version = client.get("/voices/support", cast_to=dict)["active"]
    *_, last = ask(client, stream=True, model=version)
    assert rate(client, last.id)["voice"] == "support"


def test_the_base_has_no_voice_but_one_can_be_told_to_learn(taught, client: OpenAI) -> None:
    answer = ask(client, model=taught.services.engine.generator.name)
    assert rate(client, answer.id)["voice"] is None
    taught_one = rate(client, answer.id, "down", edited="Bags cost 45.", voice="support")
    assert taught_one["voice"] == "support"
    with pytest.raises(openai.NotFoundError):
        rate(client, answer.id, voice="nobody")


def test_rating_again_replaces_what_was_said_and_its_review(client: OpenAI) -> None:
    answer = ask(client)
    first = rate(client, answer.id)
    review(client, first["id"], "approved")
    again = rate(client, answer.id, "down", edited="Bags cost 45, as ever.")
    assert again["id"] == first["id"] and again["status"] == "pending"
    assert (again["rating"], again["edited"]) == ("down", "Bags cost 45, as ever.")
    assert len(listed(client)["data"]) == 1


def test_unknown_turns_of_others_and_expired_ones_are_404(taught, client: OpenAI) -> None:
    def turn(turn_id: str, owner: str, created_at: int) -> str:
        words = [{"role": "user", "content": "Mine?"}]
        taught.services.turns.record(
            Turn(turn_id, owner, created_at, "m", None, "e", (), words, [], "Yes.", {}, words)
        )
        return turn_id

    others = turn("chatcmpl-others", "somebody", 2**31)
    expired = turn("chatcmpl-expired", "local", 1_000_000)
    for turn_id in ("chatcmpl-unknown", others, expired):
        with pytest.raises(openai.NotFoundError) as missing:
            rate(client, turn_id)
        assert missing.value.body.keys() == {"message", "type", "param", "code"}
        assert missing.value.code == "turn_not_found" and "30 days" in missing.value.message


def test_a_turn_that_was_not_to_be_stored_cannot_be_rated(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="store: false") as refused:
        rate(client, ask(client, store=False).id)
    assert refused.value.code == "turn_not_stored"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"rating": "meh"}, "rating"),
        ({"edited": " "}, "empty"),
        ({"edited": "long " * 1000}, "context"),
        ({"rating": None}, "rating"),
    ],
)
def test_what_cannot_be_said_is_refused(client: OpenAI, body: dict[str, Any], said: str) -> None:
    turn = ask(client).id
    with pytest.raises(openai.BadRequestError, match=said):
        rate(client, turn, **{"rating": "up", **body})
    assert listed(client)["data"] == []


def test_the_list_is_filtered_and_read_page_by_page(client: OpenAI) -> None:
    ids = []
    for number in range(3):
        one = rate(client, ask(client, max_tokens=1).id, "down" if number == 1 else "up")
        ids.append(one["id"])
    review(client, ids[2], "rejected")
    first = listed(client, limit=2)
    assert [one["id"] for one in first["data"]] == [ids[2], ids[1]] and first["has_more"]
    rest = listed(client, limit=2, after=first["last_id"])
    assert [one["id"] for one in rest["data"]] == [ids[0]] and not rest["has_more"]
    for query, expected in (
        ({"rating": "down"}, [ids[1]]),
        ({"status": "rejected"}, [ids[2]]),
        ({"status": "pending", "rating": "up", "voice": "support"}, [ids[0]]),
        ({"voice": "nobody"}, []),
    ):
        assert [one["id"] for one in listed(client, **query)["data"]] == expected
    with pytest.raises(openai.BadRequestError):
        listed(client, after="fb_unknown")
    with pytest.raises(openai.BadRequestError):
        listed(client, status="maybe")


def test_a_review_approves_edits_and_rejects(client: OpenAI) -> None:
    one = rate(client, ask(client).id)
    approved = review(client, one["id"], "approved", edited=" Bags cost 45, friend. ")
    assert (approved["status"], approved["edited"]) == ("approved", "Bags cost 45, friend.")
    assert approved["reviewed_at"]
    rejected = review(client, one["id"], "rejected")
    assert (rejected["status"], rejected["edited"]) == ("rejected", "Bags cost 45, friend.")


def test_what_teaches_nothing_cannot_be_approved(client: OpenAI) -> None:
    down = rate(client, ask(client).id, "down")
    with pytest.raises(openai.BadRequestError, match="no edited reply"):
        review(client, down["id"], "approved")
    assert review(client, down["id"], "approved", edited="Better.")["status"] == "approved"

    messages = [{"role": "user", "content": "One."}, {"role": "user", "content": "Two."}]
    odd = rate(client, ask(client, messages=messages).id)
    with pytest.raises(openai.BadRequestError, match="alternate"):
        review(client, odd["id"], "approved")


def test_deleted_and_unknown_feedback_is_404(client: OpenAI) -> None:
    one = rate(client, ask(client).id)
    gone = client.delete(f"/feedback/{one['id']}", cast_to=dict)
    assert gone == {"id": one["id"], "object": "feedback", "deleted": True}
    for call in (
        lambda: client.get(f"/feedback/{one['id']}", cast_to=dict),
        lambda: client.delete(f"/feedback/{one['id']}", cast_to=dict),
        lambda: review(client, one["id"], "approved"),
    ):
        with pytest.raises(openai.NotFoundError):
            call()


def test_approved_edits_are_preference_pairs_without_citation_markers(client: OpenAI) -> None:
    answer = ask(client)
    assert "[1]" in answer.choices[0].message.content
    edited = rate(client, answer.id, "down", edited="Bags are 45, friend.")
    review(client, edited["id"], "approved")
    unedited = rate(client, ask(client).id)
    review(client, unedited["id"], "approved")
    rate(client, ask(client).id, "down", edited="Not approved yet.")
    text = client.get("/feedback/pairs", options={"params": {"voice": "support"}}, cast_to=str)
    (pair,) = [json.loads(line) for line in text.splitlines()]
    assert pair == {
        "input": {"messages": [{"role": "user", "content": QUESTION}]},
        "preferred_output": [{"role": "assistant", "content": "Bags are 45, friend."}],
        "non_preferred_output": [{"role": "assistant", "content": "Bags cost 45."}],
    }
    body = {"voice": "support"}
    made = client.post("/feedback/pairs", body=body, cast_to=dict)
    assert client.post("/feedback/pairs", body=body, cast_to=dict) == made
    file = client.files.retrieve(made["id"])
    assert (file.purpose, file.filename) == ("fine-tune", "support-pairs.jsonl")
    assert client.files.content(made["id"]).text == text
    client.files.delete(made["id"])


ONE = Feedback(
    id="fb_1",
    owner="local",
    turn_id="chatcmpl-1",
    voice="json",
    model="json",
    adapter=None,
    conversation=[{"role": "user", "content": "Which aisles?"}],
    answer='{"aisles": [1]}',
    cited=False,
    rating="up",
    edited=None,
    comment=None,
    created_at=0,
)


def test_thumbs_alone_make_pairs_where_the_same_was_answered_twice() -> None:
    good = replace(ONE, answer="Aisle 1.", status="approved")
    bad = replace(ONE, answer="No idea.", rating="down")
    elsewhere = replace(bad, conversation=[{"role": "user", "content": "Which shelf?"}])

    def lost(*others: Feedback) -> list[str]:
        pairs = preference_pairs([good, *others])
        assert all(pair["preferred_output"][0]["content"] == "Aisle 1." for pair in pairs)
        return [pair["non_preferred_output"][0]["content"] for pair in pairs]

    assert lost(bad, bad, elsewhere, replace(bad, voice="other", answer="Hm.")) == ["No idea."]
    assert lost(replace(bad, status="rejected"), replace(bad, rating="up")) == []
    assert lost(replace(bad, answer="Aisle 1.")) == []
    assert preference_pairs([replace(good, status="pending"), bad]) == []


def test_what_one_approved_and_another_rated_down_loses_only_to_its_own_edit() -> None:
    good = replace(ONE, answer="Aisle 1.", status="approved")
    edited = replace(good, rating="down", edited="Aisle 1, friend.")
    (pair,) = preference_pairs([good, edited])
    assert pair["preferred_output"][0]["content"] == "Aisle 1, friend."
    assert pair["non_preferred_output"][0]["content"] == "Aisle 1."


def test_a_reply_that_was_not_cited_keeps_its_own_brackets() -> None:
    assert ONE.example()["messages"][-1]["content"] == '{"aisles": [1]}'
    assert replace(ONE, cited=True, answer="Aisle 1 [1].").reply == "Aisle 1."


def test_without_pairs_there_is_no_file(client: OpenAI) -> None:
    assert client.get("/feedback/pairs", cast_to=str) == ""
    with pytest.raises(openai.BadRequestError, match="edited reply"):
        client.post("/feedback/pairs", body={}, cast_to=dict)
    with pytest.raises(openai.NotFoundError):
        client.post("/feedback/pairs", body={"voice": "nobody"}, cast_to=dict)


def test_only_approved_feedback_outlives_the_retention(taught, client: OpenAI) -> None:
    kept = review(client, rate(client, ask(client).id)["id"], "approved")
    rate(client, ask(client).id)
    assert taught.services.feedback.expire(before=2**31) == 1
    assert [one["id"] for one in listed(client)["data"]] == [kept["id"]]
