"""From the texts of all arms to an evaluation's result. Pure.

Only questions that every arm has answered count, so that all figures are of the same questions.
It knows no worker and no database. Read `judge` first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from retrieval.measure import interval
from server.arms import ROUTER, Arm
from server.evaluate import frame_of
from server.plan import Plan, prompt_id
from server.recommend import recommend
from server.verdict import Answer, Asked, Latency, Measured, StyleScores, measure, to_json
from tuning.errors import TuningError
from tuning.records import Text


def judge(
    plan: Plan,
    texts: Sequence[Text],
    *,
    adapter: str | None,
    latencies: Mapping[str, Sequence[Latency]],
) -> dict[str, Any] | None:
    """The result, or None where no question was answered by every arm."""
    written = {(text.id, text.adapter): text for text in texts}

    def answer(arm: Arm, item: Asked) -> Text | None:
        return written.get((prompt_id(arm, item.question), adapter if arm.voice else None))

    complete = [item for item in plan.asked if all(answer(arm, item) for arm in plan.arms)]
    if not complete:
        return None
    style, ceiling, notes = _style(plan, texts)
    frame = frame_of(plan.house_replies)

    def measured_of(arm: Arm, answers: Sequence[Answer]) -> Measured:
        return measure(
            arm,
            complete,
            answers,
            style=style,
            frame=frame,
            formulas=plan.formulas,
            latencies=latencies.get(arm.key, ()),
            policy=plan.policy,
            form=plan.form,
        )

    measured = [
        measured_of(
            arm,
            [
                Answer(text.text, text.tokens, plan.prompt_tokens[text.id], text.cut)
                for item in complete
                if (text := answer(arm, item))
            ],
        )
        for arm in plan.arms
    ]
    if plan.routed:
        labels = [Answer(plan.routed[item.question.id], 0, 0) for item in complete]
        measured.append(measured_of(ROUTER, labels))
    answerable = [item.question for item in complete if item.question.answerable]
    unanswered = [question for question in answerable if question.id in plan.unanswered]
    advice = recommend(measured, answerable=len(answerable), unanswered=len(unanswered))
    return {
        "recommendation": advice.to_json(),
        "arms": [to_json(item) for item in measured],
        "style_ceiling": ceiling,
        "search": {
            "right_document": _right_document(
                complete if any(arm.search for arm in plan.arms) else ()
            ),
            "right_document_tuned": _right_document(
                [item.tuned for item in complete if item.tuned]
            ),
        },
        "questions": {
            "answerable": len(answerable),
            "unanswerable": len(complete) - len(answerable),
            "planned": len(plan.asked),
        },
        "stopped": "complete" if len(complete) == len(plan.asked) else "minutes",
        "unanswered": [question.text for question in unanswered],
        "notes": [*plan.notes, *notes],
    }


def _style(
    plan: Plan, texts: Sequence[Text]
) -> tuple[StyleScores | None, dict[str, Any] | None, list[str]]:
    """The judge of the house's style, its value on real replies, and why there is none."""
    from tuning.style import StyleJudge  # not at start: scikit-learn takes a second

    base = [text.text for text in texts if text.id.startswith("style:")]
    base = [text for text in (*plan.base_texts, *base) if text]
    if not plan.house_replies or not base:
        return None, None, []
    try:
        judge_ = StyleJudge.fit(plan.house_replies, base)
    except TuningError as error:
        return None, None, [f"Style was not measured: {error}."]

    def style(texts: Sequence[str]) -> list[float]:
        return [float(score) for score in judge_.score(texts)]

    if not plan.gate_replies:
        return style, None, []
    scores = style(plan.gate_replies)
    return style, {**asdict(interval(scores)), "n": len(scores)}, []


def _right_document(asked: Sequence[Asked]) -> dict[str, Any] | None:
    """How often the search shows the document that was named as the answer's."""
    found = [
        float(item.question.document in {hit.document_name for hit in item.hits})
        for item in asked
        if item.question.document
    ]
    return {**asdict(interval(found)), "n": len(found)} if found else None
