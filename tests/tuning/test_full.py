"""A full fine-tune: what is served is what was trained, and the base comes back untouched."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tuning.adapter import AdapterSet, Card, adapter_digest, new_adapter, save_adapter
from tuning.checkpoint import Checkpoints
from tuning.errors import AdapterError
from tuning.fit import heard
from tuning.full import WEIGHTS, load_full, round_weights
from tuning.generator import Generator, load_generator
from tuning.preference import train_preferences
from tuning.records import PreferenceConfig, Row, VoiceConfig
from tuning.voice import Outcome, train_voice

PROMPT_DIGEST = "a-prompt-format"
MakeGenerator = Callable[[], Generator]
CONFIG = VoiceConfig(
    adapter="full",
    learning_rate=1e-2,
    max_epochs=3,
    batch_tokens=200,
    patience=100,
    checkpoint_seconds=0,
)


def train(
    generator: Generator, rows: list[Row], folder: Path, *, killed_at: int | None = None
) -> Outcome:
    def report(metrics: dict[str, Any]) -> None:
        if killed_at is not None and metrics["step"] == killed_at and "loss" in metrics:
            raise Killed

    return train_voice(
        generator,
        rows,
        CONFIG,
        checkpoints=Checkpoints(folder),
        report=report,
        clock=itertools.count(1.0).__next__,
    )


class Killed(BaseException):
    """Stands for the end of the process in the middle of a training."""


def placed(generator: Generator, source: Path, adapters: Path, **card: Any) -> str:
    """Give a checkpoint its card and its place, as the worker does; returns its digest."""
    aside = adapters / "aside"
    aside.mkdir(parents=True)
    save_file(load_file(source / WEIGHTS), aside / WEIGHTS)
    round_weights(aside, generator.dtype)
    facts = {
        "voice": "support",
        "base": generator.name,
        "base_fingerprint": generator.fingerprint,
        "prompt_digest": PROMPT_DIGEST,
        "data_digest": "some-data",
        "config": asdict(CONFIG),
        "adapter": "full",
    }
    Card(**{**facts, **card}).save(aside)
    digest = adapter_digest(aside)
    os.rename(aside, adapters / digest)
    return digest


@pytest.fixture(scope="module")
def trained(
    make_generator: MakeGenerator, toy_rows: list[Row], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Outcome]:
    folder = tmp_path_factory.mktemp("full")
    return folder, train(make_generator(), toy_rows, folder)


def test_all_weights_are_trained(
    trained: tuple[Path, Outcome], make_generator: MakeGenerator
) -> None:
    folder, outcome = trained
    assert outcome.heldout_after < 0.8 * outcome.heldout_before
    stored = load_file(folder / "best" / WEIGHTS)
    base = dict(make_generator().model.named_parameters())
    assert stored.keys() == base.keys()
    assert all(not torch.equal(stored[name], base[name]) for name in base)


def test_an_interrupted_full_training_ends_with_the_same_weights(
    trained: tuple[Path, Outcome],
    make_generator: MakeGenerator,
    toy_rows: list[Row],
    tmp_path: Path,
) -> None:
    with pytest.raises(Killed):
        train(make_generator(), toy_rows, tmp_path, killed_at=5)
    outcome = train(make_generator(), toy_rows, tmp_path)
    assert replace(outcome, seconds=0) == replace(trained[1], seconds=0)
    expected, resumed = (load_file(f / "best" / WEIGHTS) for f in (trained[0], tmp_path))
    assert all(torch.equal(resumed[name], expected[name]) for name in expected)


def test_what_is_served_is_what_was_trained_and_the_base_comes_back_bit_for_bit(
    trained: tuple[Path, Outcome],
    make_generator: MakeGenerator,
    make_adapter: Callable[..., str],
    tmp_path: Path,
) -> None:
    generator = make_generator()
    full = placed(generator, trained[0] / "best", tmp_path)
    lora = make_adapter(tmp_path, seed=1)
    reference = make_generator()
    load_full(reference.model, trained[0] / "best")
    base, expected = heard(generator), heard(reference)
    adapters = AdapterSet(generator, folder=tmp_path, prompt_digest=PROMPT_DIGEST)
    adapters.select(lora)
    with_lora = heard(generator)
    for _ in range(2):  # in every order: no voice leaves a trace
        for digest, wanted in (
            (full, expected),
            (lora, with_lora),
            (None, base),
            (full, expected),
            (None, base),
            (lora, with_lora),
        ):
            adapters.select(digest)
            assert torch.equal(heard(generator), wanted)


def test_of_two_full_versions_one_is_in_memory_and_both_answer(
    trained: tuple[Path, Outcome], make_generator: MakeGenerator, tmp_path: Path
) -> None:
    generator = make_generator()
    base = heard(generator)
    first = placed(generator, trained[0] / "best", tmp_path)
    last = max(trained[0].glob("step-*"))
    other = make_generator()
    load_full(other.model, last)
    other.model.requires_grad_(False).lm_head.weight.mul_(1.5)
    save_adapter(other.model, tmp_path / "other")
    second = placed(generator, tmp_path / "other", tmp_path)
    adapters = AdapterSet(generator, folder=tmp_path, prompt_digest=PROMPT_DIGEST)
    said: dict[str, torch.Tensor] = {}
    with torch.inference_mode():
        for digest in (first, second, first, second):
            adapters.select(digest)
            assert torch.equal(heard(generator), said.setdefault(digest, heard(generator)))
        adapters.select(None)
        assert torch.equal(heard(generator), base)
    assert not torch.equal(said[first], said[second])


def test_a_full_version_is_served_in_the_dtype_of_the_base(
    trained: tuple[Path, Outcome], lively_folder: Path, tmp_path: Path
) -> None:
    generator = load_generator(str(lively_folder), models_dir=tmp_path, device="cpu")
    digest = placed(generator, trained[0] / "best", tmp_path)
    stored = load_file(tmp_path / digest / WEIGHTS)
    assert {weight.dtype for weight in stored.values()} == {generator.dtype}


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda w: {k: v for k, v in w.items() if "up_proj" not in k}, "up_proj.weight is only in"),
        (lambda w: {k: v[:-1].clone() for k, v in w.items()}, "another shape"),
        (lambda w: {k: v * float("nan") for k, v in w.items()}, "gives no numbers"),
    ],
    ids=["weights missing", "other shapes", "not a number"],
)
def test_a_full_version_that_does_not_fit_is_refused_and_the_base_stays(
    make_generator: MakeGenerator,
    tmp_path: Path,
    spoil: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]],
    words: str,
) -> None:
    generator = make_generator()
    base = heard(generator)
    weights = {k: v.detach().clone() for k, v in generator.model.named_parameters()}
    (tmp_path / "spoiled").mkdir()
    save_file(spoil(weights), tmp_path / "spoiled" / WEIGHTS)
    digest = placed(generator, tmp_path / "spoiled", tmp_path)
    adapters = AdapterSet(generator, folder=tmp_path, prompt_digest=PROMPT_DIGEST)
    with pytest.raises(AdapterError, match=words):
        adapters.select(digest)
    adapters.select(None)
    assert torch.equal(heard(generator), base)


def test_a_full_version_that_changes_nothing_is_refused(
    make_generator: MakeGenerator, tmp_path: Path
) -> None:
    generator = make_generator()
    save_adapter(new_adapter(make_generator(), CONFIG), tmp_path / "idle")
    digest = placed(generator, tmp_path / "idle", tmp_path)
    with pytest.raises(AdapterError, match="changes nothing"):
        AdapterSet(generator, folder=tmp_path, prompt_digest=PROMPT_DIGEST).select(digest)


def test_preferences_go_on_from_a_full_version(
    trained: tuple[Path, Outcome],
    make_generator: MakeGenerator,
    toy_rows: list[Row],
    tmp_path: Path,
) -> None:
    config = PreferenceConfig(adapter="full", learning_rate=1e-3, row_tokens=512, max_epochs=1)
    outcome = train_preferences(
        make_generator(),
        [replace(row, rejected="no, never") for row in toy_rows],
        config,
        checkpoints=Checkpoints(tmp_path),
        report=lambda _: None,
        parent=trained[0] / "best",
    )
    assert outcome.preferred_loss_before == pytest.approx(trained[1].heldout_after, rel=1e-4)
    assert (
        outcome.heldout_after < outcome.heldout_before and (tmp_path / "best" / WEIGHTS).is_file()
    )


def test_the_defaults_of_a_full_fine_tune_are_lower() -> None:
    assert VoiceConfig.from_json({"adapter": "full"}).learning_rate == 3e-5
    assert VoiceConfig.from_json({"adapter": "full", "learning_rate": 1e-4}).learning_rate == 1e-4
    assert VoiceConfig.from_json({}).learning_rate == 5e-4
    assert PreferenceConfig.from_json({"adapter": "full"}).learning_rate == 5e-6
    assert PreferenceConfig.from_json({"adapter": None}).adapter == "lora"
