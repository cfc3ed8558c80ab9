"""Preference JSONL to examples: which of two replies is the better one, line by line.

The format is OpenAI's, one object a line:

    {"input": {"messages": [...]},
     "preferred_output": [{"role": "assistant", "content": ...}],
     "non_preferred_output": [{"role": "assistant", "content": ...}]}

Beside it a line may carry what a line of chat JSONL may (`topic`, `declines` and so on).

Knows no training and no documents. Read `read_preferences` first, then `examples.py`.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from tuning.examples import MINIMUM_EXAMPLES, parse_example, read_lines
from tuning.records import Example


def read_preferences(data: bytes, *, least: int = MINIMUM_EXAMPLES) -> list[Example]:
    """Read preference JSONL: examples with a `reply` that is preferred and a `rejected` one.

    Raises:
        ExamplesError: with every faulty line's number and reason, or too few examples. Two
            equal outputs teach nothing, and a pair that turns an earlier one round undoes it.
    """
    lines: dict[str, int] = {}  # a pair as it stands -> its line

    def parse(value: Any, line: int) -> Example:
        example = _preference(value, line)
        turned = _pair(example.messages, example.rejected, example.reply)
        if turned in lines:
            raise ValueError(f"prefers the opposite of line {lines[turned]}: keep one of them")
        lines.setdefault(_pair(example.messages, example.reply, example.rejected), line)
        return example

    return read_lines(data, parse, least=least)


def _preference(value: Any, line: int) -> Example:
    asked = value.get("input") if isinstance(value, dict) else None
    if not isinstance(asked, dict) or not isinstance(asked.get("messages"), list):
        raise ValueError('expected an object with "input": {"messages": [...]}')
    if asked.get("tools"):
        raise ValueError("tools are not supported: a voice calls none")
    preferred = _output(value, "preferred_output")
    rejected = _output(value, "non_preferred_output")
    example = parse_example({**value, "messages": [*asked["messages"], preferred]}, line)
    other = str(rejected["content"]).strip()
    if other == example.reply:
        raise ValueError("both outputs are the same, so neither can be preferred")
    return replace(example, rejected=other)


def _output(value: dict[str, Any], name: str) -> dict[str, Any]:
    """The one assistant message of an output."""
    output = value.get(name)
    if not isinstance(output, list) or len(output) != 1 or not isinstance(output[0], dict):
        raise ValueError(f'"{name}" must be a list of one assistant message')
    (message,) = output
    content = message.get("content")
    if message.get("role") != "assistant" or not isinstance(content, str):
        raise ValueError(f'"{name}" must hold an assistant message with text content')
    if not content.strip():
        raise ValueError(f'"{name}" is empty')
    return {"role": "assistant", "content": content}


def _pair(*parts: Any) -> str:
    return json.dumps(parts)
