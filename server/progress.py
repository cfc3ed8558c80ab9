"""A worker's metrics as a job's events, with OpenAI's names for the losses. Pure."""

from __future__ import annotations

from typing import Any

from server.ids import new_id
from server.trainings import Event


def describe(metrics: dict[str, Any], *, now: int) -> Event | None:
    """One event for one line of metrics; None for lines that tell a user nothing."""
    step = metrics.get("step", 0)
    if "heldout_loss" in metrics:
        loss = metrics["heldout_loss"]
        more = {k: v for k, v in metrics.items() if k not in ("step", "heldout_loss")}
        data = {"step": step, "full_valid_loss": loss, "valid_loss": loss, **more}
        words = f"Step {step}: held-out loss {loss:.3f}"
        if "heldout_accuracy" in more:  # of preferences
            words += f", {more['heldout_accuracy']:.0%} of the preferences right"
        return _event(words, data, now)
    if "loss" in metrics:
        data = {**metrics, "train_loss": metrics["loss"]}
        del data["loss"]
        return _event(f"Step {step}: training loss {metrics['loss']:.3f}", data, now)
    if "train_rows" in metrics:
        message = f"{metrics['train_rows']} rows to learn from, {metrics['dev_rows']} held out"
        return Event(new_id("ftevent"), "info", "message", message, metrics, now)
    if "texts" in metrics:
        message = f"Texts for the gate: {metrics['texts']} of {metrics['of']}"
        return Event(new_id("ftevent"), "info", "message", message, metrics, now)
    if "stage" in metrics:
        return Event(new_id("ftevent"), "info", "message", metrics["stage"], None, now)
    return None


def _event(message: str, data: dict[str, Any], now: int) -> Event:
    return Event(new_id("ftevent"), "info", "metrics", message, data, now)
