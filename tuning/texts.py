"""Texts without questions: read them, ask the base for the requests, pair up what fits.

A house that kept only what it wrote can have a voice as well: the base writes the request that
each text answers, and a request that does not find its own text among all of them is dropped.
What is left is chat JSONL, marked `"request_by": "base"`, to be reviewed before a training.

Loads no model: the base's answers to `requests_for` are passed in. Read `pair_up` first.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import numpy as np

from tuning.errors import ExamplesError
from tuning.template import Message
from tuning.words import content_words

FOUND_WITHIN = 3  # ranks: the request must find its text among the first
SHARED_WORDS = 0.34  # share of the request's content words that its text must hold
COPIED = 0.8  # share of the request's runs of four words that stand in the text: a copy
MOST_REQUEST_WORDS = 60
SHOWN_CHARACTERS = 2000  # of a text, when the base is asked for its request
SHOWN_TOKENS = 1500  # as many as these may be, at most: of a dense script, fewer are shown
REQUEST_TOKENS = 40  # what the base may write
_BLOCK = 512  # requests whose similarities are held at a time

_GROUP_FIELDS = ("group", "topic", "intent", "document")
_HEADING = re.compile(r"#{1,6}\s+(.*)")
_LEAD = re.compile(
    r"^\W*(here is (a|the|one) [^:]*:|(the )?(question|request|customer|user)\s*:)\s*",
    re.IGNORECASE,
)
_QUOTES = "\"'“”‘’«»„ \t*"  # noqa: RUF001

# Frozen: other words would give other requests, and a voice trained on them another digest.
INSTRUCTION = "You read what a company wrote, and write down what it was asked for."
_ASKED = "Text: {text}\n\nWhich question or request does this text answer? Write only that."
_SHOWN = (
    (
        "The north gate is locked at half past nine in the evening. Anyone who is still inside "
        "can leave by the side door next to the bakery.",
        "When do you close the north gate, and how do I get out afterwards?",
    ),
    (
        "Good morning! Sadly the red kettle is sold out, but we expect new ones in March.",
        "Do you still have the red kettle?",
    ),
    (
        "A quiet flat on the second floor: two rooms, oak floors, a balcony to the yard.",
        "What is the flat on the second floor like?",
    ),
)


@dataclass(frozen=True, slots=True)
class HouseText:
    """One past text; `line` is where it begins in its file, `about` its row's own fields."""

    text: str
    line: int
    about: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Paired:
    """A text with the request that the base wrote for it."""

    request: str
    text: HouseText

    def to_json(self) -> dict[str, Any]:
        """A line of chat JSONL, which `read_examples` takes."""
        return {
            "messages": [
                {"role": "user", "content": self.request},
                {"role": "assistant", "content": self.text.text},
            ],
            **dict(self.text.about),
            "request_by": "base",
        }


def read_texts(data: bytes, *, name: str) -> list[HouseText]:
    """Read past texts: JSONL of `{"text": ...}` where the name ends so, else prose.

    Prose (.txt, .md) is split at blank lines; a Markdown heading is no text but the `topic` of
    those below it. A JSONL line may carry `topic`, `group`, `intent` or `document`, as examples.

    Raises:
        ExamplesError: with every faulty line's number and reason, or no text at all.
    """
    try:
        content = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        number = data[: error.start].count(b"\n") + 1
        raise ExamplesError([(number, "not UTF-8 text")]) from None
    suffix = PurePath(name).suffix.casefold()
    if suffix in (".jsonl", ".json", ".ndjson"):
        texts = _from_jsonl(content)
    elif suffix in (".txt", ".md", ".markdown", ""):
        texts = _from_prose(content)
    else:
        raise ExamplesError([(0, f"{suffix} files hold no texts here: use .jsonl, .txt or .md")])
    if not texts:
        raise ExamplesError([(0, "the file holds no texts")])
    return texts


def requests_for(texts: Sequence[HouseText]) -> list[tuple[Message, ...]]:
    """The messages that ask the base for each text's request, after examples that never change."""
    shown: list[Message] = []
    for text, request in _SHOWN:
        shown += [
            {"role": "user", "content": _ASKED.format(text=text)},
            {"role": "assistant", "content": request},
        ]
    return [
        (
            {"role": "system", "content": INSTRUCTION},
            *shown,
            {"role": "user", "content": _ASKED.format(text=_beginning(item.text))},
        )
        for item in texts
    ]


def _beginning(text: str) -> str:
    """As much of a text as a prompt has room for, whatever its script.

    In a script that a vocabulary does not hold every byte may be a token, and so may every figure;
    a token of Latin letters and spaces has two of them and more.
    """
    room = float(SHOWN_TOKENS)
    for place, letter in enumerate(text[:SHOWN_CHARACTERS]):
        plain = letter.isascii() and (letter.isalpha() or letter.isspace())
        room -= 0.5 if plain else len(letter.encode())
        if room < 0:
            return text[:place]
    return text[:SHOWN_CHARACTERS]


