"""The verdict: what every arm wrote, measured, each figure with its 95% interval. Pure.

All arms answered the same questions, so they can be compared in pairs. Every measure is taken
twice: of the text as the model drafted it, and as it is served. The definitions stand in
`evaluate.py` and, for what has a right answer, in `measures.py`; what the figures advise stands
in `recommend.py`. No generator runs here.

Read `measure` first.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from retrieval.claims import figures
from retrieval.grounds import Grounds
from retrieval.measure import interval
from retrieval.records import Hit
from server.answer import UNCITED
from server.arms import Arm
from server.evaluate import declined, expected_found, support
from server.formulas import NO_FORMULAS, Formulas
from server.measures import MEASURES, task_scores
from server.questions import Question
from server.repair import Policy
from server.served import NO_GROUNDS, as_served
from tuning.task_measures import label_scores

StyleScores = Callable[[Sequence[str]], Sequence[float]]
Values = Mapping[str, Mapping[str, float]]  # measure -> id of the question -> value in 0..1
Figure = dict[str, Any]  # mean, low and high of a 95% interval, and n
F1_SAMPLES = 300  # each takes a millisecond


@dataclass(frozen=True, slots=True)
class Form:
    """In which form all arms answer: that of the voice, as its card says.

    `kind` is its task. Answers are `cited`, and mended, only where documents are used and the
    text need not stand as it is written.
    """

    kind: str = "reply"
    cited: bool = True

    @classmethod
    def of(cls, task: Mapping[str, Any]) -> Form:
        """Of a voice's task; the base, which has none, replies from the documents."""
        kind = task.get("kind", "reply")
        return cls(kind, task.get("uses_documents", True) and kind not in UNCITED)

    @property
    def refuses(self) -> bool:
        """Whether an answer may say that the house does not have it: a label cannot."""
        return self.cited or self.kind == "reply"


REPLY = Form()


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
    """What an arm drafted for a question, and the tokens of the request; `cut` at their limit?"""

    draft: str
    answer_tokens: int
    prompt_tokens: int
    cut: bool = False


@dataclass(frozen=True, slots=True)
class Latency:
    """Seconds of one streamed request, its search included."""

    first_token: float
    total: float


@dataclass(frozen=True, slots=True)
class Measured:
    """What one arm is worth. `tokens` of a request are those of its prompt and its answer.

    The macro-F1 of labels is that of all questions together: no question has a value of its own.
    """

    arm: Arm
    drafted: Values
    served: Values
    prompt_tokens: tuple[int, ...]
    answer_tokens: tuple[int, ...]
    latencies: tuple[Latency, ...] = ()
    drafted_f1: Figure | None = None
    served_f1: Figure | None = None

    @property
    def request_tokens(self) -> tuple[int, ...]:
        return tuple(map(sum, zip(self.prompt_tokens, self.answer_tokens, strict=True)))

    @property
    def tokens(self) -> float:
        """The mean of a request's."""
        return sum(self.request_tokens) / max(len(self.request_tokens), 1)


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
    form: Form = REPLY,
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
            answer.draft,
            item.hits if arm.search else (),
            policy=policy if arm.search and item.grounds.hits else "off",
            grounds=item.grounds,
            message=item.question.text,
            before=item.question.conversation[:-1],
            formulas=formulas if arm.voice else NO_FORMULAS,
            cites=form.cited,
            any_link=form.kind in UNCITED,
            cut=answer.cut,
        )
        for answer, item in zip(answers, asked, strict=True)
    ]
    return Measured(
        arm,
        drafted=values(asked, drafts, style=style, frame=frame, form=form),
        served=values(asked, served, style=style, frame=frame, form=form),
        prompt_tokens=tuple(answer.prompt_tokens for answer in answers),
        answer_tokens=tuple(answer.answer_tokens for answer in answers),
        latencies=tuple(latencies),
        drafted_f1=macro_f1(asked, drafts) if form.kind == "label" else None,
        served_f1=macro_f1(asked, served) if form.kind == "label" else None,
    )


def values(
    asked: Sequence[Asked],
    texts: Sequence[str],
    *,
    style: StyleScores | None = None,
    frame: Collection[str] = (),
    form: Form = REPLY,
) -> dict[str, dict[str, float]]:
    """Every measure of every question that it applies to.

    All but `declined` are taken on answerable questions. Support is judged by the passages that
    search finds, in every arm, also where the model did not see them: so arms with and without
    search are told apart by one measure. `form` says what the task of the voice is measured by.
    """
    found: dict[str, dict[str, float]] = {measure.key: {} for measure in MEASURES}
    pairs = list(zip(asked, texts, strict=True))
    answerable = [(item, text) for item, text in pairs if item.question.answerable]
    for item, text in pairs if form.refuses else ():
        question = item.question
        refused = float(declined(text))
        found["false_refusals" if question.answerable else "declined"][question.id] = refused
    for item, text in answerable:
        question = item.question
        if question.checkable:
            found["facts"][question.id] = float(holds_answer(question, text))
        passages = [f"{hit.passage.heading or ''}\n{hit.passage.text}" for hit in item.hits]
        sources = [*(message["content"] for message in question.conversation), *passages]
        by_task = task_scores(form.kind, text, wanted=question.reply, sources=sources)
        for key, share in by_task.items():
            found[key][question.id] = share
        if passages and form.cited:
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


def macro_f1(
    asked: Sequence[Asked], texts: Sequence[str], *, samples: int = F1_SAMPLES
) -> Figure | None:
    """Macro-F1 (`tuning.task_measures`) of all questions whose label is known, and its interval.

    A bootstrap over the questions, with the percentiles of the samples' own macro-F1.
    """
    pairs = [
        (text, item.question.reply)
        for item, text in zip(asked, texts, strict=True)
        if item.question.answerable and item.question.reply is not None
    ]
    if not pairs:
        return None
    random = np.random.default_rng(0)

    def score(chosen: Sequence[tuple[str, str]]) -> float:
        told, right = zip(*chosen, strict=True)
        return label_scores(told, right, ()).macro_f1

    drawn = random.integers(len(pairs), size=(samples, len(pairs)))
    low, high = np.percentile([score([pairs[n] for n in row]) for row in drawn], [2.5, 97.5])
    return {"mean": score(pairs), "low": float(low), "high": float(high), "n": len(pairs)}


def to_json(measured: Measured) -> dict[str, Any]:
    """One arm as it stands in a result: every figure with its interval and count."""
    first = [latency.first_token for latency in measured.latencies]
    total = [latency.total for latency in measured.latencies]
    return {
        "arm": measured.arm.key,
        "title": measured.arm.title,
        "drafted": {**_figures(measured.drafted), "macro_f1": measured.drafted_f1},
        "served": {**_figures(measured.served), "macro_f1": measured.served_f1},
        "tokens": measured.tokens,
        "request_tokens": _figure(measured.request_tokens),
        "prompt_tokens": _figure(measured.prompt_tokens),
        "answer_tokens": _figure(measured.answer_tokens),
        "first_token_seconds": _figure(first),
        "seconds": _figure(total),
    }


def _figures(found: Values) -> dict[str, Any]:
    return {measure.key: _figure([*found[measure.key].values()]) for measure in MEASURES}


def _figure(numbers: Sequence[float]) -> Figure | None:
    """The mean with its interval, None where nothing was measured."""
    if not numbers:
        return None
    return {**asdict(interval(numbers)), "n": len(numbers)}
