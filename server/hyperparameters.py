"""A job's hyperparameters: names as clients send them -> fields of a training's configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from server.errors import ApiError

Limits = Mapping[str, tuple[str, float, float]]  # name -> (field, lowest, highest)

_WHOLE = frozenset(
    "max_epochs rank lora_rank alpha batch batch_tokens batch_pairs hard_negatives patience "
    "seed least_dimensions written_questions compare_stock".split()
)


def within_limits(asked: Mapping[str, Any], limits: Limits) -> dict[str, Any]:
    """What was asked for, by field; raises `ApiError` 400 for an unknown name or a wrong value."""
    chosen: dict[str, Any] = {}
    for name, value in asked.items():
        if name not in limits:
            known = ", ".join(limits)
            raise refused(name, f"The hyperparameter {name!r} is not known; known are {known}.")
        target, lowest, highest = limits[name]
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not lowest <= value <= highest:
            raise refused(name, f"{name} must be a number within {lowest:g}..{highest:g}.")
        if target in _WHOLE and value != int(value):
            raise refused(name, f"{name} must be a whole number.")
        chosen[target] = int(value) if target in _WHOLE else float(value)
    return chosen


def refused(param: str, message: str) -> ApiError:
    """The error of a parameter that a job cannot have."""
    return ApiError(400, message, param=param, code="invalid_value")
