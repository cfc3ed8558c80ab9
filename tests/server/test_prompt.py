"""Prompts: built in one way, within their budget, the best passage next to the question."""

from __future__ import annotations

import hashlib
import json

from hypothesis import given
from hypothesis import strategies as st

from server.prompt import (
    FIXTURES,
    MESSAGE_TOKENS,
    VERSION,
    WITH_PASSAGES,
    WITHOUT_PASSAGES,
    Evidence,
    build,
)

WORDS = st.lists(st.sampled_from(["rain", "tent", "45", "days", "\n"]), min_size=1, max_size=40)
TEXT = WORDS.map(" ".join)
EVIDENCE = st.builds(Evidence, TEXT, st.none() | st.sampled_from(["Returns", "rain"]))


def words(text: str) -> int:
    return len(text.split())


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def test_a_prompt_with_passages_puts_the_best_next_to_the_question() -> None:
    evidence = [Evidence("Returns are taken\nfor 45 days.", "Returns"), Evidence("$7", "Costs")]
    prompt = build([user("How long?")], evidence, budget=100, count_tokens=words)
    assert prompt.shown == 2
    assert list(prompt.messages) == [
        {"role": "system", "content": WITH_PASSAGES},
        user("Costs: $7\n\nReturns are taken for 45 days.\n\nQuestion: How long?"),
    ]


def test_highlights_stand_between_the_passages_and_the_question() -> None:
    evidence = [Evidence("Returns are taken for 45 days. Bring it.", "Returns")]
    best = [Evidence("Returns are taken\nfor 45 days.", "Returns")]
    told = [
        build([user("How long?")], evidence, budget=100, count_tokens=words, highlights=given)
        .messages[-1]["content"]
        .split("\n\n")[1:-1]
        for given in (None, best, [])
    ]
    assert told == [
        [],
        ["Most to the point: Returns are taken for 45 days."],
        ["None of these passages seems to answer the question."],
    ]


def test_without_passages_nothing_is_said_of_them() -> None:
    prompt = build([user("Hello")], [], budget=100, count_tokens=words, highlights=[])
    assert prompt.messages[-1] == user("Hello")


def test_a_prompt_without_passages_is_the_question_alone() -> None:
    prompt = build([user("Good morning")], [], budget=100, count_tokens=words)
    assert list(prompt.messages) == [
        {"role": "system", "content": WITHOUT_PASSAGES},
        user("Good morning"),
    ]
    assert prompt.shown == 0


def test_a_callers_system_message_stands_before_the_houses_own() -> None:
    talk = [user("Hi"), {"role": "assistant", "content": "Hello."}]
    messages = [{"role": "system", "content": "Be kind."}, *talk, user("How long?")]
    prompt = build(messages, [], budget=100, count_tokens=words)
    system = {"role": "system", "content": f"Be kind.\n\n{WITHOUT_PASSAGES}"}
    assert list(prompt.messages) == [system, *talk, user("How long?")]


@given(evidence=st.lists(EVIDENCE, min_size=1, max_size=6), budget=st.integers(1, 120))
def test_the_passages_shown_are_the_first_and_fit_the_budget(
    evidence: list[Evidence], budget: int
) -> None:
    prompt = build([user("Q?")], evidence, budget=budget, count_tokens=words)
    *passages, question = prompt.messages[-1]["content"].split("\n\n")
    assert question == "Question: Q?" and 1 <= prompt.shown == len(passages) <= len(evidence)
    best_last = [" ".join(item.text.split()) for item in evidence[: prompt.shown]][::-1]
    if prompt.shown > 1:
        assert all(p.endswith(text) for p, text in zip(passages, best_last, strict=True))
        assert sum(map(words, passages)) <= budget
    else:
        shown = passages[0].removeprefix(f"{evidence[0].heading}: ")
        assert best_last[0].startswith(shown), "the first is shown, cut where it must be"
    if prompt.shown < len(evidence):
        following = build([user("Q?")], evidence[prompt.shown :], budget=999, count_tokens=words)
        size = words(following.messages[-1]["content"].split("\n\n")[-2])
        assert sum(words(p) + 2 for p in passages) + size + 2 > budget or prompt.shown == 1


