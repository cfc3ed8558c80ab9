"""Questions that a store's passages answer, written by the base: to review, then to tune search on.

A question stays only if its passage comes back when it is searched for (the round trip). A small
base writes few good ones, so a person should read them; they teach and never judge. It knows no
models: a worker writes. Read `write_questions` first.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from server.client import Client
from server.pairing import pair_texts
from server.search_pairs import WRITTEN_BY_BASE
from server.settings import Settings
from tuning.texts import HouseText

FOUND_WITHIN = 20  # ranks: the passage must be among them when its question is searched for
LEAST_WORDS = 12  # of a passage that is worth a question


@dataclass(frozen=True, slots=True)
class Questions:
    """Lines of search pairs, and (number, reason) of each passage that was left out."""

    lines: list[dict[str, Any]]
    dropped: list[tuple[int, str]]


def write_questions(
    client: Client,
    settings: Settings,
    store_id: str,
    *,
    count: int,
    progress: Callable[[int, int], None],
    seed: int = 0,
) -> Questions:
    """Let the base write a question for each of `count` passages, and keep those that find it.

    Raises:
        PairingError: the worker failed; in words.
        ClientError: the server refused.
    """
    drawn = _draw(client, store_id, count, random.Random(seed))
    texts = [HouseText(text, number) for number, text in enumerate(drawn, 1)]
    made = pair_texts(settings, texts, progress=progress)
    lines, dropped = [], list(made.dropped)
    for pair in made.kept:
        found = client.post(
            f"/v1/vector_stores/{store_id}/search",
            {"query": pair.request, "max_num_results": FOUND_WITHIN},
        )
        text = drawn[pair.text.line - 1]
        if any(part["text"] == text for hit in found["data"] for part in hit["content"]):
            lines.append({"question": pair.request, "passage": text, **WRITTEN_BY_BASE})
        else:
            dropped.append((pair.text.line, f"its passage is not found by it: {pair.request!r}"))
    return Questions(lines, sorted(dropped))


def _draw(client: Client, store_id: str, count: int, random_: random.Random) -> list[str]:
    """Texts of passages, of as many documents as there are."""
    files = [
        file
        for file in client.pages(f"/v1/vector_stores/{store_id}/files")
        if file["status"] == "completed"
    ]
    random_.shuffle(files)
    by_file: list[list[str]] = []
    for file in files[:count]:
        passages = client.get(f"/v1/vector_stores/{store_id}/files/{file['id']}/passages")["data"]
        own = [
            passage["text"] for passage in passages if len(passage["text"].split()) >= LEAST_WORDS
        ]
        random_.shuffle(own)
        by_file.append(own)
    drawn: list[str] = []
    while len(drawn) < count and any(by_file):
        drawn += [own.pop() for own in by_file if own]
    return drawn[:count]
