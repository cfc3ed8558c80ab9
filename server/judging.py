"""What the gate wants written, and what the writing was worth.

Before a training, `gate_prompts` asks base (or active version) and candidate for texts on the
gate's rows: with the gold, without it, and bare for the memorisation probe; and has them read the
house's own replies, whose loss tells what was learned beside style. Where there are too few rows,
the same questions are asked again: with other values, or in other words. Afterwards `measure`
turns all that into paired figures for `promote.py`. No generator runs here.

Read `gate_prompts` first.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from retrieval.claims import figures
from server.arms import by_house, house_formulas
from server.evaluate import declined, frame_of, support
from server.measures import JSON_TOKENS, STYLELESS, task_scores
from server.probing import ASKINGS, PROBE_TOKENS, PROBES, facts, memorised, probe, probed
from server.promote import MOST_FALSELY_REFUSED, Binary, Graded, Measured
from server.prompt import finds_nothing
from server.repair import Policy
from server.row_served import row_as_served
from server.vary import house_names, vary
from tuning.records import Prompt, Row, Text

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
        "style": _pick(rows, _teaches_style),
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
                asking = chosen[:turn].count(index)
                prompts += _prompts(purpose, index, asking, rows[index], against, kind, grammar)
    return rows, prompts


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


def _teaches_style(row: Row) -> bool:
    return row.split == "train" and row.kind != "withheld" and by_house(row)


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
    own = house_names([row.reply for row in rows]) if missing > 0 else set()
    copies: list[Row] = []
    for index in fitting * 2:
        if len(copies) >= missing:
            break
        copy = _with_other_values(rows[index], own, random_)
        if copy.messages != rows[index].messages:
            copies.append(replace(copy, copy_of=index))
    return copies


def _with_other_values(row: Row, own: set[str], random_: random.Random) -> Row:
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


def measure(
    rows: Sequence[Row],
    texts: Sequence[Text],
    *,
    candidate: str,
    against: str | None,
    kind: str = "reply",
    policy: Policy = "strict",
) -> Measured:
    """What the candidate's texts were worth, row by row, beside those of base or active version.

    `candidate` and `against` are adapter digests, None the base. Support is that of the answers as
    `policy` serves them: what a draft invents must not reach a reader, and a base that hardly
    states anything invents little. All else is measured on the drafts. Only rows that both have
    written for count: a gate whose time ran out has fewer of them.
    """
    written = _Written(rows, texts)
    answers = written.pairs("answer", candidate, against)
    frame = frame_of(row.reply for row in rows if row.split == "train")
    formulas = house_formulas(rows)
    grounded = [pair for pair in answers if facts(pair.row)]
    measures: list[Binary | Graded] = []
    if grounded or written.pairs("decline", candidate, against):
        measures = [
            _binary(
                "support",
                grounded,
                # Every figure and name, not every claim: a flourish of the house is no claim.
                lambda row, text: (
                    support(
                        row_as_served(row, text, policy=policy, formulas=formulas),
                        row.passages,
                        row.question,
                        frame=frame,
                    ).detail_share
                    == 1
                ),
            ),
            _binary("expected", grounded, lambda row, text: facts(row) <= figures(text)),
            _binary(
                "declines",
                written.pairs("decline", candidate, against),
                lambda row, text: declined(text),
            ),
            _binary(
                "false refusals",
                grounded,
                lambda row, text: declined(text),
                lower_is_better=True,
                allowed=MOST_FALSELY_REFUSED,
            ),
        ]
    if kind in STYLELESS:
        measures += _right(kind, answers)
    else:
        if kind == "text":
            measures += _made_from_request(answers)
        if style := _style(rows, written, answers):
            measures.append(style)
    losses = written.losses("loss", candidate, against)
    if measures and losses[0]:  # alone it shows nothing: a voice that was read has not spoken
        measures.append(Graded("loss", *losses, lower_is_better=True, unit="nats per token"))
    probes = written.pairs("probe", candidate, None)
    replay = written.losses("replay", candidate, None)
    return Measured(
        measures=tuple(measures),
        memorised=_binary("memorised", probes, memorised) if probes else None,
        forgetting=Graded("forgetting", *replay, lower_is_better=True, unit="nats per token")
        if replay[0]
        else None,
    )


@dataclass(frozen=True, slots=True)
class _Pair:
    """What candidate and other wrote for one row."""

    row: Row
    candidate: str
    other: str
    question: int  # the index of a row; its copies and all askings share it


class _Written:
    """The texts of a run, by purpose and row."""

    def __init__(self, rows: Sequence[Row], texts: Sequence[Text]) -> None:
        self._rows = rows
        self._texts = {(text.id, text.adapter): text for text in texts}
        self._ids = list(dict.fromkeys(text.id for text in texts))

    def pairs(self, purpose: str, candidate: str, other: str | None) -> list[_Pair]:
        pairs = []
        for id_, mine, its in self._both(purpose, candidate, other):
            index = int(id_.split(":")[1])
            row = self._rows[index]
            question = index if row.copy_of is None else row.copy_of
            pairs.append(_Pair(row, mine.text, its.text, question))
        return pairs

    def losses(
        self, purpose: str, candidate: str, other: str | None
    ) -> tuple[list[float], list[float]]:
        both = self._both(purpose, candidate, other)
        return [mine.loss or 0.0 for _, mine, _ in both], [its.loss or 0.0 for _, _, its in both]

    def texts(self, purpose: str, adapter: str | None) -> list[str]:
        return [
            text.text
            for (id_, who), text in self._texts.items()
            if who == adapter and id_.startswith(f"{purpose}:")
        ]

    def _both(
        self, purpose: str, candidate: str, other: str | None
    ) -> list[tuple[str, Text, Text]]:
        return [
            (id_, self._texts[id_, candidate], self._texts[id_, other])
            for id_ in self._ids
            if id_.startswith(f"{purpose}:")
            and (id_, candidate) in self._texts
            and (id_, other) in self._texts
        ]


def _binary(
    name: str,
    pairs: Sequence[_Pair],
    passes: Callable[[Row, str], bool],
    *,
    lower_is_better: bool = False,
    allowed: float = 0.0,
) -> Binary:
    return Binary(
        name,
        [passes(pair.row, pair.candidate) for pair in pairs],
        [passes(pair.row, pair.other) for pair in pairs],
        lower_is_better=lower_is_better,
        allowed=allowed,
        questions=[pair.question for pair in pairs],
    )


def _right(kind: str, answers: Sequence[_Pair]) -> list[Binary | Graded]:
    """How often a label is right, or JSON is valid and its fields are."""
    if kind == "label":
        return [_by_task(Binary, kind, "accuracy", answers)]
    return [
        _by_task(Binary, kind, "valid", answers),
        _by_task(Graded, kind, "field_accuracy", answers),
    ]


def _made_from_request(answers: Sequence[_Pair]) -> list[Binary | Graded]:
    """How near a text is to the house's own, and whether its figures stand in the request."""
    return [_by_task(Graded, "text", key, answers) for key in ("overlap", "figures")]


