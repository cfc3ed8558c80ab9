"""The run folder: how the server and a training worker talk, and all they share.

    config.json      what to do                      written by the server
    examples.jsonl   the very rows                   written by the server
    metrics.jsonl    one JSON object a line, `step`  written by the worker, flushed at once
    checkpoint/      to resume from                  written by the worker
    result/          the adapter and its card, renamed into place when complete
    error.json       why it failed, in words

Knows no HTTP and no training. Imports no torch, so the server can use it freely.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tuning.errors import RunError
from tuning.records import Row


class Run:
    """One run folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.checkpoints = folder / "checkpoint"
        self.result = folder / "result"

    @classmethod
    def create(cls, folder: Path, *, config: dict[str, Any], rows: Iterable[Row]) -> Run:
        """Write a new run; it exists once config.json does, which is written last."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        with (folder / "examples.jsonl").open("w") as file:
            for row in rows:
                file.write(json.dumps(row.to_json(), ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
        _write(folder / "config.json", config)
        return cls(folder)

    @property
    def exists(self) -> bool:
        return (self.folder / "config.json").is_file()

    def config(self) -> dict[str, Any]:
        try:
            value: dict[str, Any] = json.loads((self.folder / "config.json").read_text())
        except (OSError, ValueError) as error:
            raise RunError(f"{self.folder} is not a run folder: {error}") from error
        return value

    def rows(self) -> list[Row]:
        lines = (self.folder / "examples.jsonl").read_text().split("\n")
        return [Row.from_json(json.loads(line)) for line in lines if line]

    def report(self, metrics: dict[str, Any]) -> None:
        """Append one line of metrics; it begins a new line even after a torn one."""
        line = json.dumps(metrics).encode() + b"\n"
        with (self.folder / "metrics.jsonl").open("ab+") as file:
            end = file.tell()
            if end and os.pread(file.fileno(), 1, end - 1) != b"\n":
                line = b"\n" + line
            file.write(line)

    def metrics(self, *, start: int = 0) -> Iterator[tuple[int, dict[str, Any]]]:
        """(byte offset after the line, metrics) for every complete line from `start` on."""
        path = self.folder / "metrics.jsonl"
        if not path.is_file():
            return
        with path.open("rb") as file:
            file.seek(start)
            for line in file:
                if not line.endswith(b"\n"):
                    return  # being written
                start += len(line)
                try:
                    yield start, json.loads(line)
                except ValueError:
                    continue  # torn by a crash; the next report begins a new line

    def fail(self, reason: str) -> None:
        _write(self.folder / "error.json", {"message": reason})

    def failure(self) -> str | None:
        """Why the worker failed, if it said so."""
        try:
            return str(json.loads((self.folder / "error.json").read_text())["message"])
        except (OSError, ValueError, KeyError):
            return None

    def outcome(self) -> dict[str, Any] | None:
        """The result's summary, or None while there is none."""
        try:
            value: dict[str, Any] = json.loads((self.result / "outcome.json").read_text())
        except (OSError, ValueError):
            return None
        return value


def _write(path: Path, value: dict[str, Any]) -> None:
    part = path.with_suffix(".part")
    with part.open("w") as file:
        json.dump(value, file, indent=2)
        file.flush()
        os.fsync(file.fileno())
    part.rename(path)
