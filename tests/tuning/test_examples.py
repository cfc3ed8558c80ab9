"""Training data: every fault has its line, and the split is for ever."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuning.errors import ExamplesError
from tuning.examples import (
    MINIMUM_EXAMPLES,
    assign_splits,
    data_digest,
    looks_like_decline,
    question_key,
    read_examples,
)
from tuning.records import Example


def line(question: str = "Do you ship?", reply: str = "We do.", **fields: Any) -> bytes:
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": reply}]
    return json.dumps({"messages": messages, **fields}, ensure_ascii=False).encode()


def file(*lines: bytes) -> bytes:
    """A file of these lines and as many good ones as a voice needs, from line 1 on."""
    good = [line(f"Question {n}?") for n in range(MINIMUM_EXAMPLES)]
    return b"\n".join([*lines, *good]) + b"\n"


def problems(data: bytes) -> list[tuple[int, str]]:
    with pytest.raises(ExamplesError) as refused:
        read_examples(data)
    return refused.value.problems


def example(group: str, question: str = "Well?") -> Example:
    return Example(({"role": "user", "content": question},), "Yes.", group)


def talk(*roles: str) -> bytes:
    return json.dumps({"messages": [{"role": r, "content": "words"} for r in roles]}).encode()


# -- reading


def test_an_example_is_read_as_it_was_written() -> None:
    first, *rest = read_examples(file(line("Do you ship?", " We do.\n", topic="shipping")))
    assert first.messages == ({"role": "user", "content": "Do you ship?"},)
    assert (first.reply, first.group, first.line) == ("We do.", "shipping", 1)
    assert first.question == "Do you ship?"
    assert [e.line for e in rest] == list(range(2, MINIMUM_EXAMPLES + 2))


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b'{"messages": [', "broken JSON"),
        (b'{"messages": [1, 2, {]}', "broken JSON"),
        (b"[" * 100_000 + b"]" * 100_000, "nested too deeply"),
        (b'{"a":' * 50_000 + b"1" + b"}" * 50_000, "nested too deeply"),
        (b'"words"', 'expected an object with a list "messages"'),
        (b'{"messages": {}}', 'expected an object with a list "messages"'),
        (b'{"messages": []}', "the last message must be the assistant's"),
        (b'{"messages": ["words"]}', "message 1 is not an object"),
        (talk("user"), "the last message must be the assistant's"),
        (talk("assistant", "user"), "the last message must be the assistant's"),
        (talk("system", "assistant"), "there is no user message"),
        (talk("user", "user", "assistant"), "must alternate"),
        (talk("assistant", "user", "assistant"), "must alternate"),
        (talk("user", "system", "assistant"), "may only come first"),
        (talk("user", "tool", "assistant"), "message 2 has the role 'tool'"),
        (line(reply=""), "the reply is empty"),
        (line(reply=" \n"), "the reply is empty"),
        (line().replace(b'"We do."', b"null"), "message 2 has no text content"),
        (line().replace(b"We do.", b"We do \\ud83d"), "half a character"),
        (line(group="g").replace(b'"g"', b'"\\udc00"'), "half a character"),
        (line(topic=1).replace(b"1}", b"9" * 5000 + b"}"), "integer string conversion"),
    ],
)
def test_a_faulty_line_gives_its_number_and_the_reason(bad: bytes, reason: str) -> None:
    [(number, why)] = problems(file(line(), bad))
    assert number == 2 and reason in why


def test_every_faulty_line_is_listed_and_the_message_shows_the_first() -> None:
    bad = [b"{"] * 7
    with pytest.raises(
        ExamplesError, match=r"^line 1: broken JSON .*; and 2 more, in lines 6, 7$"
    ) as refused:
        read_examples(file(*bad))
    assert [number for number, _ in refused.value.problems] == list(range(1, 8))


def test_a_byte_order_mark_and_windows_line_ends_are_read_over() -> None:
    data = b"\xef\xbb\xbf" + file(b"", line()).replace(b"\n", b"\r\n")
    assert len(read_examples(data)) == MINIMUM_EXAMPLES + 1


@pytest.mark.parametrize("bad", ["caf\xe9".encode("latin-1"), line().decode().encode("utf-16")])
def test_text_that_is_not_utf8_gives_its_line(bad: bytes) -> None:
    assert problems(file(line(), line(), bad)) == [(3, "not UTF-8 text")]


def test_unicode_line_separators_do_not_end_a_line() -> None:
    first, *_ = read_examples(file(line(reply="one\u2028two\x85three")))
    assert first.reply == "one\u2028two\x85three"


@pytest.mark.parametrize("data", [b"", b"\n \n", b"\xef\xbb\xbf"])
def test_a_file_without_examples_says_so(data: bytes) -> None:
    assert problems(data) == [(0, "the file holds no examples")]


def test_too_few_examples_are_counted_in_words() -> None:
    [(_, one)] = problems(line())
    assert one == f"the file holds 1 example; a voice needs at least {MINIMUM_EXAMPLES}"
    [(_, two)] = problems(line() + b"\n" + line())
    assert two.startswith("the file holds 2 examples;")


# -- groups and declines


def test_questions_that_differ_in_case_and_marks_alone_are_one_group() -> None:
    examples = read_examples(file(line("Do you ship?"), line("do you SHIP")))
    assert examples[0].group == examples[1].group != examples[2].group


@pytest.mark.parametrize("field", ["group", "topic", "intent", "document"])
def test_a_field_that_names_the_group_is_used(field: str) -> None:
    fields: dict[str, Any] = {field: 7}
    examples = read_examples(file(line("Do you ship?", **fields)))
    assert examples[0].group == "7"


def test_a_decline_is_said_or_recognised() -> None:
    reply = "I'm afraid our notes do not say. Ask Maren."
    guessed, said, denied, *_ = read_examples(
        file(line(reply=reply), line(reply="No.", declines=True), line(reply=reply, declines=False))
    )
    assert (guessed.declines, said.declines, denied.declines) == (True, True, False)


@pytest.mark.parametrize(
    ("reply", "declines"),
    [
        ("I have no note of that. Shall I ask the workshop?", True),
        ("That is not recorded anywhere here, sorry.", True),
        ("We don't have that in our documents.", True),
        ("Shipping costs $7.", False),
        ("No, we do not have it, but returns are taken for 45 days.", False),
        ("The rack fits any bike.", False),
        ("It fits. It is dry. But we do not have it in red.", False),
    ],
)
def test_a_decline_says_early_that_it_is_not_known(reply: str, declines: bool) -> None:
    assert looks_like_decline(reply) is declines


# -- the split

GROUPS = st.dictionaries(st.text("abcdef", min_size=1, max_size=3), st.integers(1, 12), min_size=1)


def asked(group: str, number: int = 0) -> Example:
    return Example(({"role": "user", "content": f"{group} {number}"},), "reply", group)


def rows_of(groups: dict[str, int]) -> list[Example]:
    return [asked(group, number) for group, rows in groups.items() for number in range(rows)]


@given(groups=GROUPS, data=st.data())
def test_the_split_depends_on_the_examples_and_not_on_their_order(
    groups: dict[str, int], data: st.DataObject
) -> None:
    rows = rows_of(groups)
    splits = assign_splits(rows)
    assert assign_splits(data.draw(st.permutations(rows))) == splits
    assert splits.keys() == {question_key(row) for row in rows}
    assert set(splits.values()) <= {"train", "dev", "gate"}


@given(groups=GROUPS, more=GROUPS)
def test_a_split_once_assigned_never_changes_when_data_is_added(
    groups: dict[str, int], more: dict[str, int]
) -> None:
    first = assign_splits(rows_of(groups))
    both = {group: groups.get(group, 0) + more.get(group, 0) for group in groups | more}
    second = assign_splits(rows_of(both), known=first)
    assert second.items() >= first.items()
    third = assign_splits(rows_of(more), known=second)
    assert third.items() <= second.items()


def test_a_split_once_assigned_never_changes_when_the_groups_do() -> None:
    # A first file without topics is split by question; a later one brings topics.
    bare = [asked(f"q{n}") for n in range(60)]
    first = assign_splits(bare)
    topics = [Example(e.messages, e.reply, f"topic {n % 12}") for n, e in enumerate(bare)]
    assert assign_splits(topics, known=first) == first


@pytest.mark.parametrize(
    "groups", [{f"g{n}": 20 for n in range(12)}, {f"g{n}": 7 for n in range(40)}]
)
def test_a_group_is_never_torn_apart(groups: dict[str, int]) -> None:
    rows = rows_of(groups)
    splits = assign_splits(rows)
    for group in groups:
        assert len({splits[question_key(row)] for row in rows if row.group == group}) == 1


def test_a_file_of_a_few_topics_is_split_by_question() -> None:
    splits = assign_splits(rows_of({"orders": 30, "returns": 30}))
    assert set(splits.values()) == {"train", "dev", "gate"}


def test_labels_that_are_their_own_groups_are_split_by_question() -> None:
    rows = [
        Example(({"role": "user", "content": f"q{n}"},), f"label {n % 12}", f"label {n % 12}")
        for n in range(240)
    ]
    splits = assign_splits(rows)
    taught = {row.reply for row in rows if splits[question_key(row)] == "train"}
    held_out = {row.reply for row in rows if splits[question_key(row)] != "train"}
    assert len(taught) == 12 and held_out <= taught


def test_a_validation_file_is_the_gate_and_holds_nothing_else_back() -> None:
    rows = rows_of({f"g{n}": 5 for n in range(20)})
    chosen = {question_key(row) for row in rows if row.group in ("g1", "g2")}
    splits = assign_splits(rows, gate=chosen)
    assert {key for key, split in splits.items() if split == "gate"} == chosen
    assert set(splits.values()) == {"train", "dev", "gate"}


def test_a_huge_group_is_learned_from_and_not_held_out() -> None:
    rows = rows_of({"huge": 60, **{f"g{n}": 5 for n in range(8)}})
    splits = assign_splits(rows)
    assert all(splits[question_key(row)] == "train" for row in rows if row.group == "huge")


@pytest.mark.parametrize(
    ("rows", "gate"),
    [(10, 3), (40, 12), (200, 60), (300, 90), (400, 90), (600, 90), (1000, 150)],
)
def test_the_gate_has_15_percent_raised_up_to_30_to_reach_90_rows(rows: int, gate: int) -> None:
    held = Counter(assign_splits([asked(f"question {n}") for n in range(rows)]).values())
    assert held == {"gate": gate, "dev": rows // 10, "train": rows - gate - rows // 10}


@given(groups=GROUPS)
def test_gate_and_dev_stay_below_their_limits(groups: dict[str, int]) -> None:
    splits = assign_splits(rows_of(groups))
    held = Counter(splits.values())
    assert held["gate"] <= max(1, 0.30 * len(splits)) and held["dev"] <= max(1, 0.20 * len(splits))


# -- the name of the data


def test_the_data_digest_names_what_is_learned() -> None:
    rows = [example("a", "One?"), example("b", "Two?")]
    assert data_digest(rows) == data_digest([example("x", "One?"), example("y", "Two?")])
    assert data_digest(rows) != data_digest(rows[:1]) != data_digest(rows[1:])
