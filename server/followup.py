"""What a message is about, when it leans on the one before: "And how much is that?". Pure.

English in its word lists. Read `standalone` first; `python -m benchmarks.followups` measures it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from retrieval.claims import content_words, figures
from server.prompt import Message

_FEW_WORDS = 2  # content words; with fewer a question hardly names its subject
_LEANING_WORDS = 4
_OPENING = re.compile(
    r"\W*(?:and|but|also|or|then|so|what about|how about|what if|why not|for)\b", re.IGNORECASE
)
_REFERS = re.compile(
    r"\b(?:it|its|that|this|those|these|they|them|their|one|ones|he|she|him|her|both|there)\b",
    re.IGNORECASE,
)


def standalone(messages: Sequence[Message]) -> str:
    """Return the last message, behind the user's message before it where it leans on that.

    It leans where it opens like a continuation, names next to nothing, or is short and refers to
    something ("it", "those"). The words of both are searched, so a wrong guess costs little.
    """
    asked = messages[-1]["content"]
    before = [message["content"] for message in messages[:-1] if message["role"] == "user"]
    if not before or not _leans(asked):
        return asked
    return f"{before[-1]}\n{asked}"


def _leans(text: str) -> bool:
    named = len(content_words(text) | figures(text))
    return (
        named <= _FEW_WORDS
        or bool(_OPENING.match(text))
        or (named <= _LEANING_WORDS and bool(_REFERS.search(text)))
    )
