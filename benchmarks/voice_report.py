"""What the arms of `benchmarks.voice` have written, as figures, a table and a verdict. Pure.

Each text has an id: the arm, what it was for (`pair`, `loss`, `question`, `probe`) and a number.
Read `report` first.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from retrieval.measure import interval
from server.evaluate import declined, expected_found
from server.probing import memorised
from tuning.overlap import copied_ngrams, rouge_l
from tuning.records import Row, Text
from tuning.style import StyleJudge, function_word_distance
from tuning.task_measures import LabelScores, json_scores, label_scores

ARMS = ("base", "few_shot", "tuned")
ENOUGH = 0.05  # what a voice must be worth above a prompt
AS_GOOD = 0.02  # what it may be worse than plain routing


@dataclass(frozen=True, slots=True)
class Asked:
    """What the arms were asked for."""

    taught: Sequence[str]  # the replies that the voice has learned
    held_out: Sequence[str]  # the house's own replies to the pairs held out
    questions: Sequence[Mapping[str, Any]]
    probes: Sequence[Row]  # rows whose facts are asked for without a passage
    prompt_tokens: Mapping[str, int]  # of every prompt, by its id
    task: Mapping[str, Any]
    routed: Sequence[str] = ()  # what embeddings and logistic regression say of the pairs held out


def report(asked: Asked, texts: Mapping[str, Text], arms: Sequence[str] = ARMS) -> dict[str, Any]:
    """The figures of the arms, the ceiling of the house's own replies, and the verdict of all."""
    base = [text.text for id_, text in texts.items() if id_.startswith("style:")]
    judge = StyleJudge.fit(asked.taught, base)
    made: dict[str, Any] = {
        "ceiling": {
            "style": statistics.fmean(judge.score(asked.held_out)),
            "function_words": function_word_distance(asked.taught, asked.held_out),
            "copied_ngram": statistics.fmean(copied_ngrams(asked.held_out, asked.taught)),
        }
    }
    for arm in arms:
        made[arm] = _arm(arm, asked, texts, judge)
    if asked.routed:
        made["embedding_router"] = _shares(label_scores(asked.routed, asked.held_out, asked.taught))
    if set(arms) == set(ARMS):
        made["verdict"] = verdict(made)
    return made


def _arm(
    arm: str, asked: Asked, texts: Mapping[str, Text], judge: StyleJudge
) -> dict[str, float | None]:
    house = asked.held_out
    written = [texts[f"{arm}:pair:{n}"].text for n in range(len(house))]
    read = [text for id_, text in texts.items() if id_.startswith(f"{arm}:loss:")]
    made: dict[str, float | None] = {
        "style": statistics.fmean(judge.score(written)),
        "heldout_loss": _loss(read),
        "rougeL": statistics.fmean(map(rouge_l, written, house)),
        "function_words": function_word_distance(written, house),
        "copied_ngram": statistics.fmean(copied_ngrams(written, asked.taught)),
        "prompt_tokens": statistics.fmean(
            asked.prompt_tokens[f"{arm}:pair:{n}"] for n in range(len(house))
        ),
    }
    if asked.task["kind"] == "label":
        made |= _shares(label_scores(written, house, asked.taught))
    if asked.task["kind"] == "json":
        fields = json_scores(written, house)
        made |= {"valid": fields.valid, "accuracy": fields.field_accuracy}
    if asked.questions:
        made |= _grounding(
            [texts[f"{arm}:question:{n}"].text for n in range(len(asked.questions))],
            asked.questions,
        )
        made["memorised"] = None
    if asked.probes:
        made["memorised"] = statistics.fmean(
            memorised(row, texts[f"{arm}:probe:{n}"].text) for n, row in enumerate(asked.probes)
        )
    return made


def _loss(read: Sequence[Text]) -> float:
    """Nats per reply token, as the training's own held-out loss: a long reply counts for more."""
    return sum((text.loss or 0.0) * text.tokens for text in read) / sum(t.tokens for t in read)


def _shares(scores: LabelScores) -> dict[str, float]:
    return {"accuracy": scores.accuracy, "macro_f1": scores.macro_f1}


def _grounding(
    answers: Sequence[str], questions: Sequence[Mapping[str, Any]]
) -> dict[str, float | None]:
    """Facts found and declines; None where the questions have no row of the kind."""
    pairs = list(zip(questions, answers, strict=True))
    answerable = [(q, a) for q, a in pairs if q.get("answerable", True)]
    others = [a for q, a in pairs if not q.get("answerable", True)]
    found = [float(expected_found(a, q["expected"])) for q, a in answerable if q.get("expected")]
    ends = interval(found) if found else None
    return {
        "expected_found": ends.mean if ends else None,
        "expected_found_low": ends.low if ends else None,
        "expected_found_high": ends.high if ends else None,
        "declined_unanswerable": statistics.fmean(map(declined, others)) if others else None,
        "false_refusals": statistics.fmean(declined(a) for _, a in answerable)
        if answerable
        else None,
        "median_words": statistics.median(len(a.split()) for a in answers),
    }


def verdict(made: Mapping[str, Any]) -> str:
    """Two sentences by simple rules; the product's own verdict is `houseword evaluate`."""
    base, shot, tuned = (made[arm] for arm in ARMS)
    if "accuracy" in tuned:
        return _verdict_of_answers(base, shot, tuned, made.get("embedding_router"))
    ceiling = made["ceiling"]["style"]
    best = max(base["style"], shot["style"])
    told = (
        f"The voice reaches {tuned['style'] / ceiling:.0%} of the house's own style, "
        f"the best prompt {best / ceiling:.0%}."
    )
    facts_found = [arm.get("expected_found") for arm in (base, shot, tuned)]
    if tuned["style"] - best < ENOUGH:
        return f"{told} A prompt is enough: do not tune."
    if None in facts_found:
        return f"{told} It is worth training."
    if facts_found[2] < max(facts_found[:2]):
        return f"{told} It tells fewer of the expected facts than a prompt does: do not promote it."
    return f"{told} It keeps the facts as well as the best prompt does: promote it."


def _verdict_of_answers(
    base: Mapping[str, float],
    shot: Mapping[str, float],
    tuned: Mapping[str, float],
    router: Mapping[str, float] | None,
) -> str:
    name = "macro_f1" if "macro_f1" in tuned else "accuracy"
    best = max(base[name], shot[name])
    told = f"The voice is right by {tuned[name]:.2f}, the best prompt by {best:.2f} ({name})."
    if router and router[name] >= tuned[name] - AS_GOOD:
        return (
            f"{told} Embeddings with logistic regression reach {router[name]:.2f} in seconds: "
            "use those instead."
        )
    if tuned[name] - best < ENOUGH:
        return f"{told} A prompt is enough: do not tune."
    return f"{told} It is worth training."


def table(made: Mapping[str, Any]) -> str:
    """The figures of the arms side by side, and the verdict below."""
    columns = ("ceiling", *ARMS)
    lines = [f"{'':24}" + "".join(f"{column:>12}" for column in columns)]
    for name in dict.fromkeys(name for arm in ARMS for name in made[arm]):
        values = [made[column].get(name) for column in columns]
        cells = "".join(f"{'':12}" if v is None else f"{v:12.3f}" for v in values)
        lines.append(f"{name:24}{cells}")
    if router := made.get("embedding_router"):
        told = ", ".join(f"{name} {value:.3f}" for name, value in router.items())
        lines.append(f"embeddings and logistic regression: {told}")
    return "\n".join([*lines, made["verdict"]])
