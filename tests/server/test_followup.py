"""A message that leans on the one before is searched with it; another one stands alone."""

from __future__ import annotations

import pytest

from server.followup import standalone

BEFORE = "Do you deliver to Alaska?"


def conversation(question: str) -> list[dict[str, str]]:
    return [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": BEFORE},
        {"role": "assistant", "content": "Yes, by sea."},
        {"role": "user", "content": question},
    ]


@pytest.mark.parametrize(
    "question",
    [
        "How much is it?",
        "And how long does a parcel take to get there by ship?",
        "What about Hawaii?",
        "For how many days?",
        "Why?",
    ],
)
def test_a_follow_up_is_searched_with_what_it_leans_on(question: str) -> None:
    assert standalone(conversation(question)) == f"{BEFORE}\n{question}"


@pytest.mark.parametrize(
    "question",
    [
        "What does the nickel version of the rear rack list at?",
        "At what temperature can the striped lining of my basket bag be washed?",
    ],
)
def test_a_question_that_names_its_subject_stands_alone(question: str) -> None:
    assert standalone(conversation(question)) == question


def test_a_follow_up_of_a_follow_up_is_searched_with_all_that_it_leans_on() -> None:
    talk = [*conversation("And the price?"), {"role": "user", "content": "Thanks! In blue?"}]
    assert standalone(talk) == f"{BEFORE}\nAnd the price?\nThanks! In blue?"
    alone = {"role": "user", "content": "Which tents keep rain out for three winters?"}
    assert standalone([*talk, alone]) == alone["content"]
    more = [*talk, alone, {"role": "user", "content": "How much?"}]
    assert standalone(more) == f"{alone['content']}\nHow much?"


def test_a_first_message_stands_alone() -> None:
    assert standalone(conversation("How much is it?")[-1:]) == "How much is it?"


def test_the_search_of_a_chat_follows_the_conversation(server, teacher, turn) -> None:
    store = teacher(server.client).ingest()
    messages = [
        {"role": "user", "content": "Tell me about bag 7."},
        {"role": "assistant", "content": "It is a bag."},
        {"role": "user", "content": "And the price?"},
    ]
    services = server.services
    answer = server.client.chat.completions.create(
        model=services.engine.generator.name, messages=messages, max_tokens=4
    )
    shown = [hit["passage"]["text"] for hit in turn(server, answer.id)["hits"]]
    wanted, alone = (
        [hit.passage.text for hit in services.library.search([store], text, k=6)]
        for text in ("Tell me about bag 7.\nAnd the price?", "And the price?")
    )
    assert shown == wanted[: len(shown)] != alone[: len(shown)]
