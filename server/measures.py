"""The measures of a verdict, and what one text is worth by the task of its voice. Pure.

Replies are measured by `evaluate.py`'s definitions and by style. A label, JSON, or a text made
from the request has a right answer or a model of one: `task_scores` compares it with that, for the
gate and for the verdict alike. Read `task_scores` first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from server.evaluate import support
from tuning.overlap import rouge_l
from tuning.task import label_key, read_json
from tuning.task_measures import json_scores

STYLELESS = ("label", "json")  # tasks with a right answer: that is measured instead
JSON_TOKENS = 256  # at least, for JSON that is cut is none


@dataclass(frozen=True, slots=True)
class Measure:
    """One column of the table; every value is within 0..1.

    Only what `decides` counts for the recommendation: the share of claims is told beside the
    others, because a flourish of the house is no claim, yet looks like one; and macro-F1 is of
    all questions, so it cannot be compared in pairs as accuracy is.
    """

    key: str
    title: str
    more_is_better: bool = True
    decides: bool = True


MEASURES = (
    Measure("style", "style"),
    Measure("accuracy", "accuracy"),
    Measure("macro_f1", "macro-F1", decides=False),
    Measure("valid", "valid JSON"),
    Measure("field_accuracy", "field accuracy"),
    Measure("overlap", "overlap (ROUGE-L)"),
    Measure("figures", "figures from the request"),
    Measure("facts", "expected facts"),
    Measure("support", "figures and names supported"),
    Measure("declined", "declined where unanswerable"),
    Measure("false_refusals", "declined where answerable", more_is_better=False),
    Measure("claims", "claims supported", decides=False),
)
DECISIVE = tuple(measure for measure in MEASURES if measure.decides)


def task_scores(
    kind: str, text: str, *, wanted: str | None, sources: Sequence[str]
) -> dict[str, float]:
    """The measures of one text by its task, each within 0..1; none for a reply.

    `wanted` is the house's own answer, where it is known, and `sources` are what a text is made
    from: the request, and the passages shown. Labels: *accuracy*. JSON: *valid* and *field
    accuracy* (`tuning.task_measures`). Texts: *overlap*, which is ROUGE-L's F1 with the house's
    own, and *figures*, the share of the text's figures that its sources hold.
    """
    if kind == "label" and wanted is not None:
        return {"accuracy": float(label_key(text) == label_key(wanted))}
    if kind == "json":
        scores = {"valid": float(read_json(text) is not None)}
        if wanted is not None and read_json(wanted) is not None:
            scores["field_accuracy"] = json_scores([text], [wanted]).field_accuracy
        return scores
    if kind == "text":
        scores = {"figures": support(text, sources, "").figure_share}
        return scores if wanted is None else {"overlap": rouge_l(text, wanted), **scores}
    return {}
