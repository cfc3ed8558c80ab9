"""A row's text as a reader would get it: mended by the passages that its prompt shows."""

from __future__ import annotations

from dataclasses import replace

import pytest

from server.formulas import NO_FORMULAS
from server.prompt import Evidence, build
from server.repair import Policy
from server.row_served import row_as_served
from tuning.declines import looks_like_decline
from tuning.records import Row, Text

FEES = Evidence("A label costs $7.  It is\nprinted here. Returns take 45 days.", "Fees")
QUESTION = "What is the fee?"


def row(*best: Evidence, heading: str = "Fees") -> Row:
    asked = [{"role": "user", "content": QUESTION}]
    prompt = build(
        asked, [replace(FEES, heading=heading)], budget=99, count_tokens=len, highlights=best
    )
    return Row(
        messages=prompt.messages,
        reply="$7, friend.",
        split="gate",
        kind="gold",
        group="fees",
        passages=(f"{heading}\n{FEES.text}",),
        question=QUESTION,
    )


def served(row: Row, text: str, policy: Policy = "strict") -> str:
    written = Text("answer:1", None, text, 9, "stop")
    return row_as_served(row, written, policy=policy, formulas=NO_FORMULAS)


@pytest.mark.parametrize("sentence", ["A label costs $7.", "It is printed here."])
@pytest.mark.parametrize("heading", ["Fees", "what our labels cost in this country and in others,"])
def test_what_a_draft_invents_gives_way_to_the_sentence_that_the_prompt_points_at(
    sentence: str, heading: str
) -> None:
    pointing = row(Evidence(sentence, heading), heading=heading)
    quoted = " ".join(served(pointing, "It costs $9.").split())
    assert quoted == f"\u201c{sentence}\u201d"
    assert served(pointing, "It costs $9.", "off") == "It costs $9."
    assert served(pointing, "It costs $9.", "flag") == "It costs $9."


def test_where_the_prompt_points_at_nothing_the_reader_is_told_so() -> None:
    assert looks_like_decline(served(row(), "A label costs $7. It is printed here. Go on."))
