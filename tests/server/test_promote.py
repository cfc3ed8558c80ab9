"""The gate: nothing is promoted that did not measure better."""

from __future__ import annotations

from typing import Any

import pytest

from server.promote import decide

NO_NUMBER = float("nan")


def card(before: float, after: float, **changes: str) -> dict[str, Any]:
    names = {"data_digest": "data", "prompt_digest": "prompt", "base_fingerprint": "base"}
    return {**names, **changes, "metrics": {"heldout_before": before, "heldout_after": after}}


def test_a_lower_heldout_loss_is_promoted_with_both_figures() -> None:
    decision = decide(card(3.25, 2.5))
    assert decision.promoted
    assert decision.reasons == ("held-out loss 3.250 -> 2.500 nats per token",)


@pytest.mark.parametrize(
    ("before", "after"), [(3.25, 3.25), (3.25, 3.5), (3.25, NO_NUMBER), (NO_NUMBER, 2.5)]
)
def test_a_training_that_did_not_help_stays_a_candidate(before: float, after: float) -> None:
    for active in (None, card(3.25, 9.0)):
        decision = decide(card(before, after), active)
        assert not decision.promoted and "training did not help" in decision.reasons[0]


@pytest.mark.parametrize(("best", "promoted"), [(2.75, True), (2.5, False), (2.25, False)])
def test_a_version_must_beat_the_active_one_on_the_same_rows(best: float, promoted: bool) -> None:
    decision = decide(card(3.25, 2.5), card(3.25, best))
    assert decision.promoted is promoted
    assert f"the active version has {best:.3f}" in decision.reasons[1]


@pytest.mark.parametrize("name", ["data_digest", "prompt_digest", "base_fingerprint"])
def test_figures_of_other_rows_are_not_compared(name: str) -> None:
    decision = decide(card(3.25, 2.5), card(3.25, 2.0, **{name: "another"}))
    assert decision.promoted and len(decision.reasons) == 1
