"""The data report before training: what is wrong with examples, or likely to be, with its remedy.

`report` is pure: examples and their splits in, findings out. Errors are what `read_examples`
refuses; everything else is a warning, for the user to drop or keep. Knows no documents: whether
replies contradict them is found by the server. Read `report` first, then what it calls:
`duplicates.py`, `faults.py`, `private.py`, `outliers.py`, `whole.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from tuning import duplicates, faults, outliers, private, whole
from tuning.errors import ExamplesError
from tuning.examples import assign_splits, question_key, read_examples
from tuning.findings import SHOWN, Finding, Report, Shown
from tuning.preferences import read_preferences
from tuning.private import excerpt
from tuning.records import Example, Split
from tuning.task import recognise

MORE_LINES = 200  # numbers of faulty lines that are told beside those shown with their reasons
OWN_ROWS, OWN_SHARE = 3, 0.005  # replies in which an address is the house's own


def check(data: bytes, *, kind: str | None = None) -> tuple[Report, list[Example]]:
    """Report on a file of examples as a new voice would take it; with its examples, if any."""
    try:
        examples = read(data)
    except ExamplesError as error:
        return refusal(error), []
    return report(examples, assign_splits(examples), kind=kind), examples


def read(data: bytes) -> list[Example]:
    """Read chat JSONL, or preference JSONL where the first line is of that kind.

    Raises:
        ExamplesError: as `read_examples` and `read_preferences` do.
    """
    first = data.lstrip().partition(b"\n")[0]
    return (read_preferences if b'"preferred_output"' in first else read_examples)(data)


def report(
    examples: Sequence[Example], splits: Mapping[str, Split], *, kind: str | None = None
) -> Report:
    """Everything that is found in examples; `splits` as `assign_splits` gives them.

    `kind` is the voice's task, recognised where it is None: a label may be one word.
    """
    kind = kind or recognise(examples).kind
    prose = kind in ("reply", "text")
    findings = [
        _exact_duplicates(examples),
        *_near_duplicates(examples, splits),
        _placeholders(examples),
        *_private(examples),
        _contradictory_replies(examples, labels=kind == "label"),
        *(_odd_replies(examples) if prose else ()),
        whole.second_voice(examples) if prose else None,
        whole.unfamiliar_language(examples) if prose else None,
        whole.too_little_data(examples),
        whole.one_topic(examples),
    ]
    made = Report(len(examples), whole.expectation(len(examples)))
    return made.with_findings(finding for finding in findings if finding and finding.count)


def refusal(error: ExamplesError) -> Report:
    """The report on a file that cannot be read: some faulty lines with their reasons, and how
    many more there are, with their numbers."""
    problems = error.problems
    shown = [Shown((line,) if line else (), reason) for line, reason in problems[:SHOWN]]
    if more := problems[SHOWN:]:
        are = "one more is" if len(more) == 1 else f"{len(more)} more are"
        shown.append(Shown(tuple(line for line, _ in more[:MORE_LINES]), f"{are} faulty"))
    advice = "These lines cannot be used: mend or remove them, for nothing is trained before."
    return Report(0, "", (Finding("format", "error", len(problems), advice, tuple(shown)),))


def _rows(
    code: str,
    examples: Sequence[Example],
    places: Iterable[int],
    advice: str,
    *,
    at: Mapping[int, int] | None = None,
) -> Finding:
    """A finding of single rows, shown by their replies."""
    places = list(places)
    shown = tuple(
        Shown((examples[p].line,), excerpt(examples[p].reply, at=(at or {}).get(p, 0)))
        for p in places[:SHOWN]
    )
    return Finding(code, "warning", len(places), advice, shown, tuple(places))


def _groups(
    code: str, examples: Sequence[Example], groups: Sequence[Sequence[int]], advice: str
) -> Finding:
    """A finding of rows that belong together; all but the first of each can be dropped."""
    rows = tuple(sorted(place for _, *others in groups for place in others))
    shown = tuple(
        Shown(
            tuple(examples[p].line for p in group[:SHOWN]),
            excerpt(examples[group[0]].reply),
        )
        for group in groups[:SHOWN]
    )
    return Finding(code, "warning", len(rows), advice, shown, rows)


def _exact_duplicates(examples: Sequence[Example]) -> Finding:
    return _groups(
        "exact_duplicates",
        examples,
        duplicates.exact_duplicates(examples),
        "The same pair stands here again: the repetitions are always left out, so that none "
        "counts more than the others.",
    )


def _near_duplicates(examples: Sequence[Example], splits: Mapping[str, Split]) -> Iterator[Finding]:
    """Near duplicates, and those of them on both sides of the held-out split."""
    repeated = {p for _, *others in duplicates.exact_duplicates(examples) for p in others}
    kept = [place for place in range(len(examples)) if place not in repeated]
    found = duplicates.clusters(duplicates.text_of(examples[place]) for place in kept)
    groups = [[kept[place] for place in group] for group in found]
    yield _groups(
        "near_duplicates",
        examples,
        groups,
        "These pairs are almost the same as an earlier one: they teach its words by heart; keep "
        "the best of each.",
    )
    leaking: list[list[int]] = []
    for group in groups:
        train = [p for p in group if splits[question_key(examples[p])] == "train"]
        held = [p for p in group if p not in set(train)]
        if train and held:
            leaking.append([held[0], *train])
    yield _groups(
        "leakage",
        examples,
        leaking,
        "These training pairs are almost the same as a held-out one, so the voice would be judged "
        "on what it has learned: give both the same `group`, or drop them.",
    )


def _placeholders(examples: Sequence[Example]) -> Finding:
    at = dict(faults.placeholders(examples))
    return _rows(
        "placeholders",
        examples,
        at,
        "The voice would write such placeholders to customers: fill them in, or drop the pairs.",
        at=at,
    )


def _private(examples: Sequence[Example]) -> Iterator[Finding]:
    """Secrets, and personal data but for the house's own addresses."""
    found = [private.find(duplicates.text_of(example)) for example in examples]
    stated: Counter[tuple[str, str]] = Counter()
    for example, values in zip(examples, found, strict=True):
        if values:
            replied = len(duplicates.text_of(replace(example, reply="", rejected=None)))
            stated.update({(v.kind, v.key) for v in values if v.start >= replied})
    own = {
        value
        for value, count in stated.items()
        if value[0] != "secret" and count >= max(OWN_ROWS, OWN_SHARE * len(examples))
    }
    for code, advice in (
        (
            "secrets",
            "What looks like a password, key or token could be said to anyone: remove it here, "
            "and change it where it is in use.",
        ),
        (
            "personal_data",
            "What looks like somebody's e-mail, phone, card or account number could be said to "
            "anyone: replace it by an invented one, or drop the pairs.",
        ),
    ):
        at = {
            place: first[0].start
            for place, values in enumerate(found)
            if (
                first := [
                    v
                    for v in values
                    if (v.kind == "secret") == (code == "secrets") and (v.kind, v.key) not in own
                ]
            )
        }
        places = list(at)
        shown = tuple(
            Shown((examples[p].line,), excerpt(duplicates.text_of(examples[p]), at=at[p]))
            for p in places[:SHOWN]
        )
        yield Finding(code, "warning", len(places), advice, shown, tuple(places))


