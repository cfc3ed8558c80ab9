"""Sentences of a document that give orders to whoever answers are taken out before anyone reads.

A document holds facts; what it says about "your response" is no fact for a reader, but an attack
or a note that answers do not need. Such sentences are blanked in the hit, so that offsets stay.
Where the question itself is about replies, what to add to "your reply" is a fact, and stays; an
order to forget instructions, or to tell them, never does.

Pure. Read `disarmed` first.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from retrieval.claims import split_claims
from retrieval.records import Hit

_YOURS = (
    r"your\s+(?:\w+\s+)?(?:responses?|repl(?:y|ies)|answers?|outputs?|messages?|completions?)\b"
)
_ON_REPLIES = (
    # "Add ... to your reply", "In your response, suggest ..."
    rf"\b(?:in|into|to|from|of|with|within|by|throughout)\s+{_YOURS}",
    # "Modify your answer to ..."
    rf"^\W*(?:please\s+)?\w+\s+{_YOURS}",
)
_ON_INSTRUCTIONS = (
    r"\b(?:ignore|disregard|forget|override|bypass)\b.{0,60}"
    r"\b(?:instructions?|prompts?|rules|guidelines|messages?|context)\b",
    r"\b(?:reveal|repeat|print|output|show|tell|leak|send)\b.{0,60}"
    r"\b(?:system|hidden|secret|initial|your)\s+(?:\w+\s+)?(?:prompts?|instructions?|message|canary)\b",
    r"\byou are (?:now|an? (?:ai|assistant|language model|chatbot))\b",
    r"\bnew (?:system )?instructions?\s*:",
)
_TAKES_OVER = re.compile("|".join(_ON_INSTRUCTIONS), re.IGNORECASE | re.DOTALL)
_ORDER = re.compile("|".join((*_ON_REPLIES, *_ON_INSTRUCTIONS)), re.IGNORECASE | re.DOTALL)
# A sentence about somebody who writes is told, not ordered: "We replied to your message."
_TOLD = re.compile(r"\W*(?:we|i|he|she|they|it|our|my|the|this|thanks?|thank you)\b", re.IGNORECASE)
_ABOUT_REPLIES = re.compile(
    r"\b(?:repl(?:y|ies|ied)|respon(?:d|ds|se|ses)|answers?|messages?)\b", re.IGNORECASE
)
# "Please answer: ...", "Answer this question": the word is about this very answer.
_ASKS_FOR_ONE = re.compile(
    r"(?:^|[.!,:;]\s*)(?:please\s+)?(?:answer|reply|respond)\b|\b(?:please|can|could|would)\s+"
    r"(?:you\s+)?(?:please\s+)?(?:answer|reply|respond)\b",
    re.IGNORECASE,
)


def disarmed(hits: Iterable[Hit], *, question: str) -> tuple[Hit, ...]:
    """The hits with orders to the answerer blanked; those that hold nothing else are left out."""
    about_replies = bool(_ABOUT_REPLIES.search(_ASKS_FOR_ONE.sub("", question)))
    kept = []
    for hit in hits:
        text = without_orders(hit.passage.text, about_replies=about_replies)
        heading = hit.passage.heading
        if heading and without_orders(heading, about_replies=about_replies) != heading:
            heading = None
        passage = replace(hit.passage, text=text, heading=heading)
        if text.strip():
            kept.append(hit if passage == hit.passage else replace(hit, passage=passage))
    return tuple(kept)


def without_orders(text: str, *, about_replies: bool = False) -> str:
    """The text with every sentence that orders the answerer about blanked, at the same length."""
    order = _TAKES_OVER if about_replies else _ORDER
    for start, end in split_claims(text):
        sentence = text[start:end]
        if order.search(sentence) and not _TOLD.match(sentence):
            text = text[:start] + re.sub(r"\S", " ", sentence) + text[end:]
    return text
