"""Preference JSONL: what is read, and why a line is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tuning.errors import ExamplesError
from tuning.examples import data_digest
from tuning.preferences import read_preferences


def line(number: int = 0, **changes: Any) -> dict[str, Any]:
    return {
        "input": {"messages": [{"role": "user", "content": f"question {number}"}]},
        "preferred_output": [{"role": "assistant", "content": " Certainly. "}],
        "non_preferred_output": [{"role": "assistant", "content": "No way."}],
        **changes,
    }


def jsonl(*lines: Any) -> bytes:
    return "\n".join(json.dumps(value) for value in lines).encode()


GOOD = [line(number) for number in range(10)]


def test_a_preference_is_an_example_with_the_reply_that_lost() -> None:
    first, *_, last = read_preferences(jsonl(*GOOD, line(10, topic="bags", declines=True)))
    assert first.messages == ({"role": "user", "content": "question 0"},)
    assert (first.reply, first.rejected, first.line) == ("Certainly.", "No way.", 1)
    assert (last.group, last.declines, last.line) == ("bags", True, 11)


def test_the_rejected_reply_is_part_of_the_datas_name() -> None:
    other = [*GOOD[:-1], line(9, non_preferred_output=[{"role": "assistant", "content": "Nope"}])]
    assert data_digest(read_preferences(jsonl(*GOOD))) != data_digest(
        read_preferences(jsonl(*other))
    )


def assistant(content: Any) -> list[dict[str, Any]]:
    return [{"role": "assistant", "content": content}]


@pytest.mark.parametrize(
    ("faulty", "why"),
    [
        ([], 'expected an object with "input"'),
        ({"messages": []}, 'expected an object with "input"'),
        (line(input={"messages": "hello"}), 'expected an object with "input"'),
        (line(input={"messages": []}), "there is no user message"),
        (line(input={"messages": assistant("Hello.")}), "there is no user message"),
        (
            line(input={"messages": line()["input"]["messages"], "tools": [{"type": "function"}]}),
            "tools are not supported",
        ),
        (line(preferred_output=None), '"preferred_output" must be a list of one'),
        (line(non_preferred_output=[]), '"non_preferred_output" must be a list of one'),
        (line(preferred_output=assistant("a") * 2), '"preferred_output" must be a list of one'),
        (
            line(non_preferred_output=[{"role": "user", "content": "x"}]),
            '"non_preferred_output" must hold an assistant message',
        ),
        (line(preferred_output=assistant(None)), "must hold an assistant message with text"),
        (line(non_preferred_output=assistant("  ")), '"non_preferred_output" is empty'),
        (line(non_preferred_output=assistant("Certainly.\n")), "both outputs are the same"),
        (
            line(
                3,
                preferred_output=assistant("No way."),
                non_preferred_output=assistant("Certainly."),
            ),
            "prefers the opposite of line 4",
        ),
    ],
)
def test_a_faulty_line_is_refused_with_its_number(faulty: Any, why: str) -> None:
    with pytest.raises(ExamplesError) as refused:
        read_preferences(jsonl(*GOOD, faulty))
    ((number, reason),) = refused.value.problems
    assert number == 11 and why in reason


def test_every_faulty_line_is_told_at_once() -> None:
    with pytest.raises(ExamplesError) as refused:
        read_preferences(jsonl(*GOOD, {}, line(11)) + b"\n{")
    assert [number for number, _ in refused.value.problems] == [11, 13]


def test_too_few_preferences_are_refused() -> None:
    with pytest.raises(ExamplesError, match="9 examples"):
        read_preferences(jsonl(*GOOD[:-1]))
