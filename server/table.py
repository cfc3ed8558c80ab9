"""A verdict as text: a Markdown table, the recommendation, and what must be known beside it. Pure.

Read `write_table` first.
"""

from __future__ import annotations

from typing import Any

from server.measures import MEASURES, Measure

_MOST_UNANSWERED = 20


def write_table(result: dict[str, Any]) -> str:
    """An evaluation's result as Markdown; figures have their 95% intervals behind them."""
    lines = [result["recommendation"]["text"], ""]
    measures = measured(result)
    for state, title in (("served", "As served"), ("drafted", "As drafted by the model")):
        head = ["arm", *(measure.title for measure in measures)]
        rows = [
            [arm["title"], *(share(arm[state].get(measure.key)) for measure in measures)]
            for arm in result["arms"]
        ]
        lines += [f"## {title}", "", *_table(head, rows), ""]
    head = ["arm", "prompt tokens", "answer tokens", "both", "first token", "whole answer"]
    rows = [
        [
            arm["title"],
            _number(arm["prompt_tokens"], 0),
            _number(arm["answer_tokens"], 0),
            _number(arm.get("request_tokens"), 0),
            _number(arm["first_token_seconds"], 2, " s"),
            _number(arm["seconds"], 2, " s"),
        ]
        for arm in result["arms"]
    ]
    lines += ["## Cost of a request", "", *_table(head, rows), ""]
    lines += notes(result)
    return "\n".join(lines).rstrip() + "\n"


def measured(result: dict[str, Any]) -> list[Measure]:
    """The measures that some arm has a figure of; a task has its own."""
    return [
        measure
        for measure in MEASURES
        if any(arm["served"].get(measure.key) for arm in result["arms"])
    ]


def notes(result: dict[str, Any]) -> list[str]:
    """What must be known beside the figures, and the questions that are answered nowhere."""
    asked = result["questions"]
    lines = [
        f"- {asked['answerable']} answerable and {asked['unanswerable']} unanswerable questions "
        "were answered by every arm."
    ]
    if result["style_ceiling"]:
        lines.append(
            f"- Style of the house's own held-out replies: {share(result['style_ceiling'])}."
        )
    lines += [f"- {note}" for note in result["notes"]]
    missing = result["unanswered"]
    if missing:
        lines.append("- Answered nowhere in the documents:")
        lines += [f"  - {' '.join(text.split())}" for text in missing[:_MOST_UNANSWERED]]
        if len(missing) > _MOST_UNANSWERED:
            lines.append(f"  - and {len(missing) - _MOST_UNANSWERED} more")
    return lines


def share(figure: dict[str, Any] | None) -> str:
    """A share with its interval, in percent: `82% (75-88)`."""
    if figure is None:
        return "-"
    return f"{figure['mean']:.0%} ({100 * figure['low']:.0f}-{100 * figure['high']:.0f})"


def _number(figure: dict[str, Any] | None, digits: int, unit: str = "") -> str:
    if figure is None:
        return "-"
    low, high = f"{figure['low']:.{digits}f}", f"{figure['high']:.{digits}f}"
    return f"{figure['mean']:.{digits}f}{unit} ({low}-{high})"


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    cells = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in cells]
