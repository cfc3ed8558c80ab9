"""The task is recognised from the data: replies, texts, labels and JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

from tuning.examples import read_examples
from tuning.records import Example
from tuning.task import Task, choose, read_json, recognise

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("Aurora", "Cedar", "Harbour", "Juniper", "Lantern", "Meadow", "Pebble", "Willow")


def examples(*pairs: tuple[str, str]) -> list[Example]:
    return [
        Example(({"role": "user", "content": request},), reply, request, line=number)
        for number, (request, reply) in enumerate(pairs, 1)
    ]


def by_others(voices: Path, *, reply: str = "output", limit: int | None = None) -> list[Example]:
    values = [json.loads(line) for line in voices.read_text().splitlines()]
    step = len(values) // limit if limit else 1
    return examples(*((value["input"], value[reply]) for value in values[::step]))


@pytest.fixture(scope="module")
def voices_by_others(shared_data: Path) -> Path:
    return shared_data / "voice"


# -- the demo's voices and sets by others


@pytest.mark.parametrize("name", ["support", "trade"])
def test_the_demo_voices_reply_from_the_documents(name: str) -> None:
    task = recognise(read_examples((ROOT / f"data/demo/voices/{name}.jsonl").read_bytes()))
    assert (task.kind, task.uses_documents, task.labels) == ("reply", True, ())
    assert "of the replies' words" in task.reasons[0]


def test_support_replies_by_others_use_documents(voices_by_others: Path) -> None:
    task = recognise(by_others(voices_by_others / "bitext-support.jsonl"))
    assert (task.kind, task.uses_documents) == ("reply", True)


def test_clinic_notes_hold_what_the_dialogue_holds(voices_by_others: Path) -> None:
    notes = by_others(voices_by_others / "mts-dialog.jsonl")
    task = recognise(notes)
    assert (task.kind, task.uses_documents) == ("text", False)
    few = [recognise(notes[start : start + 10]).kind for start in range(0, len(notes), 10)]
    assert few.count("text") >= 0.98 * len(few), "ten rows are enough to tell"


def test_intents_of_support_questions_are_labels(voices_by_others: Path) -> None:
    rows = by_others(voices_by_others / "bitext-support.jsonl", reply="intent", limit=400)
    task = recognise(rows)
    assert (task.kind, task.uses_documents) == ("label", False)
    assert len(task.labels) == len({row.reply for row in rows}) >= 20


# -- made for these tests


def descriptions() -> Iterable[tuple[str, str]]:
    for n, name in enumerate(NAMES * 2):
        yield (
            f"name: {name} lamp; colour: copper; battery: {20 + n} hours; weight: {300 + n} g",
            f"Meet the {name} lamp. In warm copper, at just {300 + n} g, it burns {20 + n} hours "
            "on one battery. Evenings are longer now.",
        )


def clauses() -> Iterable[tuple[str, str]]:
    for n, name in enumerate(NAMES * 2):
        yield (
            f"Tenant: {name} Ltd\nRent: {1000 + n},500\nTerm: {n + 2} years\nNotice: {30 + n} days",
            f"1.1 {name} Ltd (the Tenant) shall pay to the Landlord, without set-off, a yearly "
            f"rent of {1000 + n}500 for a term of {n + 2} years, determinable by either party upon "
            f"not less than {30 + n} days' prior written notice.",
        )


def summaries() -> Iterable[tuple[str, str]]:
    for name in NAMES * 2:
        yield (
            f"Notwithstanding the foregoing, {name} reserves the right to suspend, terminate or "
            "otherwise modify the account of any user who, in its reasonable opinion, has breached "
            "the provisions hereof, without incurring liability for any consequential damages "
            "whatsoever arising therefrom.",
            f"If you break the rules, {name} can close or change your account, and owes you "
            "nothing for the damage.",
        )


def records() -> Iterable[tuple[str, str]]:
    for n, name in enumerate(NAMES * 2):
        yield f"{name} wants {n} lamps", json.dumps({"name": name, "items": [{"lamps": n}]})


def tickets() -> Iterable[tuple[str, str]]:
    for n in range(15):
        yield f"My parcel {n} never came", "Shipping"
        yield f"Charged twice for {n}", "billing "
        yield f"Cannot log in at {n}", "account access"
    yield "Billed wrongly", "Billing"


@pytest.mark.parametrize(
    ("pairs", "kind"),
    [
        (descriptions(), "text"),
        (clauses(), "text"),
        (summaries(), "text"),
        (records(), "json"),
        (tickets(), "label"),
    ],
    ids=["descriptions", "clauses", "summaries", "records", "tickets"],
)
def test_tasks_with_their_facts_in_the_request_need_no_documents(
    pairs: Iterable[tuple[str, str]], kind: str
) -> None:
    rows = examples(*pairs)
    for some in (rows, rows[:10]):
        task = recognise(some)
        assert (task.kind, task.uses_documents) == (kind, False), task.reasons


def test_labels_are_told_apart_by_neither_case_nor_space() -> None:
    assert recognise(examples(*tickets())).labels == ("billing", "Shipping", "account access")


def test_json_in_a_code_fence_and_a_list_are_json() -> None:
    assert read_json('```json\n{"a": 1}\n```') == {"a": 1}
    assert read_json(" [1, 2]\n") == [1, 2]
    assert (
        read_json("12") is None and read_json("Fine.") is None and read_json("[" * 99_999) is None
    )


# -- odd data


def numbered(replies: Sequence[str]) -> list[Example]:
    return examples(*((f"What about number {n}?", reply) for n, reply in enumerate(replies)))


@pytest.mark.parametrize(
    ("replies", "kind"),
    [
        (["Yes", "No"] * 5, "label"),
        (["Fine."] * 12, "reply"),  # one reply is no choice
        ([f"word{n}" for n in range(12)], "reply"),  # one word each, and each another
        (["👍", "👎", "👍", "👍", "👎"] * 4, "label"),
        ([f"👍 {'🎉' * n}" for n in range(12)], "reply"),
        ([f"תקופת ההחזרה היא {n} יום מיום הקנייה" for n in range(12)], "reply"),
        (["שאלה", "תלונה"] * 6, "label"),
        ([f"退货期限为{n}天。" for n in range(12)], "reply"),
        ([*['{"a": 1}'] * 5, *["Dear friend, it takes three days."] * 5], "reply"),
    ],
)
def test_odd_replies_have_a_task_too(replies: list[str], kind: str) -> None:
    task = recognise(numbered(replies))
    assert task.kind == kind and task.uses_documents == (kind == "reply") and task.reasons


def test_a_mixed_set_says_so() -> None:
    replies = [*['{"a": 1}'] * 5, *["Dear friend, it takes three days."] * 5]
    assert recognise(numbered(replies)).reasons[0].startswith("50% of the replies are JSON")


def test_no_examples_are_a_reply_for_want_of_better() -> None:
    assert recognise([]).kind == "reply"


def test_fifty_thousand_rows_are_told_by_a_thousand() -> None:
    rows = numbered([f"Dear friend, it takes {n} days." for n in range(50_000)])
    assert recognise(rows).kind == "reply"


# -- what the user says goes


def test_the_user_may_name_the_task_and_the_use_of_documents() -> None:
    rows = numbered([f"Dear friend, it takes {n} days." for n in range(12)])
    assert choose(rows) == recognise(rows)
    assert choose(rows, kind="reply") == recognise(rows)
    text = choose(rows, kind="text")
    assert (text.kind, text.uses_documents) == ("text", False) and "named text" in text.reasons[0]
    assert choose(rows, kind="text", uses_documents=True).uses_documents
    bare = choose(rows, uses_documents=False)
    assert (bare.kind, bare.uses_documents) == ("reply", False)
    assert bare.reasons[-1] == "the documents are not used, as was asked"
    assert len(choose(rows, kind="label").labels) == 12
    with pytest.raises(ValueError, match="'poem' is not known; known are reply, text, label, json"):
        choose(rows, kind="poem")


def test_a_card_keeps_kind_documents_and_labels() -> None:
    task = Task("label", False, ("a", "b"), ("because",))
    assert task.to_json() == {"kind": "label", "uses_documents": False, "labels": ["a", "b"]}


# -- what looks like another task


@pytest.mark.parametrize(
    ("request_", "reply"),
    [
        ("How long does bag {n} last?", "Bag {n} lasts 4{n} years."),
        ("Tell me how long the bag lasts, {n}", "The bag lasts 4{n} years."),
        ("כמה עולה התיק {n}?", "שלום, התיק עולה 45 דולר ומגיע תוך שבוע"),
        ("Do you ship bag {n} to Canada?", "Friend, we ship the bag to Canada."),
    ],
)
def test_a_reply_that_echoes_its_question_still_needs_the_documents(
    request_: str, reply: str
) -> None:
    # Its words stand in the request, but the fact does not: without a search it would be made up.
    pairs = [(request_.format(n=n), reply.format(n=n)) for n in range(12)]
    assert recognise(examples(*pairs)).uses_documents


def test_a_few_canned_sentences_are_replies_and_no_labels() -> None:
    canned = ["We are open from nine.", "We are closed on Sunday."] * 6
    assert recognise(numbered(canned)).kind == "reply"
    assert recognise(numbered(["Yes.", "No."] * 6)).kind == "label"


def test_nan_is_no_json() -> None:
    assert read_json('{"a": NaN}') is None
