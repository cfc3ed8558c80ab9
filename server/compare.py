"""Two versions of a voice side by side: every figure that was measured of either. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

# What must be equal for figures to mean the same, and what it means where it is not.
_CONDITIONS = {
    "base_fingerprint": "they were trained on different base models",
    "prompt_digest": "they were trained with different prompt formats",
    "data_digest": "they were trained on different data, so the held-out rows may differ",
}


def side_by_side(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Name, both values and the change of every figure; None where one was not measured.

    Nested figures are named by their path, such as `style.mean`.
    """
    figures_a, figures_b = dict(_figures(a)), dict(_figures(b))
    rows = []
    for name in dict.fromkeys([*figures_a, *figures_b]):
        first, second = figures_a.get(name), figures_b.get(name)
        change = None if first is None or second is None else second - first
        rows.append({"name": name, "a": first, "b": second, "change": change})
    return rows


def gate_figures(card: Mapping[str, Any]) -> dict[str, float | None]:
    """What the gate has measured of a version, by measure; nothing of one that it did not judge."""
    return {row["name"]: row["candidate"] for row in card.get("gate", ())}


def caveats(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """Why the figures of two cards cannot simply be compared, in words."""
    return [said for key, said in _CONDITIONS.items() if a.get(key) != b.get(key)]


def _figures(values: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, float]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _figures(value, f"{path}{name}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield path + name, value
