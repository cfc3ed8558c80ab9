"""The gate: nothing is promoted that did not measure better."""

from __future__ import annotations

from server.promote import decide


def test_a_lower_heldout_loss_is_promoted_with_both_figures() -> None:
    decision = decide({"heldout_before": 3.25, "heldout_after": 2.5})
    assert decision.promoted
    assert decision.reasons == ("held-out loss 3.250 -> 2.500 nats per token",)


def test_a_training_that_did_not_help_stays_a_candidate() -> None:
    for after in (3.25, 3.5, float("nan"), float("inf")):
        decision = decide({"heldout_before": 3.25, "heldout_after": after})
        assert not decision.promoted
        assert "training did not help" in decision.reasons[0]
