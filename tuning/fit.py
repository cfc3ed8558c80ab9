"""Whether an adapter fits its base and does anything there: asked once, when it is loaded.

The card says what an adapter was trained on; this looks at the weights themselves. Shapes are
read from the file's header before PEFT touches the model, and the effect is heard on a fixed
prompt.

Knows no voices and no training. Read `misfit` first.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from tuning.generator import Generator

FIXTURE = "Good morning. How many days do I have to bring a bag back, and what does that cost?"

_LORA = re.compile(r"base_model\.model\.(.+)\.lora_(A|B)\.weight")
Shapes = Mapping[str, tuple[int, int]]


def linear_shapes(model: Any) -> dict[str, tuple[int, int]]:
    """(outputs, inputs) of every linear layer of a model by its name, adapters left out."""
    shapes: dict[str, tuple[int, int]] = {}
    for name, module in model.named_modules():
        if ".lora_" in name:
            continue
        if isinstance(module, torch.nn.Linear):
            shapes[name.removesuffix(".base_layer")] = (module.out_features, module.in_features)
        elif type(module).__name__ == "Conv1D":  # GPT-2's linear layer, transposed
            inputs, outputs = module.weight.shape
            shapes[name.removesuffix(".base_layer")] = (outputs, inputs)
    return shapes


def misfit(file: Path, shapes: Shapes) -> str | None:
    """Why the LoRA weights in a file do not fit a model of these shapes; None where they do."""
    with safe_open(file, "pt") as weights:
        names = list(weights.keys())
        for name in names:
            match = _LORA.fullmatch(name)
            if match is None:
                return f"{name} is no LoRA weight of a linear layer"
            layer, side = match.groups()
            if layer not in shapes:
                return f"there is no linear layer {layer}"
            outputs, inputs = shapes[layer]
            shape = weights.get_slice(name).get_shape()
            has, wanted = (shape[1], inputs) if side == "A" else (shape[0], outputs)
            if has != wanted:
                return f"{layer} has {wanted} where the adapter has {has}"
    return None if names else "it holds no weights"


def full_misfit(file: Path, weights: Mapping[str, torch.Tensor]) -> str | None:
    """The same for the weights of a full fine-tune: all of the base's, in their shapes."""
    with safe_open(file, "pt") as stored:
        names = set(stored.keys())
        if names != set(weights):
            return f"{min(names ^ set(weights))} is only in one of them"
        for name, weight in weights.items():
            if list(weight.shape) != stored.get_slice(name).get_shape():
                return f"{name} has another shape"
    return None


@torch.no_grad()
def heard(generator: Generator) -> torch.Tensor:
    """The logits of the fixed prompt as the model speaks now; (T, vocabulary)."""
    ids = generator.template.prompt([{"role": "user", "content": FIXTURE}])
    ids = ids[: generator.context_tokens]
    logits: torch.Tensor = generator.model(
        input_ids=torch.tensor([ids], device=generator.device), use_cache=False
    ).logits[0]
    return logits
