"""What each part of a voice's rows buys: the same voice trained without it.

    python -m benchmarks.ablation --pairs FILE.jsonl --documents DIR --questions FILE.jsonl
                                  --data-dir DIR [--train N] [--epochs N] [--only NAME ...]

Files as in `benchmarks.voice`. Every variant is trained by Houseword itself on the same pairs for
as many epochs, in a data directory of its own that is kept, so that a run that was cut off goes
on; then it writes for the pairs held out, the questions and the probes of what it has memorised.
Drafts are measured, before any repair. Prints a table and, last, one JSON line.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.voice import measure, read_lines, read_pairs, teach_voice
from server.settings import Settings
from tuning.records import Text

PLAIN = "plain"  # the pairs as they are: no passages, nothing varied, nothing beside them
VARIANTS: Mapping[str, Mapping[str, float]] = {
    "all": {},
    PLAIN: {"rows_drills": 0.0, "rows_replay": 0.0},
    "no varied values": {"rows_varied": 0.0},
    "no withheld": {"rows_none": 0.0},
    "no drills": {"rows_drills": 0.0},
    "no replay": {"rows_replay": 0.0},
}
COLUMNS = (
    "style",
    "expected_found",
    "declined_unanswerable",
    "false_refusals",
    "memorised",
    "heldout_loss",
    "train_seconds",
)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=Path, required=True)
    parser.add_argument("--documents", type=Path, required=True)
    parser.add_argument("--questions", type=Path, required=True)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--train", type=int, default=400, help="pairs to train on, at most")
    parser.add_argument("--held-out", type=int, default=30, help="pairs held out, at most")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=60.0, help="longest training")
    parser.add_argument("--only", nargs="*", choices=VARIANTS, default=list(VARIANTS))
    options = parser.parse_args(arguments)
    console = Console(stderr=True)
    train, held_out = read_pairs(options.pairs, train=options.train, held=options.held_out)
    questions = read_lines(options.questions)
    rows: dict[str, dict[str, Any]] = {}
    known: dict[str, Text] = {}
    for name in options.only:
        console.print(f"{name}: {len(train)} pairs to train on, {len(held_out)} held out")
        folder = options.data_dir / name.replace(" ", "-")
        settings = replace(Settings.load(data_dir=folder), **VARIANTS[name])
        job = teach_voice(settings, train, held_out, options, console, plain=name == PLAIN)
        arms = ("tuned",) if rows else ("base", "tuned")
        made, texts = measure(
            settings, job, train, held_out, questions, console, arms=arms, known=known
        )
        known = {id_: text for id_, text in texts.items() if id_.startswith("style:")}
        if "base" in made:
            rows["(base)"] = made["base"]
        rows[name] = {**made["tuned"], "train_seconds": made["train_seconds"]}
        console.print(f"{name}: {json.dumps(rows[name])}", markup=False, soft_wrap=True)
    print(f"{'':18}" + "".join(f"{column[:15]:>16}" for column in COLUMNS))
    for name, row in rows.items():
        cells = (row.get(column) for column in COLUMNS)
        print(f"{name:18}" + "".join(f"{'':16}" if c is None else f"{c:16.3f}" for c in cells))
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
