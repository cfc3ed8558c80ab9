"""The gate: whether a freshly trained version of a voice may speak for it.

Pure. For now one measure judges: the held-out loss must have fallen against the untuned base.
Support, declines and memorisation, with intervals, are measured later in this gate's history.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether to activate, and why, in words."""

    promoted: bool
    reasons: tuple[str, ...]


def decide(outcome: dict[str, Any]) -> Decision:
    """Judge a training by its outcome (`tuning.voice.Outcome` as a dict)."""
    before, after = outcome["heldout_before"], outcome["heldout_after"]
    change = f"held-out loss {before:.3f} -> {after:.3f} nats per token"
    if after < before:
        return Decision(True, (change,))
    return Decision(False, (f"{change}: training did not help, so the version stays a candidate",))
