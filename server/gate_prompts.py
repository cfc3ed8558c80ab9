"""What the gate wants written. Pure.

Before a training, or for a judging, base (or active version) and candidate are asked for texts on
the gate's rows, with the gold and without it, and on what the voice has learned, without any
passage: the memorisation probe. They also read the house's own replies, whose loss tells what was
learned beside style. Where there are too few answerable and unanswerable questions, they are asked
again with other values; and few facts are probed in other words, too.

Read `gate_prompts` first; `judging.py` measures what comes of it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace

from server.arms import by_house
from server.measures import JSON_TOKENS, STYLELESS
from server.probing import ASKINGS, PROBE_TOKENS, PROBES, facts, probe, probed
from server.prompt import OWN_NAMES, finds_nothing
from server.varied import row_with_other_values
from server.vary import house_names
from tuning.records import Prompt, Row

CANDIDATE = "candidate"  # whom the worker is about to train
GATE_ROWS = 90  # paired rows that each binary measure needs
STYLE_TEXTS = 60  # texts of the base that the style judge is fitted on
LOSS_ROWS = 60  # whose house replies are read: enough for a graded measure
TEXT_TOKENS = 64


def gate_prompts(
    rows: Sequence[Row],
    *,
    against: str | None,
    kind: str = "reply",
    grammar: str | None = None,
    seed: int = 0,
) -> tuple[list[Row], list[Prompt]]:
    """The rows with those that the gate adds, and the prompts whose texts it wants.

    `against` is the digest of the active version, None for the base; `kind` is the voice's task,
    and `grammar` what its answers are held to when they are served.
    A prompt's id is its purpose and the index of its row, `answer:17`, and that of a probe
    its asking as well: `probe:17:1`. The purposes take turns, so that a gate whose time runs out
    has some of each.
    """
    random_ = random.Random(seed)
    rows = [row for row in rows if row.copy_of is None]  # without the copies of an earlier gate
    rows = [
        *rows,
        *_copies(rows, _is_answered, random_),
        *_copies(rows, _is_unanswerable, random_),
    ]
    wanted: dict[str, list[int]] = {
        "style": _pick(rows, teaches_style),
        "answer": _pick(rows, _is_answered),
        "decline": _pick(rows, _is_unanswerable),
        "probe": _pick(rows, probed),
        "loss": _pick(rows, _is_read),
    }
    if not wanted["answer"]:  # a voice without documents: its texts are judged by style alone
        wanted["answer"] = _pick(rows, lambda row: row.split == "gate" and row.kind == "chat")
    most = {
        "style": 0 if kind in STYLELESS else STYLE_TEXTS,
        "answer": GATE_ROWS,
        "decline": GATE_ROWS,
        "probe": PROBES,
        "loss": LOSS_ROWS,
    }
    for purpose, chosen in wanted.items():
        random_.shuffle(chosen)
        if purpose == "probe":
            chosen *= len(ASKINGS)
        del chosen[most[purpose] :]
    prompts: list[Prompt] = []
    for turn in range(max(map(len, wanted.values()), default=0)):
        for purpose, chosen in wanted.items():
            if turn < len(chosen):
                index = chosen[turn]
                asking = chosen[:turn].count(index) if purpose == "probe" else 0
                prompts += _prompts(purpose, index, asking, rows[index], against, kind, grammar)
    return rows, prompts


def teaches_style(row: Row) -> bool:
    """Whether a row's reply is one of those that the house's style is known by."""
    return row.split == "train" and row.kind != "withheld" and by_house(row)


def _is_answered(row: Row) -> bool:
    """Whether a prompt of the gate shows the answer and does not say that nothing answers.

    Behind those words a voice is taught to decline, and `strict` declines whoever speaks.
    """
    return row.split == "gate" and bool(facts(row)) and not finds_nothing(row.messages)


def _is_unanswerable(row: Row) -> bool:
    return row.split == "gate" and row.kind in ("none", "withheld")


def _is_read(row: Row) -> bool:
    """Whether the loss of a row's reply is that of the house's own words, held out."""
    own = row.split == "gate" and row.kind != "withheld" and by_house(row)
    return own and row.copy_of is None


def _prompts(
    purpose: str,
    index: int,
    asking: int,
    row: Row,
    against: str | None,
    kind: str,
    grammar: str | None,
) -> list[Prompt]:
    id_ = f"{purpose}:{index}"
    if purpose == "style":  # the judge compares the house with the base, whoever is active
        return [Prompt(id_, row.messages, None, TEXT_TOKENS)]
    if purpose == "probe":
        asked = probe(row, asking=ASKINGS[asking])
        return [Prompt(f"{id_}:{asking}", asked, who, PROBE_TOKENS) for who in (None, CANDIDATE)]
    if purpose == "loss":
        return [Prompt(id_, row.messages, who, reply=row.reply) for who in (against, CANDIDATE)]
    room = JSON_TOKENS if kind == "json" else TEXT_TOKENS
    return [
        Prompt(id_, row.messages, who, room, grammar=grammar if who else None)
        for who in (against, CANDIDATE)
    ]


def _pick(rows: Sequence[Row], fits: Callable[[Row], bool]) -> list[int]:
    return [index for index, row in enumerate(rows) if fits(row)]


def _copies(rows: Sequence[Row], fits: Callable[[Row], bool], random_: random.Random) -> list[Row]:
    """The rows that fit once more, with other values, until there are enough: twice at most."""
    fitting = _pick(rows, fits)
    missing = GATE_ROWS - len(fitting)
    copies: list[Row] = []
    if not fitting or missing <= 0:
        return copies
    own = house_names([row.reply for row in rows]) | OWN_NAMES
    for index in fitting * 2:
        if len(copies) >= missing:
            break
        copy = row_with_other_values(rows[index], own, random_)
        if copy.messages != rows[index].messages:
            copies.append(replace(copy, copy_of=index))
    return copies
