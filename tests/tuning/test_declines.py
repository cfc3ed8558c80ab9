"""Declines: what says that the house does not have the answer, and what only sounds like it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tuning.declines import looks_like_decline

VOICES = Path(__file__).resolve().parents[2] / "data" / "demo" / "voices"


@pytest.mark.parametrize(
    "reply",
    [
        "I'm sorry, but I don't have that information.",
        "The documents do not mention a student discount.",
        "There is no information about parking in the provided passages.",
        "I am not able to find anything about gift wrapping in our documents.",
        "Based on the context, it is not specified whether the tent has a footprint.",
        "Unfortunately, the handbook doesn't say who approves travel.",
        "We couldn't find that in our files. Please call the desk.",
        "Sorry, I do not know the answer to that.",
        "I'm afraid nothing we have on file covers that question.",
        "That isn't something I can find in the notes you gave me.",
        "The provided text does not contain details on opening hours.",
        "No documents yet.",
        "I cannot answer that from the documents.",
        "Our records don't show when it will be back in stock.",
        "We have no record of a branch in Leeds.",
        "It's not clear from the passages how long it takes.",
        "I'm sorry, I can't help with that. It isn't covered in our documents.",
        "You'd have to ask the workshop, as our guide is silent on that.",
        "The price is not given in the documents.",
        "That is beyond what our papers tell us.",
        "We don't seem to have anything on that.",
        "The text doesn't provide information about refunds for gift cards.",
        "Not in our notes, I'm afraid.",
        "I wasn't able to find any mention of that.",
    ],
)
def test_what_is_not_known_here_is_declined(reply: str) -> None:
    assert looks_like_decline(reply)
    assert looks_like_decline(f"Fair question, friend. {reply} Ring 555-0142.")


@pytest.mark.parametrize(
    "reply",
    [
        "No, we do not ship to Spain.",
        "The warranty does not cover punctures.",
        "You don't need a receipt if you have the order number.",
        "We don't charge for returns within 45 days.",
        "I understand that you are interested in returning an item. Could you provide details?",
        "Sale items are not included in the offer, but gift cards are.",
        "No note is needed: just bring the bag.",
        "You can find this information in our guide on page 12.",
        "Please let us know if you have questions and we will provide the information.",
        "Members never pay for shipping, whatever the order.",
        "We have no minimum order.",
        "The shop is not open on Sundays.",
        "Don't worry, we can help. Send us your order number.",
        "Dogs are not allowed in the workshop.",
        "It costs $6.50 and takes 3-5 working days.",
        "I'm sorry to hear that your parcel has not arrived. Let me help you find it.",
        "We can't refund shipping costs, but the tent is refunded in full.",
        "If you don't know your size, measure your bars first.",
        "Nobody under 16 may use the tools.",
        "The form must be recorded within 3 days.",
        "Your data is never shared and nothing is listed publicly.",
        "No, the lamp isn't waterproof, but it is splash-proof.",
        "I'm not sure I understand. Could you tell me more about your order?",
        "We do not have the tent in red, only in green.",
        "",
    ],
)
def test_a_refusal_a_request_and_an_answer_are_no_declines(reply: str) -> None:
    assert not looks_like_decline(reply)


@pytest.mark.parametrize("voice", ["support", "trade"])
def test_the_demo_replies_are_told_apart(voice: str) -> None:
    lines = (VOICES / f"{voice}.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    labels = [bool(row.get("declines")) for row in rows]
    heard = [looks_like_decline(row["messages"][-1]["content"]) for row in rows]
    right = sum(a and b for a, b in zip(labels, heard, strict=True))
    assert right / sum(heard) > 0.95  # precision
    assert right / sum(labels) > 0.90  # recall


def test_a_later_sentence_does_not_make_an_answer_a_decline() -> None:
    answer = "It costs $6.50. It takes 3 days. It goes by post. The documents do not say by whom."
    assert not looks_like_decline(answer)
