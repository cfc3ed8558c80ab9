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
from dataclasses import dataclass, replace
from statistics import mean, median
from typing import Any, Literal, get_args

from tuning.fields import schema_of
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
# A reply that echoes its question holds the request's words, but not its own facts.
FIGURES_MISSED = 0.4  # of a reply's figures, at most, that stand in the request: no text
QUESTION_SHARE = 0.5  # of the requests that are short questions: no text is made from those
QUESTION_WORDS = 30
FIGURES_ROWS = 0.3  # share of the replies that must state figures before these are counted

# A canned sentence is a reply; one word with a full stop may be a label.
_SENTENCE = re.compile(r"\S.*\s.*[.!?؟。！？]", re.DOTALL)  # noqa: RUF001
_FENCE = re.compile(r"\s*```(?:json)?\s*\n(.*?)\n?\s*```\s*", re.DOTALL | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Task:
    """A voice's work: its kind, whether documents are searched for it, and why we think so.

    `labels` are the distinct replies of a label voice, the most frequent first; `schema` is the
    JSON schema of the fields that the replies of a JSON voice have.
    """

    kind: Kind
    uses_documents: bool
    labels: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    schema: dict[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """What a card keeps of it; the reasons are told once, in the job's events."""
        told = {
            "kind": self.kind,
            "uses_documents": self.uses_documents,
            "labels": list(self.labels),
        }
        return told if self.schema is None else {**told, "schema": self.schema}


def recognise(examples: Sequence[Example]) -> Task:
    """Recognise the task from the data alone; in doubt it is a reply, from the documents."""
    if not examples:
        return Task("reply", True, reasons=("there are no examples to tell by",))
    replies = [example.reply for example in examples]
    structured = mean(read_json(reply) is not None for reply in replies)
    if structured >= NEARLY_ALL:
        reason = f"{structured:.0%} of the replies are JSON"
        return Task("json", False, reasons=(reason,), schema=_schema(replies))
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
        replies = [example.reply for example in examples]
        labels = _labels(replies) if kind == "label" else ()
        schema = _schema(replies) if kind == "json" else None
        named: Kind = kind  # type: ignore[assignment]
        task = Task(named, kind == "reply", labels, (reason,), schema)
    if uses_documents is not None and uses_documents != task.uses_documents:
        use = "are used" if uses_documents else "are not used"
        reasons = (*task.reasons, f"the documents {use}, as was asked")
        task = replace(task, uses_documents=uses_documents, reasons=reasons)
    return task


def read_json(text: str) -> dict[str, Any] | list[Any] | None:
    """The JSON object or array that a text is, looking through a code fence; else None."""
    fenced = _FENCE.fullmatch(text)
    try:
        value = json.loads(fenced[1] if fenced else text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict | list) else None


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def label_key(text: str) -> str:
    """What two writings of the same label share: no outer space, no case."""
    return text.strip().casefold()


def _schema(replies: Sequence[str]) -> dict[str, Any] | None:
    """The schema of the replies that are JSON; None where there are none."""
    values = [value for reply in replies if (value := read_json(reply)) is not None]
    return schema_of(values) if values else None


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
        len(label) <= LABEL_CHARACTERS
        and len(label.split()) <= LABEL_WORDS
        and not _SENTENCE.fullmatch(label)
        for label in labels
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
    told_enough = told >= WORDS_BESIDE_FIGURES  # for any of the texts below
    asked = mean(_is_question(example) for example in compared)
    if told_enough and asked >= QUESTION_SHARE:
        reason = f"{asked:.0%} of the requests are short questions: the facts stand elsewhere"
        return Task("reply", True, reasons=(*mixed, reason))
    stated = len(numbers) >= FIGURES_ROWS * len(pairs)
    # Dialogues spell their numbers out, so it is short requests alone that these speak against.
    if told_enough and stated and request_words < LONG_REQUEST and mean(numbers) < FIGURES_MISSED:
        reason = f"the requests hold only {mean(numbers):.0%} of the replies' figures"
        return Task("reply", True, reasons=(*mixed, reason))
    if told >= WORDS_TOLD:
        return Task(
            "text", False, reasons=(*mixed, f"the requests hold {told:.0%} of the replies' words")
        )
    if told_enough and stated and mean(numbers) >= FIGURES_TOLD:
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


def _is_question(example: Example) -> bool:
    asked = example.question.strip()
    return len(asked.split()) <= QUESTION_WORDS and asked.endswith(("?", "؟", "？"))  # noqa: RUF001


def _share(request: Sequence[str], reply: Sequence[str]) -> float | None:
    """Which share of the reply's distinct items the request holds; None where it has none."""
    stated = set(reply)
    return len(stated & set(request)) / len(stated) if stated else None
