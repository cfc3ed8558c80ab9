"""The verdict: what every arm wrote, measured, each figure with its 95% interval. Pure.

All arms answered the same questions, so they can be compared in pairs. Every measure is taken
twice: of the text as the model drafted it, and as it is served. The definitions stand in
`evaluate.py`; what the figures advise stands in `recommend.py`. No generator runs here.

Read `measure` first.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from retrieval.claims import figures
from retrieval.grounds import Grounds
from retrieval.measure import interval
from retrieval.records import Hit
from server.arms import Arm
from server.evaluate import declined, expected_found, support
from server.formulas import NO_FORMULAS, Formulas
from server.questions import Question
from server.repair import Policy
from server.served import NO_GROUNDS, as_served

StyleScores = Callable[[Sequence[str]], Sequence[float]]
Values = Mapping[str, Mapping[str, float]]  # measure -> id of the question -> value in 0..1


@dataclass(frozen=True, slots=True)
class Measure:
    """One column of the table; every value is within 0..1.

    Only what `decides` counts for the recommendation: the share of claims is told beside the
    others, because a flourish of the house is no claim, yet looks like one.
    """

    key: str
    title: str
    more_is_better: bool = True
    decides: bool = True


MEASURES = (
    Measure("style", "style"),
    Measure("facts", "expected facts"),
    Measure("support", "figures and names supported"),
    Measure("declined", "declined where unanswerable"),
    Measure("false_refusals", "declined where answerable", more_is_better=False),
    Measure("claims", "claims supported", decides=False),
)
DECISIVE = tuple(measure for measure in MEASURES if measure.decides)


@dataclass(frozen=True, slots=True)
class Asked:
    """A question, the hits that an arm with search shows, best first, and what they offer.

    `tuned` is the same by the store's tuned search, where there is one.
    """

    question: Question
    hits: tuple[Hit, ...] = ()
    grounds: Grounds = NO_GROUNDS
    tuned: Asked | None = None

    def by(self, arm: Arm) -> Asked:
        """The question as this arm looks it up."""
        return self.tuned if arm.tuned and self.tuned is not None else self


@dataclass(frozen=True, slots=True)
class Answer:
    """What an arm drafted for a question, and the tokens of the request."""

    draft: str
    answer_tokens: int
    prompt_tokens: int


@dataclass(frozen=True, slots=True)
class Latency:
    """Seconds of one streamed request, its search included."""

    first_token: float
    total: float


@dataclass(frozen=True, slots=True)
class Measured:
    """What one arm is worth. `tokens` of a request are those of its prompt and its answer."""

    arm: Arm
    drafted: Values
    served: Values
    prompt_tokens: tuple[int, ...]
    answer_tokens: tuple[int, ...]
    latencies: tuple[Latency, ...] = field(default=())

    @property
    def tokens(self) -> float:
        requests = max(len(self.prompt_tokens), 1)
        return (sum(self.prompt_tokens) + sum(self.answer_tokens)) / requests


def measure(
    arm: Arm,
    asked: Sequence[Asked],
    answers: Sequence[Answer],
    *,
    style: StyleScores | None = None,
    frame: Collection[str] = (),
    formulas: Formulas = NO_FORMULAS,
    latencies: Sequence[Latency] = (),
    policy: Policy = "off",
) -> Measured:
    """Measure one arm; `answers` are in the order of `asked`, `style` None where not known.

    `frame` holds the house's phrases, which claim nothing (`evaluate.frame_of`); `policy` is that
    of the server, and holds where an arm searches; `formulas` are what it leaves to the voice
    (`formulas.formulas_of`).
    """
    asked = [item.by(arm) for item in asked]
    drafts = [answer.draft for answer in answers]
    served = [
        as_served(
            draft,
            item.hits,
            policy=policy if item.grounds.hits else "off",
            grounds=item.grounds,
            message=item.question.text,
            before=item.question.conversation[:-1],
            formulas=formulas if arm.voice else NO_FORMULAS,
        )
        if arm.search
        else as_served(
            draft, (), message=item.question.text, before=item.question.conversation[:-1]
        )
        for draft, item in zip(drafts, asked, strict=True)
    ]
    return Measured(
        arm,
        drafted=values(asked, drafts, style=style, frame=frame),
        served=values(asked, served, style=style, frame=frame),
        prompt_tokens=tuple(answer.prompt_tokens for answer in answers),
        answer_tokens=tuple(answer.answer_tokens for answer in answers),
        latencies=tuple(latencies),
    )


def values(
    asked: Sequence[Asked],
    texts: Sequence[str],
    *,
    style: StyleScores | None = None,
    frame: Collection[str] = (),
) -> dict[str, dict[str, float]]:
    """Every measure of every question that it applies to.

    All but `declined` are taken on answerable questions. Support is
    judged by the passages that search finds, in every arm, also where the model did not see
    them: so arms with and without search are told apart by one measure.
    """
    found: dict[str, dict[str, float]] = {measure.key: {} for measure in MEASURES}
    pairs = list(zip(asked, texts, strict=True))
    answerable = [(item, text) for item, text in pairs if item.question.answerable]
    for item, text in pairs:
        question = item.question
        refused = float(declined(text))
        found["false_refusals" if question.answerable else "declined"][question.id] = refused
    for item, text in answerable:
        question = item.question
        if question.checkable:
            found["facts"][question.id] = float(holds_answer(question, text))
        if item.hits:
            passages = [f"{hit.passage.heading or ''}\n{hit.passage.text}" for hit in item.hits]
            held = support(text, passages, question.text, frame=frame)
            found["support"][question.id] = held.detail_share
            found["claims"][question.id] = held.claim_share
    if style is not None and answerable:
        scores = style([text for _, text in answerable])
        for (item, _), score in zip(answerable, scores, strict=True):
            found["style"][item.question.id] = float(score)
    return found


def holds_answer(question: Question, text: str) -> bool:
    """Whether a text holds all that an answer to the question should hold."""
    return expected_found(text, question.expected) and set(question.figures) <= figures(text)


def to_json(measured: Measured) -> dict[str, Any]:
    """One arm as it stands in a result: every figure with its interval and count."""
    first = [latency.first_token for latency in measured.latencies]
    total = [latency.total for latency in measured.latencies]
    return {
        "arm": measured.arm.key,
        "title": measured.arm.title,
        "drafted": _figures(measured.drafted),
        "served": _figures(measured.served),
        "tokens": measured.tokens,
        "prompt_tokens": _figure(measured.prompt_tokens),
        "answer_tokens": _figure(measured.answer_tokens),
        "first_token_seconds": _figure(first),
        "seconds": _figure(total),
    }


def _figures(found: Values) -> dict[str, Any]:
    return {measure.key: _figure([*found[measure.key].values()]) for measure in MEASURES}


def _figure(numbers: Sequence[float]) -> dict[str, Any] | None:
    """The mean with its interval, None where nothing was measured."""
    if not numbers:
        return None
    return {**asdict(interval(numbers)), "n": len(numbers)}
