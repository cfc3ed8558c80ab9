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

HELD_OUT_EVERY = 6
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
    "What is the capital of Japan?",
    "Write two sentences about a river.",
    "Explain what a verb is.",
    "Give me three ideas for a rainy afternoon.",
    "How do I make tea?",
    "Translate 'thank you' into French.",
    "What is the difference between a lake and a sea?",
    "Write a short poem about snow.",
    "Why do we yawn?",
    "List five animals that live on a farm.",
    "What does an architect do?",
    "Summarize in one sentence why exercise matters.",
    "Name a famous scientist and one discovery.",
    "How many minutes has an hour?",
    "Write a polite message to ask for help.",
    "What is gravity?",
    "Give an example of a metaphor.",
    "Who painted the Mona Lisa?",
    "How can I remember names better?",
    "What is the opposite of 'generous'?",
    "Describe a lighthouse in two sentences.",
    "What is a good name for a boat?",
    "Explain how rain forms.",
    "Write a sentence with the word 'window'.",
    "What are the four seasons?",
    "Give me a tip for reading more books.",
    "What is the smallest planet?",
    "How do I apologize to a friend?",
    "Write the last line of a fairy tale.",
    "What is an even number?",
    "Correct this sentence: 'He have two brother.'",
    "What do spiders use their webs for?",
    "Tell me a fact about elephants.",
    "What should I take to a picnic?",
    "Explain the word 'deadline' to a child.",
    "Name three kinds of weather.",
    "What is the purpose of an index in a book?",
    "How does a compass work?",
    "Write a slogan for a bakery.",
    "At what temperature does water boil?",
    "Give me a synonym for 'quick'.",
    "Why do cats purr?",
    "What is a sonnet?",
    "How do I keep plants alive?",
    "Write a short note to a colleague who is ill.",
    "What is the function of the lungs?",
    "Suggest a breakfast with oats.",
    "What makes a good teacher?",
    "How many days has February in a leap year?",
    "What is 12 times 8?",
    "Rewrite this more politely: 'Send me the file.'",
    "Put these words in alphabetical order: pear, apple, fig.",
    "What is the main idea of the fable of the tortoise and the hare?",
    "Which is heavier, a kilogram of wool or a kilogram of iron?",
    "Write a question that begins with 'how'.",
    "Explain why we brush our teeth.",
    "List three things that float on water.",
    "What is the past tense of 'run'?",
    "How do I fold a letter?",
    "Give two reasons to learn a language.",
    "What is the currency of the United Kingdom?",
    "Describe the taste of a lemon.",
    "What is a volcano?",
    "Make this sentence shorter: 'I am writing to you in order to ask a question.'",
    "How do birds know where to fly?",
    "What colour do blue and yellow make?",
    "Tell me a short joke.",
    "What is a map for?",
    "Write a title for a story about a lost key.",
    "Why is it dark at night?",
    "What is the plural of 'child'?",
    "Give me an idea for a school project.",
    "How does a bridge carry weight?",
    "What is the difference between weather and climate?",
    "Name two oceans.",
    "How can two people share one cake fairly?",
    "What is a habit?",
    "Explain what a library is to a visitor from another planet.",
    "Write three words that rhyme with 'light'.",
    "Which months have thirty days?",
    "What is the first thing to do in a fire?",
    "How is bread made?",
    "What does 'once in a blue moon' mean?",
    "Give a polite answer to a compliment.",
    "What do plants need to grow?",
    "Describe your favourite kind of morning.",
    "How do you play hide and seek?",
    "What is half of ninety?",
    "Name a game that needs a ball.",
    "What is an island?",
    "Why do people keep diaries?",
    "Write one sentence that describes a market.",
    "What are whole numbers?",
    "How do I write a good headline?",
    "What is recycling?",
    "Say goodbye to a friend in a letter of two lines.",
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
