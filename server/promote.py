"""The gate: whether a freshly trained version of a voice may speak for it.

Pure. For now one measure judges: the held-out loss must be lower than the untuned base's, and
lower than the active version's where both were measured on the same held-out rows. Support,
declines and memorisation, with intervals, are not measured here yet.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether to activate, and why, in words."""

    promoted: bool
    reasons: tuple[str, ...]


def decide(card: Mapping[str, Any], active: Mapping[str, Any] | None = None) -> Decision:
    """Judge a trained version by its card, against the active version's card if there is one."""
    before, after = card["metrics"]["heldout_before"], card["metrics"]["heldout_after"]
    change = f"held-out loss {before:.3f} -> {after:.3f} nats per token"
    if not after < before:  # a loss that is no number is no help either
        return Decision(False, (f"{change}: training did not help",))
    if active is not None and _same_rows(card, active):
        best = active["metrics"]["heldout_after"]
        against = f"the active version has {best:.3f} on the same held-out rows"
        return Decision(after < best, (change, against))
    return Decision(True, (change,))


def _same_rows(card: Mapping[str, Any], active: Mapping[str, Any]) -> bool:
    names = ("data_digest", "prompt_digest", "base_fingerprint")
    return all(card[name] == active[name] for name in names)
