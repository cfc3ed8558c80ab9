"""The gate: what it wants written, what it makes of it, and that it can be asked again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from server.arms import by_house
from server.gate_prompts import CANDIDATE, GATE_ROWS, gate_prompts
from server.judging import measure
from server.probing import ASKINGS, PROBES, facts
from server.promote import judge
from server.prompt import HIGHLIGHTS, NO_HIGHLIGHTS, WITHOUT_PASSAGES, finds_nothing
from server.questions import voice_questions
from tuning.records import Row, Text

PASSAGE = "Returns are taken for {} days after delivery."


def row(n: int, *, split: str = "gate", kind: str = "gold") -> Row:
    passage = PASSAGE.format(100 + n)
    told = HIGHLIGHTS.format(passage)
    asked = {"role": "user", "content": f"{passage}\n\n{told}\n\nQuestion: How long is case {n}?"}
    return Row(
        messages=({"role": "system", "content": "Answer."}, asked),
        reply=f"Dear friend, {100 + n} days. Ride easy.",
        split=split,  # type: ignore[arg-type]
        kind=kind,
        group=str(n),
        passages=(passage,),
        question=f"How long is case {n}?",
    )


@pytest.fixture
def rows() -> list[Row]:
    train = [row(n, split="train") for n in range(40)]
    gate = [row(n) for n in range(40, 80)]
    return [*train, *gate, *(replace(g, kind="withheld", reply="Not here.") for g in gate)]


def test_few_gate_rows_are_filled_up_with_other_values(rows: list[Row]) -> None:
    filled, prompts = gate_prompts(rows, against=None)
    for kind, purpose in (("gold", "answer"), ("withheld", "decline")):
        copies = [row for row in filled if row.copy_of is not None and row.kind == kind]
        assert len(copies) == GATE_ROWS - 40
        for copy in copies:
            assert copy.copy_of is not None
            original = filled[copy.copy_of]
            assert (copy.kind, copy.group) == (kind, original.group)
            assert copy.passages != original.passages
            assert copy.passages[0] in copy.messages[-1]["content"]
            assert facts(copy) if kind == "gold" else copy.reply == original.reply
        ids = {prompt.id for prompt in prompts if prompt.id.startswith(f"{purpose}:")}
        assert len(ids) == GATE_ROWS


def test_a_row_whose_values_cannot_be_changed_is_not_asked_twice(rows: list[Row]) -> None:
    plain = [replace(row, passages=(), messages=row.messages[:1]) for row in rows]
    filled, _ = gate_prompts([replace(row, kind="none") for row in plain], against=None)
    assert all(row.copy_of is None for row in filled)


def test_answers_are_judged_where_the_prompt_does_not_say_that_there_is_none(
    rows: list[Row],
) -> None:
    def told_none(row: Row) -> Row:
        system, asked = row.messages
        passage, _, question = asked["content"].split("\n\n")
        content = "\n\n".join((passage, NO_HIGHLIGHTS, question))
        return replace(row, messages=(system, {**asked, "content": content}))

    told = [told_none(row) if n % 2 else row for n, row in enumerate(rows)]
    _, prompts = gate_prompts(told, against=None)
    asked = {p.id: p.messages[-1]["content"] for p in prompts}
    answers = [text for id_, text in asked.items() if id_.startswith("answer:")]
    assert len(answers) == 3 * 20 and not any(NO_HIGHLIGHTS in text for text in answers)
    declines = [text for id_, text in asked.items() if id_.startswith("decline:")]
    assert len(declines) == GATE_ROWS and any(NO_HIGHLIGHTS in text for text in declines)


def test_copies_keep_the_words_of_the_prompt_and_are_no_questions_of_a_verdict(
    rows: list[Row],
) -> None:
    passage = "You may put your Question to the desk in 2019, and None of the Answer desk minds."

    def withheld(row: Row) -> Row:
        system, asked = row.messages
        content = "\n\n".join((passage, NO_HIGHLIGHTS, f"Question: {row.question}"))
        messages = (system, {**asked, "content": content})
        return replace(row, messages=messages, passages=(passage,))

    made = [withheld(row) if row.kind == "withheld" else row for row in rows]
    filled, _ = gate_prompts(made, against=None)
    copies = [row for row in filled if row.copy_of is not None]
    assert copies and all(row.messages[0]["content"] == "Answer." for row in copies)
    declines = [row.messages for row in copies if row.kind == "withheld"]
    assert declines and all(map(finds_nothing, declines))
    assert voice_questions(filled) == voice_questions(made)


def test_what_a_label_voice_writes_is_judged_as_it_stands(rows: list[Row]) -> None:
    filled, prompts = gate_prompts(rows, against=None, kind="json")
    texts = [Text(p.id, "new" if p.adapter else None, '{"days": 7}', 3, "stop") for p in prompts]
    measured = measure(filled, texts, candidate="new", against=None, kind="json", policy="strict")
    (support,) = [m for m in measured.measures if m.name.startswith("support")]
    assert sum(support.candidate) == 0


def test_few_facts_are_probed_in_several_forms_of_words(rows: list[Row]) -> None:
    _, prompts = gate_prompts(rows, against=None)
    probes = [p for p in prompts if p.id.startswith("probe:") and p.adapter]
    words = {probe.messages[-1]["content"] for probe in probes}
    assert len(words) == len(probes) == min(PROBES, 40 * len(ASKINGS))


def test_variants_count_with_the_question_that_they_are_variants_of(rows: list[Row]) -> None:
    filled, prompts = gate_prompts(rows, against=None)
    again, _ = gate_prompts(filled, against=None)
    assert again == filled, "a gate that is asked again makes no copies of copies"
    texts = [Text(p.id, "new" if p.adapter else None, "7 days.", 3, "stop") for p in prompts]
    measured = measure(filled, texts, candidate="new", against=None)
    (expected,) = [m for m in measured.measures if m.name == "expected"]
    assert len(expected.candidate) == GATE_ROWS and len(set(expected.questions or ())) == 40
    assert measured.memorised is not None
    assert len(measured.memorised.candidate) == 120
    assert len(set(measured.memorised.questions or ())) == 40


def test_base_and_candidate_write_for_the_same_rows_and_probes_show_no_passage(
    rows: list[Row],
) -> None:
    _, prompts = gate_prompts(rows, against="active-digest")
    speakers: dict[str, set[str | None]] = {}
    for prompt in prompts:
        speakers.setdefault(prompt.id.partition(":")[0], set()).add(prompt.adapter)
    assert speakers == {
        "answer": {"active-digest", CANDIDATE},
        "decline": {"active-digest", CANDIDATE},
        "probe": {None, CANDIDATE},
        "style": {None},
        "loss": {"active-digest", CANDIDATE},
    }
    for prompt in prompts:
        if prompt.id.startswith("probe:"):
            assert prompt.messages[0]["content"] == WITHOUT_PASSAGES
            assert "days" not in prompt.messages[-1]["content"]


def test_only_a_voice_is_held_to_its_labels_and_only_in_its_answers(rows: list[Row]) -> None:
    for against in (None, "active-digest"):
        _, prompts = gate_prompts(rows, against=against, kind="label", grammar="g")
        held = {(p.id.partition(":")[0], p.adapter) for p in prompts if p.grammar == "g"}
        voices = {CANDIDATE, against} - {None}
        assert held == {(purpose, who) for purpose in ("answer", "decline") for who in voices}


def test_the_base_is_not_asked_for_style_where_a_drill_stands(rows: list[Row]) -> None:
    drilled = [
        replace(row, group="drill:returns.md") if row.split == "train" and n % 2 else row
        for n, row in enumerate(rows)
    ]
    filled, prompts = gate_prompts(drilled, against=None)
    asked = [filled[int(p.id.partition(":")[2])] for p in prompts if p.id.startswith("style:")]
    assert len(asked) == 20 and all(map(by_house, asked))


def test_the_purposes_take_turns_so_that_a_short_gate_has_some_of_each(rows: list[Row]) -> None:
    _, prompts = gate_prompts(rows, against=None)
    first = [prompt.id.partition(":")[0] for prompt in prompts[:16]]
    assert set(first) == {"answer", "decline", "probe", "style", "loss"}


def test_the_texts_of_both_are_measured_row_by_row(rows: list[Row]) -> None:
    filled, prompts = gate_prompts(rows, against=None)

    def text(prompt: Any) -> Text:
        purpose, _, index = prompt.id.partition(":")
        mine = prompt.adapter == CANDIDATE
        said = "I don't have that in our documents." if purpose == "decline" and mine else "7 days."
        if purpose == "answer" and mine:
            said = filled[int(index)].reply
        return Text(prompt.id, "new" if mine else None, said, 5, "stop")

    texts = [text(p) for p in prompts]
    measured = measure(filled, texts, candidate="new", against=None, policy="off")
    found = {m.name: (sum(m.candidate), sum(m.other)) for m in measured.measures}
    assert found["expected"] == (GATE_ROWS, 0)
    assert found["support"] == (GATE_ROWS, 0)
    assert found["declines"] == (GATE_ROWS, 0)
    assert found["false refusals"] == (0, 0)
    style = next(m for m in measured.measures if m.name == "style")
    assert sum(style.candidate) > sum(style.other)
    assert measured.memorised is not None and sum(measured.memorised.candidate) == 0
    assert measured.forgetting is None
    served = measure(filled, texts, candidate="new", against=None, policy="strict")
    support, drafts = [m for m in served.measures if m.name.startswith("support")]
    assert (sum(support.candidate), sum(support.other)) == (GATE_ROWS, GATE_ROWS)
    assert (sum(drafts.candidate), sum(drafts.other)) == (GATE_ROWS, 0)
    told = next(line for line in judge(served, against="base").reasons if "drafts" in line)
    assert told.startswith("support of drafts 0% -> 100%") and told.endswith("not decided by")


def answered(rows: list[Row], *, kind: str, mine: str, its: str) -> dict[str, Any]:
    """The measures of a task where the candidate says `mine` to every row, the base `its`."""
    chat = [replace(row, kind="chat", passages=()) for row in rows]
    filled, prompts = gate_prompts(chat, against=None, kind=kind)
    assert {prompt.id.partition(":")[0] for prompt in prompts} == {"answer", "loss"}
    prompts = [prompt for prompt in prompts if prompt.reply is None]
    texts = [
        Text(p.id, "new", mine, 3, "stop") if p.adapter else Text(p.id, None, its, 3, "stop")
        for p in prompts
    ]
    measured = measure(filled, texts, candidate="new", against=None, kind=kind)
    return {m.name: (sum(m.candidate), sum(m.other)) for m in measured.measures}


def test_labels_are_judged_by_how_many_are_right(rows: list[Row]) -> None:
    labelled = [replace(row, reply="refund") for row in rows if row.kind == "gold"]
    found = answered(labelled, kind="label", mine=" Refund", its="It is about a refund.")
    assert found == {"accuracy": (40, 0)}


def test_json_is_judged_by_its_form_and_its_fields(rows: list[Row]) -> None:
    structured = [replace(r, reply='{"a": 1, "b": 2}') for r in rows if r.kind == "gold"]
    found = answered(structured, kind="json", mine='{"a": 1, "b": 3}', its="a is 1")
    assert found == {"valid": (40, 0), "field accuracy": (20, 0)}


def test_texts_are_judged_by_what_they_share_with_the_houses_own_and_by_their_figures(
    rows: list[Row],
) -> None:
    chat = [replace(r, kind="chat", passages=()) for r in rows if r.kind == "gold"]
    filled, prompts = gate_prompts(chat, against=None, kind="text")
    said = {"style": "Well.", "answer": "It is 999 pounds."}  # no request holds such a figure
    texts = [
        Text(p.id, "new", filled[int(p.id.partition(":")[2])].reply, 3, "stop")
        if p.adapter
        else Text(p.id, None, said.get(p.id.partition(":")[0], ""), 3, "stop")
        for p in prompts
    ]
    measured = measure(filled, texts, candidate="new", against=None, kind="text")
    found = {m.name: (sum(m.candidate), sum(m.other)) for m in measured.measures}
    assert found["overlap"] == (40, 0) and found["figures"] == (40, 0)
    assert found["style"][0] > found["style"][1]


def test_the_houses_own_held_out_replies_are_read_and_their_loss_is_a_measure(
    rows: list[Row],
) -> None:
    rows = [*rows, replace(row(80), group="drill:returns.md")]
    filled, prompts = gate_prompts(rows, against="old")
    read = [prompt for prompt in prompts if prompt.id.startswith("loss:")]
    assert len({prompt.id for prompt in read}) == 40, "no drill, no copy, nothing withheld"
    assert all(p.reply == filled[int(p.id.partition(":")[2])].reply for p in read)
    speakers = {CANDIDATE: ("new", 1.5), "old": ("old", 2.0), None: (None, 2.0)}
    texts = [
        Text(p.id, who, p.reply or "7 days.", 9, "read", loss)
        for p in prompts
        for who, loss in (speakers[p.adapter],)
    ]
    alone = [text for text in texts if text.id.startswith("loss:")]
    assert measure(filled, alone, candidate="new", against="old").measures == ()
    measured = measure(filled, texts, candidate="new", against="old")
    reasons = judge(measured, against="active").reasons
    assert any("loss 2.000 -> 1.500 nats per token" in reason for reason in reasons)
    assert not any("not shown to be better" in reason for reason in reasons)


def test_rows_that_only_one_has_written_for_do_not_count(rows: list[Row]) -> None:
    filled, prompts = gate_prompts(rows, against=None)
    answers = [p for p in prompts if p.id.startswith("answer:")]
    half = [Text(p.id, None, "7 days.", 3, "stop") for p in answers if p.adapter is None]
    both = [*half, Text(half[0].id, "new", "8 days.", 3, "stop")]
    measured = measure(filled, both, candidate="new", against=None)
    assert {m.name: len(m.candidate) for m in measured.measures}["expected"] == 1


@pytest.mark.workers
def test_the_gate_of_a_small_voice_says_what_is_missing_and_can_be_asked_again(
    taught, teacher, chat_jsonl
) -> None:
    house = teacher(taught.client)
    chosen = {"n_epochs": 1, "learning_rate": 0.01, "batch_tokens": 2048, "gate_minutes": 2}
    job = house.wait(house.start(suffix="small", hyperparameters=chosen).id)
    result = job.model_extra["result"]
    names = {line["name"] for line in result["gate"]}
    assert {"support", "expected", "declines", "false refusals", "style", "forgetting"} <= names
    assert not result["promoted"]
    assert any("too little data" in reason.lower() for reason in result["reasons"])
    assert result["texts"]["written"] == result["texts"]["wanted"] > 100

    again = taught.client.post(
        "/voices/small/judge", cast_to=dict[str, Any], body={"minutes": 0.001}
    )
    ended = house.wait(again["id"])
    assert ended.status == "succeeded" and ended.fine_tuned_model == job.fine_tuned_model
    short = ended.model_extra["result"]
    assert short["texts"]["stopped"] == "minutes" and not short["promoted"]
    written, wanted = short["texts"]["written"], short["texts"]["wanted"]
    said = f"the gate's minutes ran out with {written} of {wanted} texts written"
    assert short["reasons"][0].startswith(said)
    assert not any("too little data" in reason for reason in short["reasons"])
    [version] = taught.client.get("/voices/small", cast_to=dict[str, Any])["versions"]
    assert version["gate"] == short["gate"]
