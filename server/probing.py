"""What a voice could know by heart, and how it is asked for: the memorisation probe. Pure.

A fact that an answer tells without any passage has come from the weights, where no changed
document can reach it. The gate and the benchmarks probe alike, the gate in
several forms of words. Read `probe` first.
"""

from __future__ import annotations

from collections.abc import Sequence

from retrieval.claims import figures
from server.evaluate import recalled
from server.prompt import Message, build
from tuning.records import Row

PROBES = 300
ASKINGS = (
    "{}",
    "Please answer from memory: {}",
    "I have no documents at hand. {} A short answer will do.",
)
PROBE_TOKENS = 40


def facts(row: Row) -> set[str]:
    """The figures that a reply takes from the passages shown: what an answer should hold."""
    if row.kind not in ("gold", "gold+distractors"):
        return set()
    return (figures(row.reply) & figures("\n".join(row.passages))) - figures(row.question)


def probed(row: Row) -> bool:
    """Whether a row has facts to learn by heart."""
    return row.split == "train" and bool(facts(row))


def probe(
    row: Row, *, asking: str = ASKINGS[0], shots: Sequence[Message] = ()
) -> tuple[Message, ...]:
    """A row's question without any passage: who knows the answer has it from the weights."""
    *_, last = row.messages
    asked = {"role": last["role"], "content": asking.format(row.question)}
    return build([*shots, asked], [], budget=0, count_tokens=len).messages


def memorised(row: Row, text: str) -> bool:
    """Whether an answer to a row's `probe` tells any of its facts."""
    return recalled(text, sorted(facts(row)))
