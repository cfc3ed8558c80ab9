"""Replay: the base's own answers to everyday requests, so that a voice does not unlearn them.

The base writes them once. Some are trained on beside the house's rows (rehearsal, Robins 1995),
and the rest, held out, show how much was forgotten. They carry no instruction of the house: what
is kept is the base as it was.

Knows no voice and no documents. Read `replay_rows` first.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from tuning.generator import Generator
from tuning.records import Prompt, Row, Split
from tuning.writer import write

HELD_OUT_EVERY = 3
MAX_TOKENS = 64
REQUESTS = (
    "What is the capital of France?",
    "Write two sentences about the sea.",
    "Explain what a noun is.",
    "Give me three ideas for a birthday present.",
    "How do I boil an egg?",
    "Translate 'good morning' into Spanish.",
    "What is the difference between a city and a town?",
    "Write a short poem about autumn.",
    "Why is the sky blue?",
    "List four kinds of fruit.",
    "What does a plumber do?",
    "Summarize in one sentence why sleep matters.",
    "Name a famous painter and one of his pictures.",
    "How many legs has a spider?",
    "Write a polite message to cancel a meeting.",
    "What is photosynthesis?",
    "Give an example of a simile.",
    "Who wrote Romeo and Juliet?",
    "How can I learn to type faster?",
    "What is the opposite of 'ancient'?",
    "Describe a horse to somebody who has never seen one.",
    "What is a good name for a cat?",
    "Explain how a bicycle stays upright.",
    "Write a sentence with the word 'bridge'.",
    "What are the primary colours?",
    "Give me a tip for saving water at home.",
    "What is the largest planet?",
    "How do I say no to an invitation?",
    "Write the first line of a mystery story.",
    "What is a prime number?",
    "Correct this sentence: 'She go to school yesterday.'",
    "What do bees make?",
    "Tell me a fact about the moon.",
    "What should I pack for a day in the mountains?",
    "Explain the word 'budget' to a child.",
    "Name three musical instruments.",
    "What is the purpose of a table of contents?",
    "How does a thermometer work?",
    "Write a slogan for a library.",
    "What is the freezing point of water?",
    "Give me a synonym for 'happy'.",
    "Why do leaves fall in autumn?",
    "What is a haiku?",
    "How do I take a good photograph?",
    "Write a thank-you note to a neighbour.",
    "What is the function of the heart?",
    "Suggest a simple dinner with rice.",
    "What makes a good friend?",
)


def replay_rows(generator: Generator, count: int, *, cache: Path) -> tuple[list[Row], list[Row]]:
    """Rows of the base's own answers: up to `count` to train on, and those that are held out.

    `cache` is a folder where the answers of a base are kept, by its fingerprint.
    """
    held_out = REQUESTS[::HELD_OUT_EVERY]
    learned = [request for request in REQUESTS if request not in held_out][:count]
    replies = _replies(
        generator, [*learned, *held_out], cache / f"replay-{generator.fingerprint}.json"
    )

    def rows(requests: Sequence[str], split: Split) -> list[Row]:
        return [
            Row(
                messages=({"role": "user", "content": request},),
                reply=replies[request],
                split=split,
                kind="replay",
                group=request,
                question=request,
            )
            for request in requests
            if replies[request]
        ]

    return rows(learned, "train"), rows(held_out, "gate")


def _replies(generator: Generator, asked: Sequence[str], path: Path) -> dict[str, str]:
    """The base's answer to each request; only what is missing is written."""
    try:
        known: dict[str, str] = json.loads(path.read_text())
    except (OSError, ValueError):
        known = {}
    missing = [
        Prompt(request, ({"role": "user", "content": request},), max_tokens=MAX_TOKENS)
        for request in asked
        if request not in known
    ]
    if missing:
        # Context: the requests are short, whatever the model is.
        for text in write(generator, missing, select=lambda _: None, context_tokens=512):
            known[text.id] = text.text
        part = path.with_suffix(f".{os.getpid()}")
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(known, ensure_ascii=False))
        part.rename(path)
    return known
