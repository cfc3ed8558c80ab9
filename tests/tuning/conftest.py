"""Generators for these tests: tiny, random, and lively enough to write varied text."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tuning.adapter import Card, adapter_digest, new_adapter, save_adapter
from tuning.generator import Generator, load_generator
from tuning.records import Row, Split, VoiceConfig

PROMPT_DIGEST = "a-prompt-format"

MakeGenerator = Callable[[], Generator]
MakeAdapter = Callable[..., str]


@pytest.fixture(scope="session")
def lively_folder(tiny_generator: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny llama with stronger layers: the plain one repeats its last token for ever."""
    folder = tmp_path_factory.mktemp("lively-llama")
    generator = load_generator(str(tiny_generator), models_dir=folder / "models", device="cpu")
    for weight in generator.model.model.layers.parameters():
        if weight.ndim > 1:
            weight.mul_(10)
    generator.model.save_pretrained(folder)
    generator.template.tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def make_generator(lively_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> MakeGenerator:
    """A function that loads the lively llama anew, in float32 so that sums can be compared."""
    models_dir = tmp_path_factory.mktemp("models")

    def make() -> Generator:
        generator = load_generator(str(lively_folder), models_dir=models_dir, device="cpu")
        return replace(generator, model=generator.model.float(), dtype=torch.float32)

    return make


@pytest.fixture
def generator(make_generator: MakeGenerator) -> Generator:
    return make_generator()


@pytest.fixture(scope="session")
def make_adapter(make_generator: MakeGenerator) -> MakeAdapter:
    """A function that leaves a random adapter in a folder and returns its digest."""

    def make(folder: Path, *, seed: int, **card: str) -> str:
        generator = make_generator()
        torch.manual_seed(seed)
        model = new_adapter(generator, VoiceConfig(rank=4))
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weight, std=0.2)
        aside = folder / f"seed-{seed}"
        save_adapter(model, aside)
        facts = {
            "voice": "support",
            "base": generator.name,
            "base_fingerprint": generator.fingerprint,
            "prompt_digest": PROMPT_DIGEST,
            "data_digest": "some-data",
            **card,
        }
        Card(**facts, config={}).save(aside)  # type: ignore[arg-type]
        digest = adapter_digest(aside)
        os.rename(aside, folder / digest)
        return digest

    return make


@pytest.fixture(scope="session")
def toy_rows() -> list[Row]:
    """Rows that a voice learns at once: whatever is asked, the house says the same."""
    splits: tuple[Split, ...] = ("train", "train", "train", "dev", "train", "gate")
    return [
        Row(
            messages=({"role": "user", "content": f"ask {'again ' * (i % 4)}{i}"},),
            reply="house!" if i % 3 else "our house!",
            split=splits[i % len(splits)],
            kind="chat",
            group=str(i),
            line=i + 1,
        )
        for i in range(36)
    ]
