"""Examples and rows with other values, alike in all that was said and shown. Pure.

`vary.py` says which values change, and to what. Read `example_with_other_values` first.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from server.probing import facts
from server.prompt import Evidence
from server.vary import vary
from tuning.records import Example, Row


def example_with_other_values(
    example: Example, passages: Sequence[Evidence], own: set[str], random_: random.Random
) -> tuple[Example, list[Evidence]]:
    """The example and its passages with other values, alike in the whole conversation."""
    *before, last = example.messages
    # One text per passage, heading included: a value in a heading is the same value.
    shown = [f"{item.heading or ''}\n{item.text}" for item in passages]
    said = [message["content"] for message in before]
    texts, question, reply = vary(
        [*shown, *said], last["content"], example.reply, house_names=own, random_=random_
    )
    contents = [*texts[len(shown) :], question]
    messages = tuple(
        {**message, "content": content}
        for message, content in zip(example.messages, contents, strict=True)
    )
    parts = [text.partition("\n") for text in texts[: len(shown)]]
    evidence_ = [Evidence(text, heading or None) for heading, _, text in parts]
    return replace(example, messages=messages, reply=reply), evidence_


def row_with_other_values(row: Row, own: set[str], random_: random.Random) -> Row:
    """A row whose reply takes other values from its passages; where it takes none, all differ."""
    contents = [message["content"] for message in row.messages]
    told = row.reply if facts(row) else "\n".join(row.passages)
    texts, question, reply = vary(
        [*row.passages, *contents], row.question, told, house_names=own, random_=random_
    )
    shown = texts[: len(row.passages)]
    messages = tuple(
        {**message, "content": content}
        for message, content in zip(row.messages, texts[len(shown) :], strict=True)
    )
    return replace(
        row,
        messages=messages,
        passages=tuple(shown),
        question=question,
        reply=reply if facts(row) else row.reply,
    )
