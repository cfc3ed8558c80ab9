"""A verdict as a picture: an SVG of bars with intervals, readable in light and dark. Pure.

One panel per figure, one bar per arm: the bar and its whisker are the text as served, the ring
is the model's draft. It needs no script and nothing from elsewhere. Read `draw` first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from textwrap import wrap
from typing import Any

from server.measures import MEASURES

COLUMNS = 2
PANEL_WIDTH, LABEL_WIDTH, VALUE_WIDTH = 440, 130, 74
ROW, HEAD, GAP = 20, 30, 18
LINE = 18  # height of a line of the recommendation
LINE_CHARACTERS = 118

_STYLE = """
  svg { font: 12px system-ui, sans-serif; --ink: #1d2430; --quiet: #667080; --paper: #ffffff;
        --line: #d5dae2; --bar: #9fb2cc; --voice: #2f6fd6; }
  @media (prefers-color-scheme: dark) {
    svg { --ink: #e8ecf2; --quiet: #9aa5b5; --paper: #14181f; --line: #343c49;
          --bar: #55657d; --voice: #6ea2f5; } }
  text { fill: var(--ink); } .quiet { fill: var(--quiet); } .head { font-weight: 600; }
  .paper { fill: var(--paper); } .track { fill: var(--line); opacity: .45; }
  .bar { fill: var(--bar); } .voice { fill: var(--voice); }
  .whisker { stroke: var(--ink); stroke-width: 1.5; } .draft { fill: none; stroke: var(--ink); }
"""


@dataclass(frozen=True, slots=True)
class _Panel:
    """One figure of all arms; `limit` is the value at the end of the longest bar."""

    title: str
    served: Sequence[dict[str, Any] | None]
    drafted: Sequence[dict[str, Any] | None]
    limit: float
    show: Callable[[float], str]


def draw(result: dict[str, Any]) -> str:
    """The picture of an evaluation's result, as SVG."""
    arms = result["arms"]
    panels = _panels(arms)
    lines = wrap(result["recommendation"]["text"], LINE_CHARACTERS)
    top = GAP + LINE * len(lines) + GAP
    height = HEAD + ROW * len(arms) + GAP
    rows = -(-len(panels) // COLUMNS)
    width = GAP + COLUMNS * (PANEL_WIDTH + GAP)
    whole = top + rows * height + LINE + GAP
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {whole}" '
        f'width="{width}" height="{whole}" role="img" aria-labelledby="title">',
        f'<title id="title">{escape(result["recommendation"]["text"])}</title>',
        f"<style>{_STYLE}</style>",
        f'<rect class="paper" width="{width}" height="{whole}"/>',
    ]
    for number, line in enumerate(lines):
        parts.append(_text(GAP, GAP + LINE * number + 12, line, "head"))
    for number, panel in enumerate(panels):
        x = GAP + number % COLUMNS * (PANEL_WIDTH + GAP)
        y = top + number // COLUMNS * height
        parts += _panel(panel, arms, x, y)
    legend = "Bar: as served, with its 95% interval. Ring: as the model drafted it."
    parts.append(_text(GAP, whole - GAP, legend, "quiet"))
    return "\n".join([*parts, "</svg>", ""])


def _panels(arms: Sequence[dict[str, Any]]) -> list[_Panel]:
    panels = [
        _Panel(
            measure.title if measure.more_is_better else f"{measure.title} (less is better)",
            [arm["served"].get(measure.key) for arm in arms],
            [arm["drafted"].get(measure.key) for arm in arms],
            1.0,
            lambda value: f"{value:.0%}",
        )
        for measure in MEASURES
    ]
    for key, title, unit in (
        ("prompt_tokens", "tokens of a prompt", "{:.0f}"),
        ("answer_tokens", "tokens of an answer", "{:.0f}"),
        ("request_tokens", "tokens of a request", "{:.0f}"),
        ("first_token_seconds", "seconds to the first token", "{:.2f} s"),
        ("seconds", "seconds to the whole answer", "{:.2f} s"),
    ):
        figures = [arm.get(key) for arm in arms]
        limit = max((figure["high"] for figure in figures if figure), default=0.0)
        panels.append(_Panel(title, figures, [None] * len(arms), limit or 1.0, unit.format))
    return [panel for panel in panels if any(panel.served)]


def _panel(panel: _Panel, arms: Sequence[dict[str, Any]], x: float, y: float) -> list[str]:
    parts = [_text(x, y + 14, panel.title, "head")]
    start, length = x + LABEL_WIDTH, PANEL_WIDTH - LABEL_WIDTH - VALUE_WIDTH

    def place(value: float) -> float:
        return start + length * min(max(value / panel.limit, 0.0), 1.0)

    for number, arm in enumerate(arms):
        middle = y + HEAD + ROW * number + ROW / 2
        figure, draft = panel.served[number], panel.drafted[number]
        parts.append(_text(start - 8, middle + 4, arm["title"], "", anchor="end"))
        parts.append(_bar("track", start, middle, length))
        if figure is None:
            parts.append(_text(start + length + 8, middle + 4, "not measured", "quiet"))
            continue
        kind = "bar voice" if "voice" in arm["arm"] else "bar"
        parts.append(_bar(kind, start, middle, place(figure["mean"]) - start))
        low, high = place(figure["low"]), place(figure["high"])
        parts.append(
            f'<path class="whisker" d="M{low:.1f} {middle:.1f}H{high:.1f}'
            f'M{low:.1f} {middle - 3:.1f}v6M{high:.1f} {middle - 3:.1f}v6"/>'
        )
        if draft is not None:
            parts.append(
                f'<circle class="draft" cx="{place(draft["mean"]):.1f}" cy="{middle:.1f}" r="4"/>'
            )
        parts.append(_text(start + length + 8, middle + 4, panel.show(figure["mean"]), ""))
    return parts


def _bar(kind: str, x: float, middle: float, length: float) -> str:
    return (
        f'<rect class="{kind}" x="{x:.1f}" y="{middle - 6:.1f}" '
        f'width="{max(length, 0):.1f}" height="12" rx="2"/>'
    )


def _text(x: float, y: float, text: str, kind: str, *, anchor: str = "start") -> str:
    return (
        f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
    )