def test_a_first_passage_over_the_budget_is_cut_to_about_the_budget() -> None:
    evidence = [Evidence("rain " * 1000)]
    prompt = build([user("Q?")], evidence, budget=100, count_tokens=words)
    assert 80 <= words(prompt.messages[-1]["content"]) <= 104


def turns(*sizes: int) -> list[dict[str, str]]:
    """A talk of so many words a message, the user's first."""
    roles = ("user", "assistant")
    return [
        {"role": roles[n % 2], "content": f"m{n} " + "word " * (size - 1)}
        for n, size in enumerate(sizes)
    ]


@given(sizes=st.lists(st.integers(1, 60), max_size=12), room=st.integers(1, 400))
def test_a_talk_that_is_too_long_loses_its_oldest_turns_whole(sizes: list[int], room: int) -> None:
    talk = turns(*sizes)
    prompt = build([*talk, user("Q?")], [], budget=100, count_tokens=words, room=room)
    system, *kept, question = prompt.messages
    assert (system["content"], question) == (WITHOUT_PASSAGES, user("Q?"))
    assert kept == talk[len(talk) - len(kept) :]
    assert not kept or kept[0]["role"] == "user"

    def tokens(messages: list[dict[str, str]]) -> int:
        return sum(words(message["content"]) + MESSAGE_TOKENS for message in messages)

    assert not kept or tokens([system, *kept, question]) <= room
    longer = [*talk[max(len(talk) - len(kept) - 2, 0) : len(talk) - len(kept)], *kept]
    if len(talk) % 2 == 0 and longer != kept:
        assert tokens([system, *longer, question]) > room, "no turn is left out needlessly"


def test_a_talk_that_the_house_begins_is_kept_where_it_fits() -> None:
    talk = [{"role": "assistant", "content": "Welcome."}, *turns(3, 3)]
    for room, kept in ((100, talk), (55, talk[1:])):
        prompt = build([*talk, user("Q?")], [], budget=100, count_tokens=words, room=room)
        assert list(prompt.messages[1:-1]) == kept


def test_what_cannot_fit_is_not_even_counted() -> None:
    def count(text: str) -> int:
        assert len(text) < 1_000_000
        return words(text)

    talk = [user("x" * 1_000_000), {"role": "assistant", "content": "Fine."}, *turns(3, 3)]
    prompt = build([*talk, user("Q?")], [], budget=100, count_tokens=count, room=200)
    assert list(prompt.messages[1:-1]) == talk[2:]


def test_a_long_question_leaves_less_for_passages_and_passages_less_for_the_talk() -> None:
    evidence = [Evidence("rain " * 40), Evidence("tent " * 40)]
    question = user("why " * 100)
    for room, shown, kept in ((400, 2, 4), (260, 2, 2), (240, 2, 0), (200, 1, 0)):
        prompt = build(
            [*turns(10, 10, 10, 10), question],
            evidence,
            budget=100,
            count_tokens=words,
            room=room,
        )
        assert (prompt.shown, len(prompt.messages) - 2) == (shown, kept), room


def test_the_same_question_and_hits_give_the_same_prompt() -> None:
    evidence = [Evidence("Returns are taken for 45 days.", "Returns")]
    messages = (user("How long?"),)
    first = build(messages, evidence, budget=100, count_tokens=words)
    assert build(messages, evidence, budget=100, count_tokens=words) == first
    assert messages == (user("How long?"),), "the caller's messages are left as they are"


def test_version_2_builds_what_it_has_always_built() -> None:
    # Voices were trained on this very form. Another form is another version.
    digest = hashlib.sha256(json.dumps(FIXTURES, sort_keys=True).encode()).hexdigest()
    assert (VERSION, digest[:16]) == (2, "bab7e9f1097cd08e")
