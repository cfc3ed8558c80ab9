"""Where a model runs and in which numbers: chosen once, with the reason. Knows no model."""

from __future__ import annotations

import torch

from tuning.errors import GeneratorError


def choose_device(device: str = "auto") -> tuple[torch.device, torch.dtype, str]:
    """The device and dtype to run on, and the reason in words."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda"):
        if not torch.cuda.is_available():
            raise GeneratorError("device 'cuda' was asked for, but torch sees no CUDA device")
        if torch.cuda.is_bf16_supported():
            return torch.device(device), torch.bfloat16, "CUDA with bfloat16"
        return torch.device(device), torch.float16, "CUDA without bfloat16"
    if torch.cpu._is_avx512_bf16_supported():
        return torch.device("cpu"), torch.bfloat16, "CPU with AVX512-BF16"
    return torch.device("cpu"), torch.float32, "CPU without bfloat16 instructions"
