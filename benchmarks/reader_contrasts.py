"""Questions written for this project about invented houses: `data/contrasts` as pairs. Pure.

Each passage comes with questions that it answers, mostly in other words than its own, and with
near misses that sound as though it did (`near` in the file, "asked" as a pair, as "near" is a
question asked of another passage). Read `contrasts` first.
"""

from __future__ import annotations

import json
import math
import random
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.reader_pairs import Pair, words

AROUND = 60  # characters on either side of an answer that tell which of several it is


def contrasts(path: Path, *, closed: bool = True, seed: int = 0) -> list[Pair]:
    """The pairs of a file: "answer", "asked" (a near miss), "near" (of the house's other passages).

    With `closed`, those that ask for a yes or no as well: their answer is what settles them.
    """
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    counts = Counter(word for row in rows for word in set(words(row["passage"])))
    houses: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        houses.setdefault(row["org"], []).append(row)
    chance = random.Random(seed)

    def likeness(question: str, text: str) -> float:
        shared = set(words(question)) & set(words(text))
        return sum(math.log(1 + len(rows) / (1 + counts[word])) for word in shared)

    def pairs(row: Mapping[str, Any], others: Sequence[Mapping[str, Any]]) -> Iterator[Pair]:
        passage, title = row["passage"], row["title"]
        for question, answer in [*row["open"], *(row["closed"] if closed else ())]:
            places = [found.start() for found in re.finditer(re.escape(answer), passage)]
            if not places:
                raise ValueError(f"the passage does not hold the answer to {question!r}")
            start = max(
                places,
                key=lambda at: likeness(
                    question, passage[max(0, at - AROUND) : at + len(answer) + AROUND]
                ),
            )
            yield Pair(question, passage, start, start + len(answer), "answer", title)
        for question, answer in row["open"]:
            if not others:
                continue
            near = sorted(others, key=lambda other: -likeness(question, other["passage"]))
            other = chance.choice(near[:3])
            if answer.lower() not in other["passage"].lower():
                yield Pair(question, other["passage"], 0, 0, "near", other["title"])
        for question in [*row["near"], *(row["near_closed"] if closed else ())]:
            yield Pair(question, passage, 0, 0, "asked", title)

    return [
        pair
        for own in houses.values()
        for row in own
        for pair in pairs(row, [other for other in own if other is not row])
    ]
