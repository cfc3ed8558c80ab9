"""How a voice is trained, as asked for: OpenAI's `method` object and the kind of adapter.

`supervised` learns replies, `dpo` learns which of two replies is preferred. Knows no jobs and no
training.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from server.errors import ApiError
from tuning.examples import read_examples
from tuning.preferences import read_preferences
from tuning.records import Example

BYTES_PER_WEIGHT = 16  # in a full fine-tune: weight, gradient and Adam's two moments in float32
Limits = tuple[str, float, float]  # field of the config, lowest, highest


@dataclass(frozen=True, slots=True)
class Method:
    """A way to train: its name on the wire, the worker's kind of job, how its file is read.

    `read(data, least=...)` refuses a file of fewer examples. `limits` are the hyperparameters
    that only this method has.
    """

    type: str
    kind: str
    read: Callable[..., list[Example]]
    limits: Mapping[str, Limits] = field(default_factory=dict)


SUPERVISED = Method("supervised", "voice", read_examples)
DPO = Method(
    "dpo",
    "preference",
    read_preferences,
    {
        "beta": ("beta", 0.001, 10),
        "sft_weight": ("sft_weight", 0, 10),
        "batch_size": ("batch_pairs", 1, 512),
    },
)
METHODS = {method.type: method for method in (SUPERVISED, DPO)}


def read_method(value: Mapping[str, Any] | str | None) -> tuple[Method, dict[str, Any]]:
    """The method asked for and its hyperparameters as they came; raises ApiError."""
    value = {"type": value} if isinstance(value, str) else value or {}
    name = value.get("type", "supervised")
    method = METHODS.get(name) if isinstance(name, str) else None
    if method is None:
        known = " and ".join(map(repr, METHODS))
        raise _refused(f"The method {name!r} is not supported; supported are {known}.")
    settings = value.get(method.type) or {}
    asked = settings.get("hyperparameters") or {} if isinstance(settings, dict) else None
    if not isinstance(asked, dict):
        raise _refused(f'method.{method.type} must hold an object "hyperparameters".')
    return method, asked


def method_object(request: Mapping[str, Any]) -> dict[str, Any]:
    """The `method` of a job, as the client reads it."""
    chosen = request["hyperparameters"]
    shown = {"n_epochs": chosen.get("max_epochs", "auto")}
    name = request.get("method", "supervised")
    if name not in METHODS:  # of search: the client knows its own methods only
        name = SUPERVISED.type
    if name == DPO.type:
        shown |= {
            "beta": chosen.get("beta", "auto"),
            "batch_size": chosen.get("batch_pairs", "auto"),
        }
    return {"type": name, name: {"hyperparameters": shown}}


def full_warning(weights: int) -> str:
    """What a full fine-tune of a model of so many weights costs, in words."""
    return (
        f"A full fine-tune changes all {weights / 1e6:.0f} million weights. It needs about "
        f"{weights * BYTES_PER_WEIGHT / 1e9:.1f} GB of memory to train, a whole copy of the model "
        "on disk for each version and in memory while it serves, and it forgets more of what the "
        "base knows than LoRA does. The gate judges it like any other version."
    )


def _refused(message: str) -> ApiError:
    return ApiError(400, message, param="method", code="invalid_value")
