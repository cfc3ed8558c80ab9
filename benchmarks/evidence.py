"""Would the server answer what a house has answered, and decline what it has declined?

    python -m benchmarks.evidence --documents DIR --pairs FILE.jsonl [FILE.jsonl ...]

The pairs are a house's own replies (chat `messages`), so their questions are as people write them:
requests, complaints and yes-no questions, too. A reply whose figures the passages found hold is
one that the documents answer; whether a reply declines is heard by its words. Replies without
figures, or with others, tell nothing here and are left out. Open questions (what, when, who, how)
and all others are told apart, as the server does. No generator runs.

Prints a table and, last, one JSON line: how many of each kind there are, and what share of them
the evidence declines.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from benchmarks.answers import ingest
from retrieval.claims import figures
from retrieval.extract import is_open
from retrieval.grounds import HITS
from retrieval.records import Hit
from server.gold import GOLD_COVER
from server.opening import open_services
from server.settings import Settings
from server.showing import readable
from tuning.examples import read_examples
from tuning.records import Example


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=Path, required=True)
    parser.add_argument("--pairs", type=Path, nargs="+", required=True)
    options = parser.parse_args(arguments)
    examples = [e for file in options.pairs for e in read_examples(file.read_bytes())]
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings.load(data_dir=Path(folder))
        declined = judge(settings, ingest(settings, options.documents), examples)
    result = {}
    print(f"{'':24}{'questions':>10}{'declined':>10}")
    for name, values in sorted(declined.items()):
        result[name] = {"questions": len(values), "declined": round(fmean(values), 4)}
        print(f"{name:24}{len(values):10}{fmean(values):10.3f}")
    print(json.dumps(result))


def judge(settings: Settings, store: str, examples: Sequence[Example]) -> dict[str, list[bool]]:
    """Whether each question is declined, by what the house did and by the form of the question."""
    declined: dict[str, list[bool]] = defaultdict(list)
    services = open_services(settings)
    try:
        for example in examples:
            found = services.library.search([store], example.question, k=HITS)
            hits = readable(found, question=example.question)
            done = what_was_done(example, hits)
            if done is not None:
                form = "open" if is_open(example.question) else "other"
                grounds = services.library.calibrations.judge(example.question, hits, [store])
                declined[f"{done}, {form}"].append(grounds.weak)
    finally:
        services.close()
    return declined


def what_was_done(example: Example, hits: Sequence[Hit]) -> str | None:
    """Whether the house declined, or answered from these passages; None where it is not known."""
    if example.declines:
        return "declined"
    stated = figures(example.reply) - figures(example.question)
    held = figures("\n".join(f"{hit.passage.heading or ''}\n{hit.passage.text}" for hit in hits))
    answered = bool(stated) and len(stated & held) >= GOLD_COVER * len(stated)
    return "answered" if answered else None


if __name__ == "__main__":
    main()
