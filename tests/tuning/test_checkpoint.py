"""Checkpoints: what is not whole is never read."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tuning.adapter import new_adapter
from tuning.checkpoint import Checkpoints, Progress
from tuning.generator import Generator
from tuning.records import VoiceConfig

Trainee = tuple[Any, torch.optim.Optimizer]


def trainee(generator: Generator, seed: int) -> Trainee:
    """A model with an adapter that has made one optimizer step of its own."""
    torch.manual_seed(seed)
    model = new_adapter(generator, VoiceConfig(rank=4))
    weights = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=0.1)
    for weight in weights:
        weight.grad = torch.randn_like(weight)
    optimizer.step()
    return model, optimizer


def same(one: Trainee, other: Trainee) -> bool:
    """Whether weights and optimizer agree to the bit."""

    def state(trainee: Trainee) -> dict[tuple[object, ...], torch.Tensor]:
        model, optimizer = trainee
        values: dict[tuple[object, ...], torch.Tensor] = {
            (name,): weight for name, weight in model.named_parameters() if weight.requires_grad
        }
        for index, moments in optimizer.state_dict()["state"].items():
            values |= {(index, name): moment for name, moment in moments.items()}
        return values

    first, second = state(one), state(other)
    return first.keys() == second.keys() and all(
        torch.equal(first[key], second[key]) for key in first
    )


@pytest.fixture
def trained(generator: Generator) -> Trainee:
    return trainee(generator, seed=1)


@pytest.fixture
def fresh(make_generator: Callable[[], Generator]) -> Trainee:
    return trainee(make_generator(), seed=2)


def test_a_restored_state_is_the_saved_one_to_the_bit(
    trained: Trainee, fresh: Trainee, tmp_path: Path
) -> None:
    progress = Progress(
        step=7, rows=70, tokens=700, seconds=1.5, heldout_before=3.25, best=2.5, worse=1
    )
    Checkpoints(tmp_path).save(*trained, progress)
    assert not same(fresh, trained)
    assert Checkpoints(tmp_path).restore(*fresh) == progress
    assert same(fresh, trained)


def test_the_newest_state_replaces_older_ones(
    trained: Trainee, fresh: Trainee, tmp_path: Path
) -> None:
    checkpoints = Checkpoints(tmp_path)
    for step in (9, 10, 100):
        checkpoints.save(*trained, Progress(step=step))
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000100"]
    restored = checkpoints.restore(*fresh)
    assert restored is not None and restored.step == 100


def test_without_a_state_there_is_nothing_to_go_on_from(fresh: Trainee, tmp_path: Path) -> None:
    assert Checkpoints(tmp_path).restore(*fresh) is None


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "spoil",
    ids=["no manifest", "torn manifest", "empty manifest", "gone", "moments", "weights", "cut"],
    argvalues=[
        lambda f: (f / "manifest.json").unlink(),
        lambda f: (f / "manifest.json").write_text("{"),
        lambda f: (f / "manifest.json").write_text("{}"),
        lambda f: (f / "optimizer.safetensors").unlink(),
        lambda f: _flip(f / "optimizer.safetensors"),
        lambda f: _flip(f / "adapter_model.safetensors"),
        lambda f: os.truncate(f / "adapter_model.safetensors", 100),
    ],
)
def test_a_spoiled_state_is_skipped_for_an_older_whole_one(
    trained: Trainee, fresh: Trainee, tmp_path: Path, spoil: Callable[[Path], object]
) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(*trained, Progress(step=3))
    newer = shutil.copytree(tmp_path / "step-00000003", tmp_path / "step-00000004")
    manifest = json.loads((newer / "manifest.json").read_text())
    manifest["progress"]["step"] = 4
    (newer / "manifest.json").write_text(json.dumps(manifest))
    spoil(newer)
    assert checkpoints.restore(*fresh) == Progress(step=3)
    assert same(fresh, trained)


def test_a_half_written_state_is_not_looked_at(
    trained: Trainee, fresh: Trainee, tmp_path: Path
) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(*trained, Progress(step=3))
    (tmp_path / "step-00000003").rename(tmp_path / ".step-00000003.part")
    assert checkpoints.restore(*fresh) is None
    checkpoints.save(*trained, Progress(step=3))
    assert checkpoints.restore(*fresh) == Progress(step=3)


def test_a_best_adapter_whose_renaming_was_cut_short_is_found_again(
    trained: Trainee, tmp_path: Path
) -> None:
    Checkpoints(tmp_path).keep_best(trained[0], Progress(step=3))
    (tmp_path / "best").rename(tmp_path / ".best.part")
    best = Checkpoints(tmp_path).best
    assert (best / "adapter_model.safetensors").is_file()


def test_a_half_written_best_adapter_is_not_taken_for_one(trained: Trainee, tmp_path: Path) -> None:
    Checkpoints(tmp_path).keep_best(trained[0], Progress(step=3))
    (tmp_path / "best").rename(tmp_path / ".best.part")
    os.truncate(tmp_path / ".best.part" / "adapter_model.safetensors", 100)
    assert not Checkpoints(tmp_path).best.exists()


def test_the_best_adapter_is_replaced_by_a_better_one(trained: Trainee, tmp_path: Path) -> None:
    checkpoints, progress = Checkpoints(tmp_path), Progress(step=3)
    checkpoints.keep_best(trained[0], progress)
    first = (checkpoints.best / "adapter_model.safetensors").read_bytes()
    with torch.no_grad():
        for weight in trained[0].parameters():
            weight.add_(1)
    checkpoints.keep_best(trained[0], progress)
    assert (checkpoints.best / "adapter_model.safetensors").read_bytes() != first