def _by_task(
    measure: type[Binary] | type[Graded], kind: str, key: str, answers: Sequence[_Pair]
) -> Binary | Graded:
    """One of `task_scores`, on the rows that have it."""

    def scores(pair: _Pair, text: str) -> dict[str, float]:
        return task_scores(kind, text, wanted=pair.row.reply, sources=_sources(pair.row))

    having = [pair for pair in answers if key in scores(pair, "")]
    return measure(
        key.replace("_", " "),
        [scores(pair, pair.candidate)[key] for pair in having],
        [scores(pair, pair.other)[key] for pair in having],
        questions=[pair.question for pair in having],
    )


def _sources(row: Row) -> list[str]:
    """What the reply to a row may be made from: all that was said, and the passages shown."""
    talk = [m["content"] for m in row.messages if m["role"] != "system"]
    return [*talk, *row.passages]


def _style(rows: Sequence[Row], written: _Written, answers: Sequence[_Pair]) -> Graded | None:
    """P(house) of every answer, by a judge that knows only train replies; None without texts."""
    from tuning.style import StyleJudge  # scikit-learn: a second that only the gate needs

    house = [row.reply for row in rows if _teaches_style(row)]
    base = written.texts("style", None)
    if not answers or not any(base):
        return None
    judge = StyleJudge.fit(house, base)
    return Graded(
        "style",
        judge.score([pair.candidate for pair in answers]),
        judge.score([pair.other for pair in answers]),
        questions=[pair.question for pair in answers],
    )
