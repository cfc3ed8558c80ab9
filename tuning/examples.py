"""Chat JSONL to examples, with a reason for every line that cannot be used, and the split.

The format is OpenAI's: one `{"messages": [...]}` a line, ending with the assistant's reply.
Beside it a line may carry `topic`, `intent`, `document` or `group` (what must not be torn apart
by the split) and `declines` (the reply says that the documents do not hold the answer).

Knows no documents: rows in serving form are made by the server.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from tuning.declines import looks_like_decline
from tuning.errors import ExamplesError
from tuning.records import Example, Split

MINIMUM_EXAMPLES = 10
GATE_SHARE, GATE_SHARE_MOST, GATE_ROWS = 0.15, 0.30, 90
DEV_SHARE = 0.10
LEAST_GROUPS = 8
_GROUP_FIELDS = ("group", "topic", "intent", "document")
_ROLES = ("system", "user", "assistant")
_Item = TypeVar("_Item")


def read_examples(data: bytes, *, least: int = MINIMUM_EXAMPLES) -> list[Example]:
    """Read chat JSONL. Pairs to train on are at least 10; pairs that only judge may be fewer.

    Raises:
        ExamplesError: with every faulty line's number and reason, or too few examples.
    """
    return read_lines(data, parse_example, least=least)


def read_lines(
    data: bytes, parse: Callable[[Any, int], Example], *, least: int = MINIMUM_EXAMPLES
) -> list[Example]:
    """Read JSONL with `parse(value, line)`, which raises ValueError for a line it cannot use.

    Raises:
        ExamplesError: with every faulty line's number and reason, or too few examples.
    """
    examples, problems = parse_lines(data, parse)
    if problems:
        raise ExamplesError(problems)
    if not examples:
        raise ExamplesError([(0, "the file holds no examples")])
    if len(examples) < least:
        held = "1 example" if len(examples) == 1 else f"{len(examples)} examples"
        raise ExamplesError([(0, f"the file holds {held}; a voice needs at least {least}")])
    return examples


def parse_lines(
    data: bytes, parse: Callable[[Any, int], _Item]
) -> tuple[list[_Item], list[tuple[int, str]]]:
    """What `parse(value, line)` makes of the lines of JSONL, and why some cannot be used."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        number = data[: error.start].count(b"\n") + 1
        return [], [(number, "not UTF-8 text")]
    items: list[_Item] = []
    problems: list[tuple[int, str]] = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
            json.dumps(value, ensure_ascii=False).encode()
            items.append(parse(value, number))
        except json.JSONDecodeError as error:
            problems.append((number, f"broken JSON ({error.msg} at column {error.colno})"))
        except RecursionError:
            problems.append((number, "JSON nested too deeply"))
        except UnicodeEncodeError:
            problems.append((number, "half a character (an unpaired surrogate such as \\ud83d)"))
        except ValueError as error:
            problems.append((number, str(error)))
    return items, problems


def parse_example(value: Any, line: int) -> Example:
    """One line of chat JSONL; raises ValueError with the reason why it cannot be used."""
    if not isinstance(value, dict) or not isinstance(value.get("messages"), list):
        raise ValueError('expected an object with a list "messages"')
    messages = [_message(m, i) for i, m in enumerate(value["messages"])]
    roles = [m["role"] for m in messages]
    if not roles or roles[-1] != "assistant":
        raise ValueError("the last message must be the assistant's reply")
    if "user" not in roles:
        raise ValueError("there is no user message")
    if "system" in roles[1:]:
        raise ValueError("a system message may only come first")
    turns = roles[1:] if roles[0] == "system" else roles
    if turns != [("user", "assistant")[i % 2] for i in range(len(turns))]:
        raise ValueError("user and assistant messages must alternate, starting with the user")
    *before, reply = messages
    if not reply["content"].strip():
        raise ValueError("the reply is empty")
    question = before[-1]["content"]
    group = next((str(value[f]) for f in _GROUP_FIELDS if value.get(f)), _normal(question))
    return Example(
        messages=tuple(before),
        reply=reply["content"].strip(),
        group=group,
        declines=bool(value.get("declines", looks_like_decline(reply["content"]))),
        line=line,
    )


