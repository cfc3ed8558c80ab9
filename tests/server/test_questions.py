"""Questions of a verdict: read from a file with every fault named, or from held-out rows."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from server.prompt import Evidence, build
from server.questions import Question, QuestionsError, read_questions, sample, voice_questions
from tuning.records import Row


def lines(*values: Any) -> bytes:
    return "\n".join(v if isinstance(v, str) else json.dumps(v) for v in values).encode()


def test_a_question_may_be_alone_or_say_all_that_is_known() -> None:
    whole = {
        "question": " How long? ",
        "expected": ["45 days"],
        "document": "returns.md",
        "answerable": True,
        "reply": "45 days, friend.",
        "topic": "unknown fields are harmless",
    }
    alone, full, none = read_questions(
        lines({"question": "Who?"}, "", whole, {"question": "Why?", "answerable": False})
    )
    assert alone.text == "Who?" and alone.answerable and not alone.checkable
    assert full.text == "How long?" and full.expected == ("45 days",) and full.checkable
    assert full.document == "returns.md" and full.reply == "45 days, friend."
    assert not none.answerable and full.id == "line-3"
    assert [Question.from_json(json.loads(json.dumps(q.to_json()))) for q in (alone, full)] == [
        alone,
        full,
    ]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "no questions"),
        (b"\n \n", "no questions"),
        (lines({"question": "a"}, "{oops"), "line 2: broken JSON"),
        (lines({"question": "a"}, [1]), "line 2: expected an object"),
        (lines({"text": "a"}), 'line 1: "question"'),
        (lines({"question": " "}), 'line 1: "question"'),
        (lines({"question": "a", "expected": [3]}), 'line 1: "expected"'),
        (lines({"question": "a", "answerable": "no"}), 'line 1: "answerable"'),
        (lines({"question": "a", "document": 3}), 'line 1: "document"'),
        (lines({"question": "a", "answerable": False, "expected": ["b"]}), "line 1: it cannot"),
        (b'{"question": "a"}\n\xff', "line 2: not UTF-8"),
        (b'{"question": "\\ud83d"}', "line 1: half a character"),
        (lines(*(["{"] * 9)), "and 4 more"),
        (("[" * 100_000).encode(), "line 1: "),
    ],
)
def test_a_faulty_file_is_refused_with_its_lines(data: bytes, said: str) -> None:
    with pytest.raises(QuestionsError) as refused:
        read_questions(data)
    assert said in refused.value.message and refused.value.status == 400


def row(
    kind: str, *, split: Any = "gate", reply: str = "45 days, friend.", system: str = ""
) -> Row:
    passages = ["Returns are taken for 45 days.", "We open at 9."]
    own = [{"role": "system", "content": system}] if system else []
    talk = [*own, {"role": "user", "content": "How long?"}]
    prompt = build(
        talk,
        [Evidence(text) for text in passages] if kind != "chat" else [],
        budget=100,
        count_tokens=len,
    )
    shown = tuple(passages) if kind != "chat" else ()
    return Row(prompt.messages, reply, split, kind, "g", passages=shown, question="How long?")


def test_a_voices_held_out_rows_ask_what_the_user_asked() -> None:
    rows = [
        row("gold+distractors", system="Be kind."),
        row("gold", split="train"),
        replace(row("gold"), copy_of=0),
        row("withheld", reply="We don't have that."),
        row("none", reply="We don't have that."),
    ]
    gold, withheld, none = voice_questions(rows)
    assert gold.conversation == (
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "How long?"},
    )
    assert gold.answerable and gold.figures == ("45",) and gold.only is None
    assert not withheld.answerable and withheld.only == rows[3].passages
    assert not none.answerable and none.only is None
    assert len({gold.id, withheld.id, none.id}) == 3


def test_a_voice_without_documents_is_asked_for_its_style_alone() -> None:
    (question,) = voice_questions([row("chat", reply="Hello, friend."), row("chat", split="dev")])
    assert question.answerable and not question.checkable


def test_a_sample_mixes_both_kinds_evenly() -> None:
    many = [
        Question(f"{n}", ({"role": "user", "content": f"{n}?"},), answerable=n % 2 == 0)
        for n in range(200)
    ]
    chosen = sample(many, answerable=60, unanswerable=30)
    assert len(chosen) == 90 == len({question.id for question in chosen})
    for start in range(0, 90, 9):
        assert 5 <= sum(question.answerable for question in chosen[start : start + 9]) <= 7
    assert sample(many, answerable=60, unanswerable=30) == chosen
    assert len(sample(many[:10], answerable=60, unanswerable=30)) == 10
    assert sample(many, answerable=0, unanswerable=0) == []
