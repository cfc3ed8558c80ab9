"""Files of different ages to one: whose reply counts, and what is left out."""

from __future__ import annotations

import json
from typing import Any

import pytest

from server.merge import Line, merge, read_lines
from tuning.errors import ExamplesError


def talk(question: str, reply: str, **more: Any) -> dict[str, Any]:
    asked = {"role": "user", "content": question}
    return {"messages": [asked, {"role": "assistant", "content": reply}], **more}


def merged(*sources: list[Any]) -> list[Any]:
    """The values that are kept of sources given as values."""
    lines = [
        [Line(f"file {i}", n, value) for n, value in enumerate(source, 1)]
        for i, source in enumerate(sources)
    ]
    return [line.value for line in merge(lines)]


def test_exact_duplicates_go_within_and_between_files() -> None:
    a, b = talk("a", "1"), talk("b", "2")
    assert merged([a, b, a], [b]) == [a, b]


def test_the_newest_reply_wins_and_keeps_the_place() -> None:
    old, other, new = talk("a", "old", topic="x"), talk("b", "2"), talk("a", "new")
    assert merged([old, other], [new]) == [new, other]


def test_one_file_may_hold_several_replies_to_a_question() -> None:
    several = [talk("a", "1"), talk("a", "2")]
    assert merged(several) == several
    assert merged(several, [talk("a", "3")]) == [talk("a", "3")]


def test_a_question_in_another_conversation_is_another_one() -> None:
    alone = talk("a", "1")
    later = {"messages": [{"role": "system", "content": "Be kind."}, *talk("a", "2")["messages"]]}
    assert merged([alone], [later]) == [alone, later]


def test_preference_pairs_are_left_out_and_odd_lines_passed_on() -> None:
    pair = {"input": {"messages": []}, "preferred_output": [], "non_preferred_output": []}
    assert merged([pair, {"text": "a text"}, 5, {"messages": []}]) == [
        {"text": "a text"},
        5,
        {"messages": []},
    ]


def test_nothing_gives_nothing() -> None:
    assert merge([]) == [] and merged([], []) == []


def test_lines_are_read_with_their_numbers() -> None:
    data = "\ufeff" + json.dumps(talk("a", "1")) + "\n\n" + json.dumps(talk("b\u2028", "2"))
    assert [(line.number, line.source) for line in read_lines("x.jsonl", data.encode())] == [
        (1, "x.jsonl"),
        (3, "x.jsonl"),
    ]


@pytest.mark.parametrize(
    ("data", "said"),
    [(b"{}\n{oops", "line 2: broken JSON"), (b"{}\n\xff", "line 2: not UTF-8")],
)
def test_what_is_no_jsonl_is_told_with_line_and_file(data: bytes, said: str) -> None:
    with pytest.raises(ExamplesError) as refused:
        read_lines("x.jsonl", data)
    assert said in str(refused.value) and "x.jsonl" in str(refused.value)
