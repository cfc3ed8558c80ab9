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
_MOST_BEFORE = 3  # messages that one may lean on, each on the one before it
_OPENING = re.compile(
    r"\W*(?:and|but|also|or|then|so|what about|how about|what if|why not|for)\b", re.IGNORECASE
)
_REFERS = re.compile(
    r"\b(?:it|its|that|this|those|these|they|them|their|one|ones|he|she|him|her|both|there)\b",
    re.IGNORECASE,
)


def standalone(messages: Sequence[Message]) -> str:
    """Return the last message, behind the user's message before it where it leans on that.

    That one may lean on an earlier one in turn. A message leans where it opens like a
    continuation, names next to nothing, or is short and refers to something ("it", "those"). The
    words of all are searched, so a wrong guess costs little.
    """
    *before, asked = [message["content"] for message in messages if message["role"] == "user"]
    needed = [asked]
    for text in reversed(before[-_MOST_BEFORE:]):
        if not _leans(needed[0]):
            break
        needed.insert(0, text)
    return "\n".join(needed)


def _leans(text: str) -> bool:
    named = len(content_words(text) | figures(text))
    return (
        named <= _FEW_WORDS
        or bool(_OPENING.match(text))
        or (named <= _LEANING_WORDS and bool(_REFERS.search(text)))
    )