def _message(value: Any, index: int) -> dict[str, str]:
    if not isinstance(value, dict):
        raise ValueError(f"message {index + 1} is not an object")
    role, content = value.get("role"), value.get("content")
    if role not in _ROLES:
        raise ValueError(f"message {index + 1} has the role {role!r}; use one of {list(_ROLES)}")
    if not isinstance(content, str):
        raise ValueError(f"message {index + 1} has no text content")
    return {"role": role, "content": content}


def assign_splits(
    examples: Sequence[Example],
    *,
    known: Mapping[str, Split] | None = None,
    gate: Collection[str] = (),
) -> dict[str, Split]:
    """The split of every example, by its `question_key`: once assigned, for ever.

    Examples in `known` keep their split, and new ones of their group follow them. New groups are
    taken in the order of a hash: to the gate until it has 15% of the rows (up to 30% to reach 90
    rows), then to dev until it has 10%, then to train. Where there are too few groups to fill
    all three, or a group is nothing but its reply (rows grouped by the label to be learned), each
    question is a group of its own. `gate` names the questions of a validation file: they are the
    gate then, and no further ones.
    """
    chosen: dict[str, Split] = dict.fromkeys(gate, "gate")
    examples = [example for example in examples if question_key(example) not in chosen]
    groups = {question_key(example): example.group for example in examples}
    share = min(max(GATE_SHARE, GATE_ROWS / max(1, len(groups))), GATE_SHARE_MOST)
    if chosen:
        share = 0.0
    if len(set(groups.values())) >= LEAST_GROUPS and not _grouped_by_reply(examples):
        splits = _assign(groups, known or {}, share) | chosen
        if {"train", "dev", "gate"} <= set(splits.values()):
            return splits
    return _assign({key: key for key in groups}, known or {}, share) | chosen


def _grouped_by_reply(examples: Sequence[Example]) -> bool:
    """Whether group and reply tell the same: to hold a group out would be to never teach it."""
    pairs = {(example.group, example.reply) for example in examples}
    groups, replies = ({pair[side] for pair in pairs} for side in (0, 1))
    return len(examples) > len(pairs) == len(groups) == len(replies)


def _assign(
    groups: Mapping[str, str], known: Mapping[str, Split], share: float
) -> dict[str, Split]:
    """Fill the gate with `share` of the questions, then dev, then train; by group."""
    total = len(groups)
    wanted: dict[Split, float] = {"gate": share * total, "dev": DEV_SHARE * total}
    most: dict[Split, float] = {"gate": GATE_SHARE_MOST * total, "dev": 2 * DEV_SHARE * total}
    splits = {key: known[key] for key in groups if key in known}
    of_group: dict[str, Split] = {}
    for key, split in splits.items():
        of_group.setdefault(groups[key], split)
    held = Counter(splits.values())
    new = Counter(group for key, group in groups.items() if key not in splits)
    for group in sorted(new, key=_hash):
        if group not in of_group:
            open_to: list[Split] = [
                split
                for split in wanted
                if held[split] + new[group] / 2 <= wanted[split]
                and held[split] + new[group] <= max(1, most[split])
            ]
            of_group[group] = open_to[0] if open_to else "train"
        held[of_group[group]] += new[group]
    return {key: splits.get(key) or of_group[group] for key, group in groups.items()}


def question_key(example: Example) -> str:
    """What an example is remembered by: a hash of its question's words, 16 hex digits."""
    return _hash(_normal(example.question))[:16]


def data_digest(examples: Iterable[Example]) -> str:
    """A name for the data: sha256 over messages and replies, 16 hex digits."""
    digest = hashlib.sha256()
    for example in examples:
        content = [example.messages, example.reply]
        if example.rejected is not None:
            content.append(example.rejected)
        digest.update(json.dumps(content, sort_keys=True).encode())
    return digest.hexdigest()[:16]


def _normal(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold()))[:200] or "empty"


def _hash(group: str) -> str:
    return hashlib.sha256(group.encode()).hexdigest()
