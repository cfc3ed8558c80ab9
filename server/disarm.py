"""Sentences of a document that give orders to whoever answers are taken out before anyone reads.

A document holds facts; what it says about "your response" is no fact for a reader, but an attack
or a note that answers do not need. Such sentences are blanked in the hit, so that offsets stay.
Where the question itself is about replies, they are facts, and stay.

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
_ORDERS = (
    # "Add ... to your reply", "In your response, suggest ..."
    rf"\b(?:in|into|to|from|of|with|within|by|throughout)\s+{_YOURS}",
    # "Modify your answer to ..."
    rf"^\W*(?:please\s+)?\w+\s+{_YOURS}",
    r"\b(?:ignore|disregard|forget|override|bypass)\b.{0,60}"
    r"\b(?:instructions?|prompts?|rules|guidelines|messages?|context)\b",
    r"\b(?:reveal|repeat|print|output|show|tell|leak|send)\b.{0,60}"
    r"\b(?:system|hidden|secret|initial|your)\s+(?:\w+\s+)?(?:prompts?|instructions?|message|canary)\b",
    r"\byou are (?:now|an? (?:ai|assistant|language model|chatbot))\b",
    r"\bnew (?:system )?instructions?\s*:",
)
_ORDER = re.compile("|".join(f"(?:{order})" for order in _ORDERS), re.IGNORECASE | re.DOTALL)
# A sentence about somebody who writes is told, not ordered: "We replied to your message."
_TOLD = re.compile(r"\W*(?:we|i|he|she|they|it|our|my|the|this|thanks?|thank you)\b", re.IGNORECASE)
_ABOUT_REPLIES = re.compile(
    r"\b(?:repl(?:y|ies|ied)|respon(?:d|ds|se|ses)|answers?|messages?|prompts?|instructions?)\b",
    re.IGNORECASE,
)


def disarmed(hits: Iterable[Hit], *, question: str) -> tuple[Hit, ...]:
    """The hits with orders to the answerer blanked; those that hold nothing else are left out."""
    if _ABOUT_REPLIES.search(question):
        return tuple(hits)
    kept = []
    for hit in hits:
        text = without_orders(hit.passage.text)
        if text.strip():
            unchanged = text == hit.passage.text
            kept.append(hit if unchanged else replace(hit, passage=replace(hit.passage, text=text)))
    return tuple(kept)


def without_orders(text: str) -> str:
    """The text with every sentence that orders the answerer about blanked, at the same length."""
    for start, end in split_claims(text):
        sentence = text[start:end]
        if _ORDER.search(sentence) and not _TOLD.match(sentence):
            text = text[:start] + re.sub(r"\S", " ", sentence) + text[end:]
    return text