def _contradictory_replies(examples: Sequence[Example], *, labels: bool) -> Finding:
    groups = list(faults.contradictory_replies(examples, labels=labels))
    rows = tuple(sorted(place for places, _ in groups for place in places))
    shown = tuple(
        Shown(
            tuple(examples[p].line for p in places[:SHOWN]),
            f"{excerpt(examples[places[0]].question)} -> {private.masked(differing)}",
        )
        for places, differing in groups[:SHOWN]
    )
    advice = (
        "The same question has replies that cannot all be right: keep the true one; dropping "
        "removes them all."
    )
    return Finding("contradictory_replies", "warning", len(groups), advice, shown, rows)


def _odd_replies(examples: Sequence[Example]) -> Iterator[Finding]:
    replies = [example.reply for example in examples]
    short = list(faults.one_word_replies(examples))
    yield _rows(
        "one_word_replies",
        examples,
        short,
        "A reply of one word teaches no voice: write it out, or drop the pairs.",
    )
    yield _rows(
        "length_outliers",
        examples,
        (place for place in faults.odd_lengths(examples) if place not in set(short)),
        f"Replies at least {faults.ODD_LENGTH_TIMES} times longer or shorter than the middle one "
        "are often forwarded mails or fragments: look at them.",
    )
    foreign, usual = outliers.other_languages(replies)
    yield _rows(
        "other_language",
        examples,
        foreign,
        f"Nearly all replies are {usual}: a voice in two languages or scripts mixes them; train "
        "one voice for each.",
    )
    apart = set(outliers.other_voices(replies)).difference(foreign, short)
    yield _rows(
        "mixed_voices",
        examples,
        sorted(apart),
        "These replies sound unlike the rest, as if somebody else had written them: rewrite them "
        "in the house's voice, or drop them.",
    )
