"""What kind of work a voice does, recognised from its examples.

A reply answers a question from the house's documents. A text is made from the request, which
holds its facts: a description from a specification, a clause from a term sheet, a summary, a
note from a dialogue. A label is one of few short replies. JSON is a reply that a program reads.

Knows no documents and no model: it compares requests and replies. Read `recognise` first.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, median
from typing import Any, Literal, get_args

from tuning.records import Example
from tuning.words import content_words, figures

Kind = Literal["reply", "text", "label", "json"]
KINDS: tuple[str, ...] = get_args(Kind)

MOST_COMPARED = 1000  # rows, evenly drawn, whose requests and replies are compared
NEARLY_ALL = 0.9  # share of the replies that must be JSON, or short
LABEL_CHARACTERS, LABEL_WORDS = 40, 5
ROWS_PER_LABEL = 2.5  # on average at least: fewer, and the replies are only short
# Support replies share 6% of their words with the question, clinic notes 50% with the dialogue.
WORDS_TOLD = 0.3
WORDS_RETOLD = 0.2  # enough where the request is long and longer than the reply: a summary
LONG_REQUEST = 30  # words
# A clause wraps the term sheet's figures in words of its own; a support reply echoes a number.
FIGURES_TOLD, WORDS_BESIDE_FIGURES = 0.6, 0.12
FIGURES_ROWS = 0.3  # share of the replies that must state figures before these are counted

_FENCE = re.compile(r"\s*```(?:json)?\s*\n(.*?)\n?\s*```\s*", re.DOTALL | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Task:
    """A voice's work: its kind, whether documents are searched for it, and why we think so.

    `labels` are the distinct replies of a label voice, the most frequent first.
    """

    kind: Kind
    uses_documents: bool
    labels: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """What a card keeps of it; the reasons are told once, in the job's events."""
        return {
            "kind": self.kind,
            "uses_documents": self.uses_documents,
            "labels": list(self.labels),
        }


def recognise(examples: Sequence[Example]) -> Task:
    """Recognise the task from the data alone; in doubt it is a reply, from the documents."""
    if not examples:
        return Task("reply", True, reasons=("there are no examples to tell by",))
    replies = [example.reply for example in examples]
    structured = mean(read_json(reply) is not None for reply in replies)
    if structured >= NEARLY_ALL:
        return Task("json", False, reasons=(f"{structured:.0%} of the replies are JSON",))
    labels = _labels(replies)
    if _are_labels(replies, labels):
        return Task(
            "label", False, labels, (f"{len(labels)} short replies return again and again",)
        )
    mixed = (f"{structured:.0%} of the replies are JSON, the others are not",) if structured else ()
    return _by_facts(examples, mixed)


def choose(
    examples: Sequence[Example], *, kind: str | None = None, uses_documents: bool | None = None
) -> Task:
    """The task as recognised, with what the user says otherwise.

    Raises:
        ValueError: the kind is not one of `KINDS`.
    """
    task = recognise(examples)
    if kind is not None and kind not in KINDS:
        raise ValueError(f"the task {kind!r} is not known; known are {', '.join(KINDS)}")
    if kind is not None and kind != task.kind:
        reason = f"the task was named {kind}; the data look like {task.kind}"
        labels = _labels([example.reply for example in examples]) if kind == "label" else ()
        named: Kind = kind  # type: ignore[assignment]
        task = Task(named, kind == "reply", labels, (reason,))
    if uses_documents is not None and uses_documents != task.uses_documents:
        use = "are used" if uses_documents else "are not used"
        reasons = (*task.reasons, f"the documents {use}, as was asked")
        task = Task(task.kind, uses_documents, task.labels, reasons)
    return task


def read_json(text: str) -> dict[str, Any] | list[Any] | None:
    """The JSON object or array that a text is, looking through a code fence; else None."""
    fenced = _FENCE.fullmatch(text)
    try:
        value = json.loads(fenced[1] if fenced else text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict | list) else None


def label_key(text: str) -> str:
    """What two writings of the same label share: no outer space, no case."""
    return text.strip().casefold()


def _labels(replies: Sequence[str]) -> tuple[str, ...]:
    """The distinct replies, the most frequent first, each as it was first written."""
    written: dict[str, str] = {}
    for reply in replies:
        written.setdefault(label_key(reply), reply.strip())
    counts = Counter(map(label_key, replies))
    return tuple(written[key] for key, _ in counts.most_common())


def _are_labels(replies: Sequence[str], labels: Sequence[str]) -> bool:
    # One reply alone decides nothing, however often it stands there.
    if len(labels) < 2 or len(replies) < ROWS_PER_LABEL * len(labels):
        return False
    short = [
        len(label) <= LABEL_CHARACTERS and len(label.split()) <= LABEL_WORDS for label in labels
    ]
    return mean(short) >= NEARLY_ALL


def _by_facts(examples: Sequence[Example], mixed: tuple[str, ...]) -> Task:
    """A text where the requests hold the matter of the replies, else a reply."""
    step = max(1, len(examples) // MOST_COMPARED)
    compared = examples[::step]
    pairs = [(_request(example), example.reply) for example in compared]
    words = [share for pair in pairs if (share := _share(*map(content_words, pair))) is not None]
    numbers = [share for pair in pairs if (share := _share(*map(figures, pair))) is not None]
    told = median(words) if words else 0.0
    request_words = median(len(request.split()) for request, _ in pairs)
    reply_words = median(len(reply.split()) for _, reply in pairs)
    if told >= WORDS_TOLD:
        return Task(
            "text", False, reasons=(*mixed, f"the requests hold {told:.0%} of the replies' words")
        )
    many = told >= WORDS_BESIDE_FIGURES and len(numbers) >= FIGURES_ROWS * len(pairs)
    if many and mean(numbers) >= FIGURES_TOLD:
        reason = f"the requests hold {mean(numbers):.0%} of the replies' figures"
        return Task("text", False, reasons=(*mixed, reason))
    if told >= WORDS_RETOLD and request_words >= max(LONG_REQUEST, reply_words):
        reason = (
            f"the requests are long ({request_words:.0f} words) and hold {told:.0%} of the words "
            "of the shorter replies"
        )
        return Task("text", False, reasons=(*mixed, reason))
    reason = f"the requests hold only {told:.0%} of the replies' words: the facts stand elsewhere"
    return Task("reply", True, reasons=(*mixed, reason))


def _request(example: Example) -> str:
    """What was said before the reply; a system message is an instruction, not matter."""
    return "\n".join(m["content"] for m in example.messages if m["role"] != "system")


def _share(request: Sequence[str], reply: Sequence[str]) -> float | None:
    """Which share of the reply's distinct items the request holds; None where it has none."""
    stated = set(reply)
    return len(stated & set(request)) / len(stated) if stated else None
