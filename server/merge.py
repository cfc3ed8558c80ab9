"""Training files of different ages to one: exact duplicates go, the newest replies win. Pure.

It knows no jobs and no rows; lines that it cannot read as conversations are passed on as they
are, so that whoever trains on them says what is wrong.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tuning.errors import ExamplesError


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a training file: where it stands (from 1) and what it holds."""

    source: str
    number: int
    value: Any


def read_lines(source: str, data: bytes) -> list[Line]:
    """The lines of a JSONL file, blank ones left out.

    Raises:
        ExamplesError: not UTF-8 or not JSON, with the line and the name of the file.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        number = data[: error.start].count(b"\n") + 1
        raise ExamplesError([(number, f"not UTF-8 text ({source})")]) from None
    lines, problems = [], []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            lines.append(Line(source, number, json.loads(line)))
        except json.JSONDecodeError as error:
            why = f"broken JSON ({error.msg} at column {error.colno} of {source})"
            problems.append((number, why))
        except RecursionError:
            problems.append((number, f"JSON nested too deeply ({source})"))
    if problems:
        raise ExamplesError(problems)
    return lines


def merge(sources: Iterable[Sequence[Line]]) -> list[Line]:
    """One list of lines from sources given from the oldest to the newest.

    A conversation that a newer source holds, too, has that source's replies alone; within one
    source it may have several. A conversation keeps the place where it first stood. Preference
    pairs are no examples and are left out.
    """
    kept: dict[str, list[Line]] = {}
    for source in sources:
        fresh: dict[str, list[Line]] = {}
        for line in source:
            if isinstance(line.value, dict) and "preferred_output" in line.value:
                continue
            asked, reply = _parts(line.value)
            replies = fresh.setdefault(asked, [])
            if all(_parts(other.value)[1] != reply for other in replies):
                replies.append(line)
        kept.update(fresh)
    return [line for lines in kept.values() for line in lines]


def _parts(value: Any) -> tuple[str, str]:
    """(conversation, reply) of an example, in one form for what is equal."""
    messages = value.get("messages") if isinstance(value, dict) else None
    if not isinstance(messages, list) or not messages:
        return json.dumps(value, sort_keys=True), ""
    *asked, reply = messages
    return json.dumps(asked, sort_keys=True), json.dumps(reply, sort_keys=True)
