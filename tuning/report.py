"""The data report: what is wrong with examples before anything is trained on them.

Pure, and fast enough to run on every job: a minute for 50,000 rows. Knows no documents (the
server compares replies with those) and no format (`examples.py` refuses broken lines).
Read `report` first, then `findings.py`.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

from tuning.contradictions import contradictions
from tuning.duplicates import near_duplicates
from tuning.examples import question_key
from tuning.findings import MOST_EXAMPLES, Finding, Place, excerpt, warning
from tuning.outliers import long_texts, other_manner, other_script, short_texts
from tuning.records import Example, Split
from tuning.sensitive import personal_data, placeholders, secrets
from tuning.words import content_words, figures

FEW_PAIRS = 200
HOUSE_OWN = 3  # replies (and 0.2% of them) that an address of the house's own stands in
ONE_TOPIC = 0.5  # mean overlap of two questions' words
ONE_TOPIC_PAIRS = 300
_OFFICES = frozenset(
    "billing contact feedback hello help helpdesk hr info jobs mail noreply no-reply office orders "
    "press privacy returns sales service support team".split()
)


def report(examples: Sequence[Example], splits: Mapping[str, Split]) -> tuple[Finding, ...]:
    """What is found wrong with the examples, the gravest first.

    `splits` is by `question_key`, as `assign_splits` gives it.
    """
    exact = _exact_duplicates(examples)
    first = near_duplicates(_whole(example) for example in examples)
    replies = [example.reply for example in examples]

    def of(indices: Sequence[int]) -> Iterator[Place]:
        return (Place(examples[i].line, replies[i]) for i in indices)

    found = [
        *_too_little(examples),
        *warning(
            "exact_duplicates",
            (_like(examples[i], examples[j].line) for i, j in exact),
            "These lines repeat an earlier one word for word and would count twice: they are "
            "left out unless you ask to keep them.",
        ),
        *warning(
            "near_duplicates",
            _near(examples, first, {i for i, _ in exact}),
            "These lines nearly repeat an earlier one, so the voice would learn them by heart: "
            "drop them, or vary them.",
        ),
        *warning(
            "leakage",
            _leakage(examples, first, splits),
            "These training lines nearly repeat a held-out one, so the voice would be judged on "
            "what it has learnt: drop them, or give both the same topic.",
        ),
        *warning(
            "contradictions",
            _contradictions(examples),
            "The same question is answered with different figures: correct the outdated ones, "
            "or drop them all.",
        ),
        *warning(
            "placeholders",
            _holding(examples, placeholders),
            "Placeholders were left in and would be written to customers: fill them in, or drop "
            "the lines.",
        ),
        *warning(
            "secrets",
            _holding(examples, secrets),
            "These look like keys or passwords, which a voice can repeat to anyone: remove and "
            "change them, or drop the lines.",
        ),
        *warning(
            "personal_data",
            _personal(examples),
            "These look like personal data (e-mail, telephone, card, IBAN), which a voice can "
            "repeat to anyone: remove them, or drop the lines.",
        ),
        *warning(
            "long_replies",
            of(long_texts(replies)),
            "These replies are far longer than the rest and pull the voice towards rambling: "
            "shorten or drop them if they are not meant.",
        ),
        *warning(
            "short_replies",
            of(short_texts(replies)),
            "These replies are far shorter than the rest and teach little of the voice: write "
            "them out, or drop them.",
        ),
        *warning(
            "mixed_voices",
            of(other_manner(replies)),
            "These replies are written in another manner than the rest: if someone else wrote "
            "them, drop them or teach them as a voice of their own.",
        ),
        *warning(
            "other_script",
            of(other_script(replies)),
            "These replies are in another script than most: teach each language as a voice of "
            "its own, or drop them.",
        ),
        *_one_topic(examples),
    ]
    return tuple(found)


def _whole(example: Example) -> str:
    """All that is said in an example but the system message, which many share."""
    said = [m["content"] for m in example.messages if m["role"] != "system"]
    return "\n".join([*said, example.reply, example.rejected or ""])


def _exact_duplicates(examples: Sequence[Example]) -> list[tuple[int, int]]:
    """The index of every repeated example with that of the one it repeats."""
    seen: dict[tuple[object, ...], int] = {}
    found = []
    for number, example in enumerate(examples):
        said = tuple((m["role"], " ".join(m["content"].split())) for m in example.messages)
        key = (said, " ".join(example.reply.split()), example.rejected)
        first = seen.setdefault(key, number)
        if first != number:
            found.append((number, first))
    return found


def _like(example: Example, line: int) -> Place:
    return Place(example.line, f"as line {line}: {_asked(example)}")


def _asked(example: Example) -> str:
    return f"{excerpt(example.question)} -> {example.reply}"


def _texts(example: Example) -> list[str]:
    """Everything a training would read, the reply first."""
    return [example.reply, *(m["content"] for m in example.messages)]


def _near(examples: Sequence[Example], first: Sequence[int], exact: set[int]) -> Iterator[Place]:
    for number, like in enumerate(first):
        if like != number and number not in exact:
            yield _like(examples[number], examples[like].line)


def _leakage(
    examples: Sequence[Example], first: Sequence[int], splits: Mapping[str, Split]
) -> Iterator[Place]:
    """The training examples of every cluster that holds a held-out one, too."""
    of = [splits[question_key(example)] for example in examples]
    held_out: dict[int, int] = {}
    for number, like in enumerate(first):
        if of[number] != "train":
            held_out.setdefault(like, number)
    for number, like in enumerate(first):
        if of[number] == "train" and like in held_out:
            yield _like(examples[number], examples[held_out[like]].line)


def _contradictions(examples: Sequence[Example]) -> Iterator[Place]:
    for group in contradictions(examples):
        for example in group:
            yield Place(example.line, _asked(example))


def _holding(examples: Sequence[Example], find: Callable[[str], Iterator[str]]) -> Iterator[Place]:
    for example in examples:
        for text in _texts(example):
            if (found := next(find(text), None)) is not None:
                yield Place(example.line, text, found)
                break


def _personal(examples: Sequence[Example]) -> Iterator[Place]:
    """Personal data but the house's own: what many replies hold, and its other mailboxes."""
    counts = Counter(value for example in examples for value in {*personal_data(example.reply)})
    least = max(HOUSE_OWN, 0.002 * len(examples))
    own = {value for value, count in counts.items() if count >= least}
    domains = {value.partition("@")[2] for value in own if "@" in value}
    for example in examples:
        for text in _texts(example):
            for value in personal_data(text):
                mailbox, _, domain = value.partition("@")
                office = domain and (mailbox.casefold() in _OFFICES or domain in domains)
                if value not in own and not office:
                    yield Place(example.line, text, value)


