"""Checkpoints of a training: written aside, hashed, marked complete last; no pickles.

`best/` is the adapter with the lowest held-out loss so far; `step-N/` is the newest state to
resume from. A half-written folder has no valid manifest and is never read.

Knows nothing of data or losses. Read `Checkpoints.save` first.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from tuning.adapter import load_adapter, save_adapter
from tuning.run import fsync_folder

MANIFEST = "manifest.json"


@dataclass(slots=True)
class Progress:
    """How far a training has come; losses in nats per reply token, times in seconds."""

    step: int = 0
    rows: int = 0
    tokens: int = 0
    seconds: float = 0.0
    evaluation_seconds: float = 0.0
    heldout_before: float | None = None
    best: float = float("inf")
    kept: float = float("inf")  # the held-out loss of the checkpoint that is kept
    worse: int = 0

    @property
    def before(self) -> float:
        """The held-out loss that the training began with."""
        assert self.heldout_before is not None, "nothing was measured yet"
        return self.heldout_before


class Checkpoints:
    """The checkpoints of one run folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.best = folder / "best"
        folder.mkdir(parents=True, exist_ok=True)
        part = folder / ".best.part"  # killed between the last two steps of `_write`
        if not self.best.exists() and self._read(part):
            os.rename(part, self.best)

    def keep_best(self, model: Any, progress: Progress) -> None:
        """Keep this adapter as the best so far."""
        self._write(self.best, progress, lambda aside: save_adapter(model, aside))

    def save(self, model: Any, optimizer: torch.optim.Optimizer, progress: Progress) -> None:
        """Save all that is needed to go on from here; older states are removed afterwards."""

        def write(aside: Path) -> None:
            save_adapter(model, aside)
            moments = {
                f"{index}.{name}": value
                for index, state in optimizer.state_dict()["state"].items()
                for name, value in state.items()
            }
            save_file(moments, aside / "optimizer.safetensors")

        target = self.folder / f"step-{progress.step:08d}"
        self._write(target, progress, write)
        for old in self.folder.glob("step-*"):
            if old != target:
                shutil.rmtree(old)

    def restore(self, model: Any, optimizer: torch.optim.Optimizer) -> Progress | None:
        """Load the newest complete state into model and optimizer; None where there is none."""
        for folder in sorted(self.folder.glob("step-*"), reverse=True):
            progress = self._read(folder)
            if progress is None:
                continue
            load_adapter(model, folder)
            state: dict[int, dict[str, torch.Tensor]] = {}
            for key, value in load_file(folder / "optimizer.safetensors").items():
                index, name = key.split(".", 1)
                state.setdefault(int(index), {})[name] = value
            groups = optimizer.state_dict()["param_groups"]
            optimizer.load_state_dict({"state": state, "param_groups": groups})
            return progress
        return None

    def _write(self, target: Path, progress: Progress, write: Callable[[Path], None]) -> None:
        aside = self.folder / f".{target.name}.part"
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir()
        write(aside)
        hashes = {p.name: _sha256(p) for p in sorted(aside.iterdir()) if p.is_file()}
        (aside / MANIFEST).write_text(json.dumps({"files": hashes, "progress": asdict(progress)}))
        fsync_folder(aside)
        if target.exists():
            shutil.rmtree(target)
        os.rename(aside, target)
        fsync_folder(self.folder)

    def _read(self, folder: Path) -> Progress | None:
        try:
            manifest = json.loads((folder / MANIFEST).read_text())
            if all(_sha256(folder / n) == h for n, h in manifest["files"].items()):
                return Progress(**manifest["progress"])
        except (OSError, ValueError, KeyError, TypeError):
            pass
        return None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
