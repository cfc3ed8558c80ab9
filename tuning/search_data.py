"""What a search training reads: questions, passages, and which passages answer a question.

It lies in the run folder beside config.json: `questions.jsonl`, `passages.jsonl`, and their unit
rows in `questions.npy` and `passages.npy` where somebody has embedded them already. Numpy only,
so the server can write it. Read `SearchData` first.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tuning.errors import RunError

ADAPTER_FILE = "adapter.safetensors"  # in the folder that an adapter's digest names

Rows = NDArray[np.float32]  # (n, dim), unit rows


@dataclass(frozen=True, slots=True)
class Question:
    """A question; `positives` are the indexes of the passages that answer it, the best first.

    `answering` are further passages that may answer it, such as the rest of a named document:
    nothing to learn to find, and nothing to learn not to find.
    """

    text: str
    split: Literal["train", "dev"]
    positives: tuple[int, ...]
    answering: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class SearchData:
    """Questions to learn from and to select by, and the passages that may be found.

    `question_rows` and `passage_rows` are what the base makes of them, or both None.
    """

    questions: tuple[Question, ...]
    passages: tuple[str, ...]
    question_rows: Rows | None = None
    passage_rows: Rows | None = None

    def of(self, split: Literal["train", "dev"]) -> list[int]:
        """The indexes of the questions of a split."""
        return [n for n, question in enumerate(self.questions) if question.split == split]

    def save(self, folder: Path) -> None:
        """Write it into a run folder, which must be there."""
        _write_lines(folder / "questions.jsonl", map(asdict, self.questions))
        _write_lines(folder / "passages.jsonl", ({"text": text} for text in self.passages))
        if self.question_rows is not None and self.passage_rows is not None:
            np.save(folder / "questions.npy", self.question_rows)
            np.save(folder / "passages.npy", self.passage_rows)

    @classmethod
    def load(cls, folder: Path) -> SearchData:
        """Read what `save` wrote; raises `RunError`."""
        try:
            questions = tuple(
                Question(
                    line["text"],
                    line["split"],
                    tuple(line["positives"]),
                    tuple(line.get("answering", ())),
                )
                for line in _lines(folder / "questions.jsonl")
            )
            passages = tuple(line["text"] for line in _lines(folder / "passages.jsonl"))
            rows = [
                np.load(path, allow_pickle=False) if path.is_file() else None
                for path in (folder / "questions.npy", folder / "passages.npy")
            ]
        except (OSError, ValueError, KeyError) as error:
            raise RunError(f"{folder} holds no search training: {error}") from error
        return cls(questions, passages, *rows)


def _lines(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def _write_lines(path: Path, values: Iterable[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8") as file:
        for value in values:
            file.write(json.dumps(value, ensure_ascii=False) + "\n")
        file.flush()
        os.fsync(file.fileno())
