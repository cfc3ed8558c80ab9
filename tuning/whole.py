"""Findings of a file of examples as a whole: too few, too alike, of two voices. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from tuning import outliers
from tuning.findings import Finding, Shown
from tuning.private import excerpt
from tuning.records import Example
from tuning.words import content_words

GATE_PAIRS = 300  # pairs of which the gate's share is the 90 rows that it needs
ONE_TOPIC = 0.5  # mean share of the words that two questions have in common
COMPARED_QUESTIONS = 300
FEWEST_QUESTIONS = 20


def expectation(pairs: int) -> str:
    """What so many pairs may come to, in one sentence."""
    steps = (
        (50, "Fewer than 50 pairs seldom teach more than a greeting; reach 50 first."),
        (
            200,
            "From 50 pairs a voice takes on greeting, sign-off and length; from 200 on, its "
            "phrases and turns. Too few can be held out to judge it.",
        ),
        (
            GATE_PAIRS,
            "200 pairs teach the phrases of a voice, but the gate needs 90 of them held out: "
            f"from {GATE_PAIRS} on it can judge, and promote.",
        ),
        (
            1000,
            f"From {GATE_PAIRS} pairs the gate can judge the voice; at 1,000 varied ones it also "
            "holds in questions unlike those it has seen.",
        ),
    )
    for below, sentence in steps:
        if pairs < below:
            return sentence
    return "1,000 pairs and more are plenty: from here variety helps, and mere number does not."


def second_voice(examples: Sequence[Example]) -> Finding | None:
    """Whether two voices share the replies; shown are the first reply of each."""
    places = outliers.second_voice([example.reply for example in examples])
    if not places:
        return None
    first = next(place for place in range(len(examples)) if place not in set(places))
    shown = tuple(
        Shown((examples[place].line,), excerpt(examples[place].reply))
        for place in (first, places[0])
    )
    advice = (
        "The replies are of two kinds that sound unlike each other: if two people or departments "
        "have written them, the voice would mix both, so train one for each or rewrite the others."
    )
    return Finding("second_voice", "warning", len(places), advice, shown)


def unfamiliar_language(examples: Sequence[Example]) -> Finding | None:
    """Whether most replies are in a language that the built-in base has hardly read."""
    spoken = outliers.main_language([example.reply for example in examples])
    if spoken in (None, "English"):
        return None
    advice = (
        f"Most replies are {spoken}, which the built-in base model hardly knows: unless yours "
        "does, expect phrases learnt by heart and mistakes in all else, and mark the replies that "
        'say you do not know with "declines": true, for they are recognised in English alone.'
    )
    return Finding("unfamiliar_language", "warning", len(examples), advice)


def too_little_data(examples: Sequence[Example]) -> Finding | None:
    pairs = len(examples)
    if pairs >= GATE_PAIRS:
        return None
    return Finding("too_little_data", "warning", pairs, expectation(pairs))


def one_topic(examples: Sequence[Example]) -> Finding | None:
    """Whether all examples are of one given topic, or their questions nearly all alike."""
    if len(examples) < FEWEST_QUESTIONS:
        return None
    step = max(1, len(examples) // COMPARED_QUESTIONS)
    words = [set(content_words(example.question)) for example in examples[::step]]
    pairs = [(a, b) for i, a in enumerate(words) for b in words[i + 1 :] if a or b]
    alike = sum(len(a & b) / len(a | b) for a, b in pairs) / max(1, len(pairs))
    topics = {example.group for example in examples}
    if len(topics) > 1 and alike < ONE_TOPIC:
        return None
    advice = (
        "All examples are about one topic: the voice would know no other, and what is held out "
        "proves little; add pairs about others."
    )
    shown = tuple(
        Shown((example.line,), excerpt(example.question)) for example in examples[:: len(examples)]
    )
    return Finding("one_topic", "warning", len(examples), advice, shown)
