"""The nouns of tuning: examples, the rows a voice is trained on, and its configuration."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Literal, Self

from tuning.template import Message

Split = Literal["train", "dev", "gate"]
AdapterKind = Literal["lora", "full"]


@dataclass(frozen=True, slots=True)
class Example:
    """One training pair as the user gave it.

    `messages` is the conversation before the reply, `group` what it must not be split from
    (its topic, intent or document), `declines` whether the reply says "we don't have that",
    `line` its line in the file, from 1. In preference data `reply` is the preferred one and
    `rejected` the one that lost against it.
    """

    messages: tuple[Message, ...]
    reply: str
    group: str
    declines: bool = False
    line: int = 0
    rejected: str | None = None

    @property
    def question(self) -> str:
        """The last thing the user said."""
        return next(m["content"] for m in reversed(self.messages) if m["role"] == "user")


@dataclass(frozen=True, slots=True)
class Row:
    """One example in the form it is served in: the built prompt and the reply to learn.

    `kind` says which evidence the prompt holds: gold+distractors, gold, none (the user's own
    decline), withheld (the gold was taken away), chat, or replay (the base's own answer).
    `passages` are the ones shown, best first, and `question` what was asked, both as measured.
    `rejected` is the reply that lost against `reply`, where preferences are trained on. A row of
    the gate may be a copy of another one, with other values: `copy_of` is the other's index.
    """

    messages: tuple[Message, ...]
    reply: str
    split: Split
    kind: str
    group: str
    line: int = 0  # of the example in the user's file
    passages: tuple[str, ...] = ()
    question: str = ""
    rejected: str | None = None
    copy_of: int | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Row:
        return cls(
            **{
                **value,
                "messages": tuple(value["messages"]),
                "passages": tuple(value.get("passages", ())),
            }
        )


@dataclass(frozen=True, slots=True)
class Prompt:
    """A text that is wanted: the messages as built for serving, and who is to write it.

    `adapter` is the digest of an adapter, None the base. With a `reply` nothing is written: the
    loss of that reply is wanted. `grammar` (`tuning.grammar`) is what the text must consist of.
    """

    id: str
    messages: tuple[Message, ...]
    adapter: str | None = None
    max_tokens: int = 96
    reply: str | None = None
    grammar: str | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Prompt:
        return cls(**{**value, "messages": tuple(value["messages"])})


@dataclass(frozen=True, slots=True)
class Text:
    """What came of a `Prompt`; `loss` in nats per reply token where a reply was read."""

    id: str
    adapter: str | None
    text: str
    tokens: int
    finish_reason: str  # stop, length or read
    loss: float | None = None

    @property
    def cut(self) -> bool:
        """Whether it reached its limit of tokens."""
        return self.finish_reason == "length"


@dataclass(frozen=True, slots=True)
class VoiceConfig:
    """How a voice is trained. Defaults suit a 135M model and a few hundred pairs."""

    adapter: AdapterKind = "lora"
    rank: int = 16
    alpha: int = 32
    learning_rate: float = 5e-4  # peak
    warmup: float = 0.06  # share of the training
    max_epochs: int = 2
    max_minutes: float | None = None  # wall clock of the loop, evaluations included
    batch_tokens: int = 1024  # padded tokens per optimizer step
    micro_tokens: int = 512  # padded tokens of a batch that are in memory at once
    row_tokens: int = 2048  # longer rows are refused before training
    evaluations_per_epoch: int = 2
    patience: int = 3  # evaluations without a better held-out loss before stopping
    checkpoint_seconds: float = 60.0  # longest between two; each evaluation leaves one, too
    clip: float = 1.0  # gradient norm
    seed: int = 0

    FULL: ClassVar[dict[str, Any]] = {"learning_rate": 3e-5, "checkpoint_seconds": 300.0}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        """The settings given, over the defaults; a full fine-tune has lower ones (`FULL`)."""
        known = {f.name for f in fields(cls)}
        given = {k: v for k, v in value.items() if k in known and v is not None}
        return cls(**{**(cls.FULL if given.get("adapter") == "full" else {}), **given})


@dataclass(frozen=True, slots=True)
class PreferenceConfig(VoiceConfig):
    """How a voice is tuned on preferences (`preference.py`)."""

    learning_rate: float = 5e-5  # a tenth of a voice's: DPO breaks a model sooner
    batch_pairs: int = 8  # pairs per optimizer step, whatever `batch_tokens` says
    beta: float = 0.1  # how closely the voice is held to where it started
    sft_weight: float = 0.1  # of the preferred reply's own loss (nats per token)

    FULL: ClassVar[dict[str, Any]] = {"learning_rate": 5e-6, "checkpoint_seconds": 300.0}
