"""Whether a reply says that the house does not have the answer: by its words alone. Pure.

English. It knows neither the question nor the documents, so it hears only what is said: the
notes are silent, nothing is recorded, we cannot say. A refusal of the matter itself ("we do not
ship there", "not covered") is an answer, and a request for details is none.
"""

from __future__ import annotations

import re

SENTENCES_READ = 3  # a decline comes first; later sentences may speak of what else is not known

_NOT = r"(?:\b(?:not|never|cannot)|n't)"
_NONE = r"(?:\b(?:not|never|cannot|no|none|nothing|nobody|nowhere|neither)|n't)\b"
_SOURCE = (
    r"(?:documents?|documentation|notes|papers|paperwork|pages?|sheet|(?:price |\w+ )?lists?|"
    r"handbook|records|card|files?|drawers?|ledger|materials?|passages?|excerpts?|context|"
    r"sources|manual|guide|knowledge base|database|information|text|chart|shelf)"
)
_WHAT_WE_HOLD = (
    r"(?:what|anything|all|whatever|(?:any|the|those|these|this|our|my) [^.?!;:]{0,25}?"
    r"(?:that |which )?)\s?(?:we|i|us)(?:'ve| have| hold| keep| was| were|'m| am| can read)\b"
)
_TELL = (
    r"(?:say|speak|mention|reveal|tell|state|specif\w+|list|describe|record|note|provide|show|"
    r"address|name|explain|answer|contain|include|cover|give|discuss|indicate|detail|refer)"
)
_TOLD = (
    r"(?:written|recorded|mentioned|described|noted|documented|stated|specified|addressed|"
    r"discussed|detailed|indicated|set (?:it )?(?:down|out)|pinned)"
)
_NEWS = (
    r"(?:mention|word|record|note|information|info|details?|data|statement|provision|figures?|"
    r"entry|documents?|page|comparison|answer|idea|knowledge|number|count|line|recipe|terms)"
)
_PATTERNS = (
    # The sources do not say, say nothing, are silent.
    rf"\b{_SOURCE}\b[^.?!;]{{0,40}}{_NOT} (?:\w+ ){{0,2}}{_TELL}",
    rf"\b{_SOURCE}\b[^.?!;]{{0,30}} {_TELL}s? (?:\w+ )?(?:nothing|no|neither|only)\b",
    rf"\b{_SOURCE}\b[^.?!;,]{{0,40}}\b(?:silent|quiet|leaves? out|leave it out|lacks?|missing)\b",
    rf"\b(?:all|only) (?:our|the|my) [^.?!;]{{0,25}}{_SOURCE}? ?(?:says?|speaks?)\b",
    r"\b(?:notes|papers|pages?|sheet|card) stops?\b",
    # It is nowhere in the sources.
    rf"{_NONE}[^.?!;]{{0,60}}"
    rf"\b(?:in|on|from|among|of|to) (?:our|the|any|these|those|this|my|your|what)\b[^.?!;,]{{0,25}}"
    rf"\b{_SOURCE}\b(?! (?:number|bag|name))",
    rf"{_NONE}[^.?!;]{{0,60}}{_WHAT_WE_HOLD}",
    r"\b(?:gap|blank|edge|hole) (?:in|of|on|from) (?:our|the|my|us)\b",
    r"\bsomething (?:our|the) \w+ leaves? out\b|\bsomething nobody (?:wrote|has written)\b",
    # It is not written down, and nobody has told us.
    rf"{_NOT} (?:\w+ ){{0,2}}{_TOLD}",
    rf"\b(?:no|nothing|nobody|no one|neither)\b[^.?!;]{{0,60}}\b{_TOLD}\b",
    rf"\b(?:no|not a|nor any|nor a|without any) (?:\w+ ){{0,2}}{_NEWS} "
    r"(?:of|about|on|for|concerning|regarding|to give|in|at|reaches|"
    r"(?:is|are) (?!needed|required))\b",
    r"\b(?:not that anyone has told|(?:has|have|had)n't been (?:written|drawn|told|given))\b",
    # We do not know, cannot say, would only guess.
    rf"\b(?:we|i)\b(?:'d| do| can| could| would|'m| am|'re| are|'ll| will)? ?{_NOT}? ?(?:\w+ )?"
    r"(?:don't|do not|didn't|can't|cannot|can not|couldn't|won't|wouldn't|haven't|unable to|"
    r"not able to|not sure|unsure|not certain|not aware|have no|hold no|find no|seen no|"
    r"'ve no|'ve nothing|have nothing|haven't)"
    r"(?: (?:actually|currently|really|yet|honestly|personally|even|to))*"
    r"(?: (?:know|say|tell|see (?:what|which|whether|if|it)|quote|confirm|find|help|"
    r"assist|answer|speak|promise|rule|guess|invent|provide|determine|verify|"
    rf"have (?:\w+ ){{0,3}}{_NEWS}|have (?:that|this|access|enough)|(?:\w+ ){{0,3}}{_NEWS}|"
    r"what|whether|if|how|about|any|written|on file|one)\b|(?= from here|[.,;:]))",
    r"\b(?:we|i)(?:'d| would|'ll)? (?:be |only be |just be |hate to )?guess(?:ing)?\b",
    r"\b(?:we|i)(?:'ve)? (?:find|found|hold|held|seen) no\b",
    rf"{_NOT} able to (?:find|locate|answer|confirm|say|see|tell)\b",
    rf"{_NOT} (?:seem|appear) to have (?:anything|any|that|this|it)\b",
    r"\bnothing (?:that )?we have\b",
    r"\bno documents yet\b|\bbeyond (?:us|me)\b|\bbeyond what (?:we|our|the|I)\b",
    r"\b(?:isn't|is not|aren't) something (?:we|i) (?:can|could|know)\b",
    r"\b(?:unknown|undisclosed|unavailable) to (?:us|me)\b|\bnot known (?:to us|here)\b",
)
_DECLINE = re.compile("|".join(f"(?:{pattern})" for pattern in _PATTERNS), re.IGNORECASE)
_SENTENCE_BREAK = re.compile(r"(?<=[.!?])\s+|\n+")


def looks_like_decline(reply: str) -> bool:
    """Whether a reply says, in one of its first sentences, that the answer is not known here."""
    plain = reply.replace("’", "'")  # noqa: RUF001
    opening = [part for part in _SENTENCE_BREAK.split(plain) if part.strip()][:SENTENCES_READ]
    return any(_DECLINE.search(sentence) for sentence in opening)
