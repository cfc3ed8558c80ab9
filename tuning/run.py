"""The run folder: how the server and a training worker talk, and all they share.

    config.json      what to do                      written by the server
    examples.jsonl   the very rows                   written by the server
    prompts.jsonl    the texts that are wanted       written by the server
    report.json      what was found in the data      written by the server
    metrics.jsonl    one JSON object a line, `step`  written by the worker, flushed at once
    replay.jsonl     the base's own answers, learnt  written by the worker
    checkpoint/      to resume from                  written by the worker
    texts.jsonl      the texts, one a line           written by the worker, flushed at once
    trained.json     what the training came to; the adapter lies in its place by then
    outcome.json     the summary, written last
    error.json       why it failed, in words

Knows no HTTP and no training. Imports no torch, so the server can use it freely.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tuning.errors import RunError
from tuning.records import Prompt, Row, Text


class Run:
    """One run folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.checkpoints = folder / "checkpoint"

    @classmethod
    def create(
        cls,
        folder: Path,
        *,
        config: dict[str, Any],
        rows: Iterable[Row] = (),
        prompts: Iterable[Prompt] = (),
        data_report: dict[str, Any] | None = None,
        more: Callable[[Path], None] | None = None,
    ) -> Run:
        """Write a new run; it exists once config.json does, which is written last.

        `more` writes what else its kind needs into the folder (`search_data.py`).
        """
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        _write_lines(folder / "examples.jsonl", (row.to_json() for row in rows))
        _write_lines(folder / "prompts.jsonl", (prompt.to_json() for prompt in prompts))
        if data_report is not None:
            _write(folder / "report.json", data_report)
        if more is not None:
            more(folder)
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

    def data_report(self) -> dict[str, Any] | None:
        """What was found in the examples; None where nobody looked."""
        return _read(self.folder / "report.json")

    def rows(self) -> list[Row]:
        return [Row.from_json(row) for _, row in _lines(self.folder / "examples.jsonl")]

    def keep_replay(self, rows: Iterable[Row]) -> None:
        """Remember the base's own answers that the training adds to its rows."""
        _write_lines(self.folder / "replay.jsonl", (row.to_json() for row in rows))

    def replay(self) -> list[Row]:
        return [Row.from_json(row) for _, row in _lines(self.folder / "replay.jsonl")]

    def prompts(self) -> list[Prompt]:
        return [Prompt.from_json(prompt) for _, prompt in _lines(self.folder / "prompts.jsonl")]

    def add_text(self, text: Text) -> None:
        _append(self.folder / "texts.jsonl", asdict(text))

    def texts(self) -> list[Text]:
        """What has been written so far."""
        return [Text(**text) for _, text in _lines(self.folder / "texts.jsonl")]

    def report(self, metrics: dict[str, Any]) -> None:
        _append(self.folder / "metrics.jsonl", metrics)

    def metrics(self, *, start: int = 0) -> Iterator[tuple[int, dict[str, Any]]]:
        """(byte offset after the line, metrics) for every complete line from `start` on."""
        return _lines(self.folder / "metrics.jsonl", start=start)

    def fail(self, reason: str) -> None:
        _write(self.folder / "error.json", {"message": reason})

    def failure(self) -> str | None:
        """Why the worker failed, if it said so."""
        error = _read(self.folder / "error.json")
        return str(error["message"]) if error else None

    def keep_trained(self, outcome: dict[str, Any]) -> None:
        """Remember that the training is done, before anything else is."""
        _write(self.folder / "trained.json", outcome)

    def trained(self) -> dict[str, Any] | None:
        return _read(self.folder / "trained.json")

    def finish(self, outcome: dict[str, Any]) -> None:
        """The run is complete: the summary, written last."""
        _write(self.folder / "outcome.json", outcome)

    def outcome(self) -> dict[str, Any] | None:
        """The result's summary, or None while there is none."""
        return _read(self.folder / "outcome.json")


def fsync_folder(folder: Path) -> None:
    """Flush a folder's files and then its entries to the disk."""
    for path in [*(p for p in folder.rglob("*") if p.is_file()), folder]:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _write_lines(path: Path, values: Iterable[dict[str, Any]]) -> None:
    with path.open("w") as file:
        for value in values:
            file.write(json.dumps(value, ensure_ascii=False) + "\n")
        file.flush()
        os.fsync(file.fileno())


def _append(path: Path, value: dict[str, Any]) -> None:
    """Append one line; it begins a new line even after a torn one."""
    line = json.dumps(value).encode() + b"\n"
    with path.open("ab+") as file:
        end = file.tell()
        if end and os.pread(file.fileno(), 1, end - 1) != b"\n":
            line = b"\n" + line
        file.write(line)


def _lines(path: Path, *, start: int = 0) -> Iterator[tuple[int, dict[str, Any]]]:
    """(byte offset after the line, value) for every complete line from `start` on."""
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
                continue  # torn by a crash; the next line begins anew


def _write(path: Path, value: dict[str, Any]) -> None:
    part = path.with_suffix(".part")
    with part.open("w") as file:
        json.dump(value, file, indent=2)
        file.flush()
        os.fsync(file.fileno())
    part.rename(path)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        value: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return value