def pair_up(
    texts: Sequence[HouseText], requests: Sequence[str]
) -> tuple[list[Paired], list[tuple[int, str]]]:
    """The texts whose request is good, and the line and reason of each that was dropped.

    A request is good if it is neither empty nor a copy of its text, of a shown example or of
    another request, shares
    `SHARED_WORDS` of its content words with its text, and finds it among the first three of all
    texts by TF-IDF cosine: the round trip (Alberti et al. 2019, made lexical).
    """
    if len(texts) != len(requests):
        raise ValueError(f"{len(requests)} requests cannot be paired with {len(texts)} texts")
    asked = [clean(request) for request in requests]
    ranks = _ranks([item.text for item in texts], asked)
    kept: list[Paired] = []
    dropped: list[tuple[int, str]] = []
    first: dict[str, int] = {}
    for item, request, rank in zip(texts, asked, ranks, strict=True):
        reason = _fault(request, item.text, rank)
        same = first.setdefault(request.casefold(), item.line)
        if reason is None and same != item.line:
            reason = f"the request is the one of line {same}, too: {request!r}"
        if reason is None:
            kept.append(Paired(request, item))
        else:
            dropped.append((item.line, reason))
    return kept, dropped


def to_jsonl(pairs: Sequence[Paired]) -> str:
    """Chat JSONL for review: edit or delete lines, then train on the file."""
    return "".join(json.dumps(pair.to_json(), ensure_ascii=False) + "\n" for pair in pairs)


def clean(request: str) -> str:
    """The first line of what the base wrote, without its announcement and quotation marks."""
    for line in request.strip().splitlines():
        line = _LEAD.sub("", line.strip()).strip(_QUOTES)
        if line:
            return line
    return ""


def _from_jsonl(content: str) -> list[HouseText]:
    texts: list[HouseText] = []
    problems: list[tuple[int, str]] = []
    for number, line in enumerate(content.split("\n"), 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
            json.dumps(value, ensure_ascii=False).encode()
        except json.JSONDecodeError as error:
            problems.append((number, f"broken JSON ({error.msg} at column {error.colno})"))
            continue
        except RecursionError:
            problems.append((number, "JSON nested too deeply"))
            continue
        except UnicodeEncodeError:
            problems.append((number, "half a character (an unpaired surrogate such as \\ud83d)"))
            continue
        text = value.get("text") if isinstance(value, dict) else None
        if not isinstance(text, str):
            problems.append((number, 'expected an object with a text "text"'))
        elif not text.strip():
            problems.append((number, "the text is empty"))
        else:
            about = tuple((name, str(value[name])) for name in _GROUP_FIELDS if value.get(name))
            texts.append(HouseText(text.strip(), number, about))
    if problems:
        raise ExamplesError(problems)
    return texts


def _from_prose(content: str) -> list[HouseText]:
    texts: list[HouseText] = []
    about: tuple[tuple[str, str], ...] = ()
    block: list[str] = []
    for number, line in enumerate([*content.splitlines(), ""], 1):
        heading = _HEADING.fullmatch(line.strip())
        if line.strip() and not heading:
            block.append(line.rstrip())
            continue
        if block:
            texts.append(HouseText("\n".join(block).strip(), number - len(block), about))
            block = []
        if heading:
            about = (("topic", heading[1].strip()),)
    return texts


def _fault(request: str, text: str, rank: int | None) -> str | None:
    """Why a request is not good, if it is not."""
    words = request.split()
    if not words:
        return "the base wrote no request"
    if len(words) > MOST_REQUEST_WORDS:
        return f"the request has {len(words)} words, more than {MOST_REQUEST_WORDS}"
    if any(_runs(request, 5) & _runs(asked, 5) for _, asked in _SHOWN):
        return f"the request repeats the example that the base was shown: {request!r}"
    if _copied(request, text):
        return f"the request repeats the text: {request!r}"
    asked, held = set(content_words(request)), set(content_words(text))
    if not asked or len(asked & held) < SHARED_WORDS * len(asked):
        return f"the request shares too few words with its text: {request!r}"
    if rank is None or rank > FOUND_WITHIN:
        return f"the request finds other texts first: {request!r}"
    return None


def _copied(request: str, text: str) -> bool:
    """Whether most of a request stands in the text word for word."""
    runs = _runs(request, 4)
    if not runs:  # too short to be called a copy unless it is the text
        return request.casefold() == text.casefold()
    return len(runs & _runs(text, 4)) >= COPIED * len(runs)


def _runs(text: str, size: int) -> set[tuple[str, ...]]:
    """Every run of `size` words in a row."""
    words = re.findall(r"\w+", text.casefold())
    return {tuple(words[i : i + size]) for i in range(len(words) - size + 1)}


def _ranks(texts: Sequence[str], requests: Sequence[str]) -> list[int | None]:
    """The rank of each request's own text among all of them, from 1; None: nothing in common."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(analyzer=content_words)
    try:
        held = vectorizer.fit_transform(texts)  # (n, words) sparse, unit rows
    except ValueError:  # no text has a content word
        return [None] * len(texts)
    asked = vectorizer.transform(requests)
    ranks: list[int | None] = []
    for start in range(0, len(texts), _BLOCK):
        block = (asked[start : start + _BLOCK] @ held.T).toarray()  # (block, n)
        own = block[np.arange(len(block)), np.arange(start, start + len(block))]
        # A text that says the very same is no other: ties are not counted.
        better = (block > own[:, None] + 1e-9).sum(axis=1) + 1
        ranks += [int(r) if o > 0 else None for r, o in zip(better, own, strict=True)]
    return ranks
