"""A full fine-tune: all weights of the generator are trained, stored and served.

It is stored as one safetensors file of every weight, beside the card that every version has.
Serving swaps the tensors behind the model's parameters, so nothing is copied when the voice
changes, and the base's own tensors come back untouched.

Knows no LoRA, no data and no requests. Read `WeightSwitch` first.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from tuning.generator import Generator

WEIGHTS = "full_model.safetensors"


def new_full(generator: Generator, parent: Path | None) -> Any:
    """The generator's own model with all weights trainable, in float32.

    In bfloat16 a step of 1e-5 of a weight would be rounded away, so it is trained in float32
    (the products still run in the generator's dtype) and rounded once, by `round_weights`.
    """
    model = generator.model.float()
    if parent is not None:
        load_full(model, parent)
    return model.requires_grad_(True)


def save_full(model: Any, folder: Path) -> None:
    """Write every weight of a model; tied ones once."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: weight.detach().contiguous() for name, weight in model.named_parameters()}
    save_file(tensors, folder / WEIGHTS)


@torch.no_grad()
def load_full(model: Any, folder: Path) -> None:
    """Put the weights in a folder into a model, in the model's dtype."""
    tensors = load_file(folder / WEIGHTS)
    for name, weight in model.named_parameters():
        weight.copy_(tensors[name])


def round_weights(folder: Path, dtype: torch.dtype) -> None:
    """Store a finished training's weights in the dtype in which they are served."""
    tensors = load_file(folder / WEIGHTS)
    save_file({name: weight.to(dtype) for name, weight in tensors.items()}, folder / WEIGHTS)


def own_weights(model: Any) -> dict[str, torch.nn.Parameter]:
    """The parameters of a model by the names that they had before PEFT wrapped their layers."""
    return {
        name.replace(".base_layer.", "."): weight
        for name, weight in model.named_parameters()
        if ".lora_" not in name
    }


class WeightSwitch:
    """The base's own weights and those of at most one full version, of which one is in use.

    A full version takes as much memory as the base, so only one is kept: where two full voices
    are asked in turns, each turn reads the other's file again.
    """

    def __init__(self, generator: Generator) -> None:
        self._device = str(generator.device)
        self._parameters = own_weights(generator.model)
        self.base = {name: weight.data for name, weight in self._parameters.items()}
        self._other: dict[str, torch.Tensor] = {}
        self.digest: str | None = None  # of the full version that is in memory
        self._in_use: str | None = None

    def load(self, digest: str, folder: Path) -> None:
        """Read a full version in place of the one before; the base's weights are in use then."""
        self.drop()
        tensors = load_file(folder / WEIGHTS, device=self._device)
        self._other = {name: tensors[name].to(own.dtype) for name, own in self.base.items()}
        self.digest = digest

    def drop(self) -> None:
        """Forget the full version that is in memory."""
        self.use(None)
        self._other, self.digest = {}, None

    def use(self, digest: str | None) -> None:
        """Let the model compute with the base's weights (None) or with the full version's."""
        if digest == self._in_use:
            return
        tensors = self.base if digest is None else self._other
        for name, parameter in self._parameters.items():
            parameter.data = tensors[name]
        self._in_use = digest
