"""What the gate wants written, and what the writing was worth.

Before a training, `gate_prompts` asks base (or active version) and candidate for texts on the
gate's rows: with the gold, without it, and bare for the memorisation probe. Afterwards
`measure` turns what they wrote into paired figures for `promote.py`. No generator runs here.

Read `gate_prompts` first.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from retrieval.attribute import figures
from server.prompt import build
from server.vary import house_names, vary
from tuning.records import Prompt, Row

CANDIDATE = "candidate"  # whom the worker is about to train
GATE_ROWS = 90  # paired rows that each binary measure needs
STYLE_TEXTS = 60  # texts of the base that the style judge is fitted on
PROBES = 300
TEXT_TOKENS = 64
PROBE_TOKENS = 40


def gate_prompts(
    rows: Sequence[Row], *, against: str | None, seed: int = 0
) -> tuple[list[Row], list[Prompt]]:
    """The rows with those that the gate adds, and the prompts whose texts it wants.

    `against` is the digest of the active version, None for the base. A prompt's id is its
    purpose and the index of its row: `answer:17`. The purposes take turns, so that a gate whose
    time runs out has some of each.
    """
    random_ = random.Random(seed)
    rows = [*rows, *_varied(rows, random_)]
    wanted: dict[str, list[int]] = {
        "style": _pick(rows, lambda row: row.split == "train" and row.kind != "withheld"),
        "answer": _pick(rows, lambda row: row.split == "gate" and bool(facts(row))),
        "decline": _pick(rows, lambda row: row.split == "gate" and row.kind in _UNANSWERABLE),
        "probe": _pick(rows, lambda row: row.split == "train" and bool(facts(row))),
    }
    if not wanted["answer"]:  # a voice without documents: its texts are judged by style alone
        wanted["answer"] = _pick(rows, lambda row: row.split == "gate" and row.kind == "chat")
    most = {"style": STYLE_TEXTS, "answer": GATE_ROWS, "decline": GATE_ROWS, "probe": PROBES}
    for purpose, chosen in wanted.items():
        random_.shuffle(chosen)
        del chosen[most[purpose] :]
    prompts: list[Prompt] = []
    for turn in range(max(map(len, wanted.values()), default=0)):
        for purpose, chosen in wanted.items():
            if turn < len(chosen):
                prompts += _prompts(purpose, chosen[turn], rows[chosen[turn]], against)
    return rows, prompts


_UNANSWERABLE = ("none", "withheld")


def facts(row: Row) -> set[str]:
    """The figures that a reply takes from the passages shown: what an answer should hold."""
    if row.kind not in ("gold", "gold+distractors", "varied"):
        return set()
    return (figures(row.reply) & figures("\n".join(row.passages))) - figures(row.question)


def _prompts(purpose: str, index: int, row: Row, against: str | None) -> list[Prompt]:
    id_ = f"{purpose}:{index}"
    if purpose == "style":  # the judge compares the house with the base, whoever is active
        return [Prompt(id_, row.messages, None, TEXT_TOKENS)]
    if purpose == "probe":
        *_, last = row.messages
        bare = build(
            [{"role": last["role"], "content": row.question}], [], budget=0, count_tokens=len
        )
        return [Prompt(id_, bare.messages, who, PROBE_TOKENS) for who in (None, CANDIDATE)]
    return [Prompt(id_, row.messages, who, TEXT_TOKENS) for who in (against, CANDIDATE)]


def _pick(rows: Sequence[Row], fits: Callable[[Row], bool]) -> list[int]:
    return [index for index, row in enumerate(rows) if fits(row)]


def _varied(rows: Sequence[Row], random_: random.Random) -> list[Row]:
    """Gate rows with gold once more, with other values, until there are enough of them."""
    golden = [row for row in rows if row.split == "gate" and facts(row)]
    own = house_names([row.reply for row in rows])
    copies: list[Row] = []
    missing = GATE_ROWS - len(golden)
    for number in range(min(missing, 2 * len(golden))):
        row = golden[number % len(golden)]
        contents = [message["content"] for message in row.messages]
        texts, question, reply = vary(
            [*row.passages, *contents], row.question, row.reply, house_names=own, random_=random_
        )
        shown = texts[: len(row.passages)]
        messages = tuple(
            {**message, "content": content}
            for message, content in zip(row.messages, texts[len(shown) :], strict=True)
        )
        copies.append(
            replace(
                row,
                messages=messages,
                passages=tuple(shown),
                question=question,
                reply=reply,
                kind="varied",
            )
        )
    return copies


def texts_of(
    written: Mapping[tuple[str, str | None], str], purpose: str, speakers: Sequence[str | None]
) -> list[tuple[int, tuple[str, ...]]]:
    """(row, what each speaker wrote for it), for the rows where all of them have written."""
    ids = sorted(
        {id_ for id_, _ in written if id_.startswith(f"{purpose}:")},
        key=lambda id_: int(id_.partition(":")[2]),
    )
    return [
        (int(id_.partition(":")[2]), tuple(written[id_, who] for who in speakers))
        for id_ in ids
        if all((id_, who) in written for who in speakers)
    ]