def _too_little(examples: Sequence[Example]) -> list[Finding]:
    if len(examples) >= FEW_PAIRS:
        return []
    message = (
        f"{len(examples)} pairs are little. With 50 a voice takes on greetings and turns of "
        "phrase, with 200 its manner holds through whole replies, with 1,000 on rare topics, "
        "too; below 300 the gate holds back fewer than the 90 pairs it wants to judge by."
    )
    return [Finding("too_little_data", "warning", len(examples), (), (), message)]


def _one_topic(examples: Sequence[Example]) -> list[Finding]:
    """Whether all belong to one group, or the questions share most of their words."""
    words = [frozenset(content_words(e.question)) | set(figures(e.question)) for e in examples]
    random_ = random.Random(0)
    pairs = [random_.sample(words, 2) for _ in range(ONE_TOPIC_PAIRS)] if len(words) > 1 else []
    overlaps = [len(a & b) / len(a | b) for a, b in pairs if a | b]
    alike = bool(overlaps) and sum(overlaps) / len(overlaps) >= ONE_TOPIC
    if not alike and len({example.group for example in examples}) > 1:
        return []
    shown = tuple((e.line, excerpt(e.question)) for e in examples[:MOST_EXAMPLES])
    message = (
        "All examples are about one topic, so neither the training nor the gate sees how the "
        "voice speaks of others: add replies to other questions."
    )
    return [Finding("one_topic", "warning", len(examples), (), shown, message)]
