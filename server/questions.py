"""The questions of a verdict: from a file, or from the rows that a voice has never learnt. Pure.

It knows no documents and no model. Read `read_questions` first.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from server.errors import ApiError
from server.probing import facts
from server.prompt import WITH_PASSAGES, WITHOUT_PASSAGES, Message
from tuning.examples import parse_lines
from tuning.records import Row

ANSWERABLE, UNANSWERABLE = 60, 30
_TOLD = 5  # faulty lines that an error names
_GOLD = ("gold", "gold+distractors")


class QuestionsError(ApiError):
    """A file of questions that cannot be used; `problems` are (line from 1, reason) pairs."""

    def __init__(self, problems: Sequence[tuple[int, str]]) -> None:
        self.problems = list(problems)
        told = [f"line {line}: {why}" if line else why for line, why in problems[:_TOLD]]
        more = f"; and {len(problems) - _TOLD} more" if len(problems) > _TOLD else ""
        super().__init__(
            400,
            "; ".join(told) + more,
            param="questions_file",
            code="invalid_questions_file",
        )


@dataclass(frozen=True, slots=True)
class Question:
    """One question, and what is known of its answer.

    `conversation` ends with what the user asks. An answer should hold every string of
    `expected` and every figure of `figures`. Where `only` is given, no other passages may be
    shown: they were withheld, so that the documents do not answer.
    """

    id: str
    conversation: tuple[Message, ...]
    answerable: bool
    expected: tuple[str, ...] = ()
    figures: tuple[str, ...] = ()
    document: str | None = None
    reply: str | None = None
    only: tuple[str, ...] | None = None

    @property
    def text(self) -> str:
        return self.conversation[-1]["content"]

    @property
    def checkable(self) -> bool:
        """Whether it is known what a right answer holds."""
        return bool(self.expected or self.figures)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Question:
        only = value["only"]
        return cls(
            **{
                **value,
                "conversation": tuple(value["conversation"]),
                "expected": tuple(value["expected"]),
                "figures": tuple(value["figures"]),
                "only": None if only is None else tuple(only),
            }
        )


def read_questions(data: bytes) -> list[Question]:
    """Read JSONL: `question`, and if known `answerable`, `expected`, `document` and `reply`.

    Raises:
        QuestionsError: every faulty line with its number and reason, or no question at all.
    """
    questions, problems = parse_lines(data, _question)
    if problems:
        raise QuestionsError(problems)
    if not questions:
        raise QuestionsError(
            [(0, 'the file holds no questions: write one {"question": ...} a line')]
        )
    return questions


def voice_questions(rows: Sequence[Row]) -> list[Question]:
    """The questions of a voice's gate rows: with gold answerable, withheld or declined not.

    A voice that was taught without documents is asked what its gate rows ask, and nothing is
    expected of its answers but the style.
    """
    gate = [row for row in rows if row.split == "gate" and row.question and row.copy_of is None]
    golden = [row for row in gate if row.kind in _GOLD and facts(row)]
    golden = golden or [row for row in gate if row.kind in (*_GOLD, "chat")]
    declined = [row for row in gate if row.kind in ("none", "withheld")]
    questions = [
        Question(
            f"gate-{number}",
            _conversation(row),
            answerable=True,
            figures=tuple(sorted(facts(row))),
            reply=row.reply,
        )
        for number, row in enumerate(golden)
    ]
    return questions + [
        Question(
            f"gate-{number}",
            _conversation(row),
            answerable=False,
            only=row.passages if row.kind == "withheld" else None,
        )
        for number, row in enumerate(declined, len(golden))
    ]


def sample(
    questions: Sequence[Question], *, answerable: int, unanswerable: int, seed: int = 0
) -> list[Question]:
    """At most so many of each kind, evenly mixed: whoever stops early has some of each."""
    random_ = random.Random(seed)
    mixed: list[tuple[float, Question]] = []
    for wanted, kind in ((answerable, True), (unanswerable, False)):
        own = [question for question in questions if question.answerable is kind]
        chosen = own if len(own) <= wanted else random_.sample(own, wanted)
        mixed += [((place + 0.5) / len(chosen), item) for place, item in enumerate(chosen)]
    return [question for _, question in sorted(mixed, key=lambda pair: pair[0])]


def _question(value: Any, line: int) -> Question:
    if not isinstance(value, dict):
        raise ValueError("expected an object")
    text = value.get("question")
    if not isinstance(text, str) or not text.strip():
        raise ValueError('"question" must be a text that is not empty')
    expected = value.get("expected") or []
    if isinstance(expected, str):
        expected = [expected]
    if not isinstance(expected, list) or not all(
        isinstance(fact, str) and fact.strip() for fact in expected
    ):
        raise ValueError('"expected" must be a list of texts that are not empty')
    for name in ("document", "reply"):
        if not isinstance(value.get(name) or "", str):
            raise ValueError(f'"{name}" must be a text')
    answerable = value.get("answerable", True)
    if not isinstance(answerable, bool):
        raise ValueError('"answerable" must be true or false')
    if expected and not answerable:
        raise ValueError("it cannot be answered, but an answer is expected")
    return Question(
        f"line-{line}",
        ({"role": "user", "content": text.strip()},),
        answerable=answerable,
        expected=tuple(expected),
        document=value.get("document") or None,
        reply=value.get("reply") or None,
    )


def _conversation(row: Row) -> tuple[Message, ...]:
    """What the user gave, without the passages and the instruction that `prompt.build` adds."""
    system, *talk, last = row.messages
    own = system["content"]
    for instruction in (WITH_PASSAGES, WITHOUT_PASSAGES):
        own = own.removesuffix(instruction).strip()
    before = [{"role": "system", "content": own}] if own else []
    return (*before, *talk, {"role": last["role"], "content": row.question})
