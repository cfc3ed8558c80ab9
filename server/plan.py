"""What an evaluation is about to ask, and of whom: frozen once into the run folder. Pure.

A verdict that goes on after a restart asks what it has asked before. It knows no documents and no
model; `asking.py` makes a plan, `judgement.py` judges by it. Read `Plan` first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from retrieval.extract import Sentence
from retrieval.grounds import Grounds
from retrieval.records import Hit, Passage
from server.arms import ARMS, Arm
from server.formulas import NO_FORMULAS, Formulas
from server.questions import Question
from server.repair import Policy
from server.verdict import REPLY, Asked, Form
from tuning.records import Row
from tuning.run import Run


@dataclass(frozen=True, slots=True)
class House:
    """What is known of the house's way of writing: a voice's rows, and the base's own texts.

    `task` is what the voice's card says of it. `base_texts` are what the base wrote for train
    rows, by their index, where the gate of the voice's training has asked for them.
    """

    adapter: str | None = None
    rows: tuple[Row, ...] = ()
    base_texts: tuple[tuple[int, str], ...] = ()
    task: Mapping[str, Any] = field(default_factory=dict)

    @property
    def uses_documents(self) -> bool:
        return bool(self.task.get("uses_documents", True))

    @classmethod
    def of_run(cls, run: Run, adapter: str) -> House:
        texts = [
            (int(text.id.partition(":")[2]), text.text)
            for text in run.texts()
            if text.adapter is None and text.id.startswith("style:")
        ]
        return cls(adapter, tuple(run.rows()), tuple(texts), run.config().get("task") or {})


@dataclass(frozen=True, slots=True)
class Plan:
    """What is asked and what is needed to judge it; everything but the prompts themselves."""

    arms: tuple[Arm, ...]
    asked: tuple[Asked, ...]
    prompt_tokens: dict[str, int]  # by the prompt's id
    house_replies: tuple[str, ...]
    base_texts: tuple[str, ...]
    gate_replies: tuple[str, ...]
    unanswered: tuple[str, ...]  # ids of the questions that the documents answer nowhere
    notes: tuple[str, ...]
    policy: Policy = "off"  # of the server, by which drafts are repaired
    formulas: Formulas = NO_FORMULAS  # of the voice, which the repair leaves as they are
    form: Form = REPLY  # in which all arms answer
    routed: Mapping[str, str] = field(default_factory=dict)  # question -> label, by the router

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "arms": [arm.key for arm in self.arms]}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Plan:
        lists = {k: tuple(v) for k, v in value.items() if isinstance(v, list)}
        return cls(
            **{
                **value,
                **lists,
                "policy": value.get("policy", "off"),
                "formulas": Formulas.from_json(value.get("formulas", ())),
                "form": Form(**value.get("form", {})),
                "arms": tuple(arm for arm in ARMS if arm.key in value["arms"]),
                "asked": tuple(map(_asked, value["asked"])),
            }
        )


def prompt_id(arm: Arm, question: Question) -> str:
    return f"{arm.key}:{question.id}"


def _asked(value: dict[str, Any]) -> Asked:
    return Asked(
        Question.from_json(value["question"]),
        tuple(_hit(hit) for hit in value["hits"]),
        _grounds(value.get("grounds")),
        _asked(value["tuned"]) if value.get("tuned") else None,
    )


def _hit(value: dict[str, Any]) -> Hit:
    return replace(Hit(**value), passage=Passage(**value["passage"]))


def _grounds(value: dict[str, Any] | None) -> Grounds:
    if value is None:  # frozen before drafts were repaired
        return Grounds()
    return Grounds(
        hits=tuple(_hit(hit) for hit in value["hits"]),
        sentences=tuple(Sentence(**sentence) for sentence in value["sentences"]),
        others=tuple(Sentence(**sentence) for sentence in value["others"]),
        confidence=value["confidence"],
        threshold=value["threshold"],
    )
