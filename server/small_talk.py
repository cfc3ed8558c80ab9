"""Greetings, thanks and praise, which ask nothing of the documents. English. Pure."""

from __future__ import annotations

import re

_MOST_CHARACTERS = 80  # the limit also keeps the backtracking harmless
_SMALL_TALK = re.compile(
    r"\W*((hi|hello|hey|good (morning|afternoon|evening|day|night)|bye|goodbye|see you"
    r"|have a (good|great|lovely|nice) (day|evening|one|weekend)"
    r"|(no )?thanks?|(no )?thank you|cheers|ok|okay|great|perfect|brilliant|lovely|wonderful|got it"
    r"|(that|it)('s| is| was) (all|it|clear|great|perfect|((very|really|so) )?helpful)"
    r"|that (helped|helps|worked|works|did it)"
    r"|you('re| are|'ve been| have been)"
    r" (great|wonderful|the best|((very|really|so) )?(helpful|kind)))"
    r"\b( (there|again|all|everyone|so much|very much|a lot|for your (help|reply)|for now|i needed"
    r"|you|friend|and|the team))*\W*)+",
    re.IGNORECASE,
)


def is_small_talk(text: str) -> bool:
    """Whether a message greets, thanks or praises, and nothing else."""
    text = text.strip().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    return len(text) <= _MOST_CHARACTERS and bool(_SMALL_TALK.fullmatch(text))
