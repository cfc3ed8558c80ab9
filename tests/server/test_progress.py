"""A worker's metrics as events that OpenAI's clients understand."""

from __future__ import annotations

from server.progress import describe


def test_a_training_step_tells_its_loss_under_openais_name() -> None:
    event = describe({"step": 3, "loss": 1.5, "seconds": 2.0}, now=7)
    assert event is not None and event.type == "metrics" and event.created_at == 7
    assert event.message == "Step 3: training loss 1.500"
    assert event.data == {"step": 3, "train_loss": 1.5, "seconds": 2.0}


def test_an_evaluation_tells_the_heldout_loss() -> None:
    event = describe({"step": 4, "heldout_loss": 1.25}, now=7)
    assert event is not None and event.message == "Step 4: held-out loss 1.250"
    assert event.data == {"step": 4, "full_valid_loss": 1.25, "valid_loss": 1.25}


def test_the_beginning_tells_how_many_rows_there_are() -> None:
    event = describe({"step": 0, "train_rows": 24, "dev_rows": 6}, now=7)
    assert event is not None and event.type == "message"
    assert event.message == "24 rows to learn from, 6 held out"


def test_other_metrics_make_no_event() -> None:
    assert describe({"step": 3}, now=7) is None
