"""What the texts of a gate were worth: paired figures for `promote.py`. Pure.

`gate_prompts.py` says what was to be written. Read `measure` first.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from retrieval.claims import figures
from server.answer import UNCITED
from server.arms import house_formulas
from server.evaluate import declined, frame_of, support
from server.gate_prompts import teaches_style
from server.measures import STYLELESS, task_scores
from server.probing import facts, memorised
from server.promote import MOST_FALSELY_REFUSED, Binary, Graded, Measured
from server.repair import Policy
from server.row_served import row_as_served
from tuning.records import Row, Text


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
    if kind in UNCITED:  # their answers stand as they are written
        policy = "off"

    def supported(row: Row, text: Text) -> bool:
        served = row_as_served(row, text, policy=policy, formulas=formulas)
        return _nothing_invented(row, served, frame)

    grounded = [pair for pair in answers if facts(pair.row)]
    measures: list[Binary | Graded] = []
    if grounded or written.pairs("decline", candidate, against):
        measures = [
            _binary("support", grounded, supported),
            _binary("expected", grounded, lambda row, text: facts(row) <= figures(text.text)),
            _binary(
                "declines",
                written.pairs("decline", candidate, against),
                lambda row, text: declined(text.text),
            ),
            _binary(
                "false refusals",
                grounded,
                lambda row, text: declined(text.text),
                lower_is_better=True,
                allowed=MOST_FALSELY_REFUSED,
            ),
        ]
        if policy == "strict":  # which mends what a draft invents: to be told, not to decide
            measures.append(
                _binary(
                    "support of drafts",
                    grounded,
                    lambda row, text: _nothing_invented(row, text.text, frame),
                    decides=False,
                )
            )
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
        memorised=_binary("memorised", probes, lambda row, text: memorised(row, text.text))
        if probes
        else None,
        forgetting=Graded("forgetting", *replay, lower_is_better=True, unit="nats per token")
        if replay[0]
        else None,
    )


@dataclass(frozen=True, slots=True)
class _Pair:
    """What candidate and other wrote for one row."""

    row: Row
    candidate: Text
    other: Text
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
            pairs.append(_Pair(row, mine, its, question))
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
    passes: Callable[[Row, Text], bool],
    *,
    lower_is_better: bool = False,
    allowed: float = 0.0,
    decides: bool = True,
) -> Binary:
    return Binary(
        name,
        [passes(pair.row, pair.candidate) for pair in pairs],
        [passes(pair.row, pair.other) for pair in pairs],
        lower_is_better=lower_is_better,
        allowed=allowed,
        decides=decides,
        questions=[pair.question for pair in pairs],
    )


def _nothing_invented(row: Row, text: str, frame: Collection[str]) -> bool:
    """Whether every figure and name has a source; not every claim: a flourish is none."""
    return support(text, row.passages, row.question, frame=frame).detail_share == 1


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
        [scores(pair, pair.candidate.text)[key] for pair in having],
        [scores(pair, pair.other.text)[key] for pair in having],
        questions=[pair.question for pair in having],
    )


def _sources(row: Row) -> list[str]:
    """What the reply to a row may be made from: all that was said, and the passages shown."""
    talk = [m["content"] for m in row.messages if m["role"] != "system"]
    return [*talk, *row.passages]


def _style(rows: Sequence[Row], written: _Written, answers: Sequence[_Pair]) -> Graded | None:
    """P(house) of every answer, by a judge that knows only train replies; None without texts."""
    from tuning.style import StyleJudge  # scikit-learn: a second that only the gate needs

    house = [row.reply for row in rows if teaches_style(row)]
    base = written.texts("style", None)
    if not answers or not any(base):
        return None
    judge = StyleJudge.fit(house, base)
    return Graded(
        "style",
        judge.score([pair.candidate.text for pair in answers]),
        judge.score([pair.other.text for pair in answers]),
        questions=[pair.question for pair in answers],
    )
