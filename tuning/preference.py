"""Tune a voice on preferences: direct preference optimization (DPO), from top to bottom.

Rafailov et al. 2023, "Direct Preference Optimization", equation 7. Of two replies to a prompt
the preferred one shall become likelier against the rejected one, measured from where the
training starts (the reference): the base, or the version that it goes on from.

    reward(reply) = beta * (log p(reply) - log p_reference(reply))
    loss          = -log sigmoid(reward(preferred) - reward(rejected))

The reference never changes, so what it gives each reply is computed once, before the training,
and no second model is kept. The loop is that of `voice.py`.

Knows no documents, no HTTP and no jobs. Read `train_preferences` first.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F

from tuning.adapter import load_adapter, new_adapter
from tuning.checkpoint import Checkpoints
from tuning.errors import ExamplesError
from tuning.generator import Generator
from tuning.lessons import Encoded, Lessons, encode
from tuning.records import PreferenceConfig, Row
from tuning.template import ChatTemplate
from tuning.voice import Outcome, Report, practise


@dataclass(frozen=True, slots=True)
class Pair:
    """Two replies to one prompt, with the log probabilities that the reference gives them."""

    preferred: Encoded
    rejected: Encoded
    reference: tuple[float, float] = (0.0, 0.0)  # of preferred and rejected, in nats

    @property
    def width(self) -> int:
        return max(self.preferred.tokens, self.rejected.tokens)

    @property
    def tokens(self) -> int:
        return self.preferred.tokens + self.rejected.tokens


@dataclass(frozen=True, slots=True)
class PreferenceOutcome(Outcome):
    """What a training came to. `heldout_before` and `heldout_after` are DPO losses here, in nats
    per pair; the rest is measured on the dev pairs, too, with the best checkpoint."""

    accuracy: float  # share of pairs whose preferred reply has the higher reward
    margin: float  # mean reward of the preferred reply over the rejected one
    preferred_loss_before: float  # nats per token of the preferred replies: do they drift?
    preferred_loss_after: float


@dataclass(frozen=True, slots=True)
class Judged:
    """What the model makes of some pairs; tensors of shape (pairs,), float32."""

    margin: torch.Tensor  # reward of the preferred reply over that of the rejected one
    preferred_nll: torch.Tensor  # nats of the whole preferred reply

    @property
    def loss(self) -> torch.Tensor:
        return -F.logsigmoid(self.margin)


def train_preferences(
    generator: Generator,
    rows: Sequence[Row],
    config: PreferenceConfig,
    *,
    checkpoints: Checkpoints,
    report: Report,
    parent: Path | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> PreferenceOutcome:
    """Tune an adapter on the train rows with a rejected reply; the best is `checkpoints.best`.

    The best one has the lowest DPO loss on the dev rows, which is log 2 at the start.

    Raises:
        ExamplesError: a row is longer than `config.row_tokens`, or a split is empty.
        Diverged: a loss is no longer a number; the message has the step and the learning rate.
    """
    train = pairs([r for r in rows if r.split == "train"], generator.template, config)
    dev = pairs([r for r in rows if r.split == "dev"], generator.template, config)
    if not train or not dev:
        raise ExamplesError([(0, "too few preferences to train on some and hold others out")])

    torch.manual_seed(config.seed)
    model = new_adapter(generator, config, parent)
    model.set_attn_implementation("eager")  # as `practise` does: the reference must be the same
    judge = Judge(Lessons(model, generator), config)
    # Before any checkpoint is restored: the model is the reference here, and only here.
    began = clock()
    train, dev = judge.refer([*train, *dev], split=len(train), cache=checkpoints.folder)
    referring = clock() - began
    plan = [
        step
        for epoch in range(config.max_epochs)
        for step in steps(train, config.batch_pairs, seed=config.seed + epoch)
    ]
    outcome = practise(
        model,
        plan,
        config,
        learn=judge.learn,
        heldout=lambda: judge.heldout(dev),
        sizes={"train_rows": len(train), "dev_rows": len(dev)},
        checkpoints=checkpoints,
        report=report,
        clock=clock,
        spent=referring,
        evaluations_ahead=2,
    )
    load_adapter(model, checkpoints.best)
    best = judge.heldout(dev)
    return PreferenceOutcome(
        **asdict(outcome),
        accuracy=best["heldout_accuracy"],
        margin=best["heldout_margin"],
        preferred_loss_before=-sum(p.reference[0] for p in dev) / reply_tokens(dev),
        preferred_loss_after=best["heldout_preferred_loss"],
    )


class Judge:
    """Compares the two replies of pairs as the model sees them now."""

    def __init__(self, lessons: Lessons, config: PreferenceConfig) -> None:
        self._lessons = lessons
        self._beta = config.beta
        self._sft_weight = config.sft_weight
        self._tokens = config.micro_tokens

    def __call__(self, some: Sequence[Pair]) -> Judged:
        preferred, rejected = self._log_probabilities(some)
        reference = torch.tensor([p.reference for p in some], device=preferred.device)  # (pairs, 2)
        margin = (preferred - reference[:, 0]) - (rejected - reference[:, 1])
        return Judged(self._beta * margin, -preferred)

    def learn(self, batch: Sequence[Pair]) -> dict[str, float]:
        """Add the gradients of a batch; returns its loss and how well it was judged before."""
        loss, margins = 0.0, []
        tokens = reply_tokens(batch)
        for part in micro_batches(batch, self._tokens):  # their gradients add up
            judged = self(part)
            # DPO looks at the difference alone, and both replies may become unlikelier. The
            # preferred one's own loss holds it up (Pang et al. 2024, equation 2).
            share = judged.loss.sum() / len(batch)
            share = share + self._sft_weight * judged.preferred_nll.sum() / tokens
            share.backward()  # type: ignore[no-untyped-call]
            loss += share.item()
            margins += judged.margin.tolist()
        return {
            "loss": loss,
            "accuracy": accuracy(margins),
            "margin": sum(margins) / len(margins),
        }

    @torch.no_grad()
    def refer(
        self, all_: Sequence[Pair], *, split: int, cache: Path
    ) -> tuple[list[Pair], list[Pair]]:
        """Give every pair the reference's log probabilities; the first `split`, then the rest.

        They are kept in the folder `cache`, so a training that goes on need not start with them.
        """
        path = cache / "reference.json"
        try:
            known: list[tuple[float, float]] = json.loads(path.read_text())
        except (OSError, ValueError):
            known = []
        if len(known) != len(all_):
            self._lessons.model.eval()
            found: dict[int, tuple[float, float]] = {}
            for part in micro_batches(all_, self._tokens):
                preferred, rejected = self._log_probabilities(part)
                both = zip(preferred.tolist(), rejected.tolist(), strict=True)
                found |= {id(pair): log_ps for pair, log_ps in zip(part, both, strict=True)}
            self._lessons.model.train()
            known = [found[id(pair)] for pair in all_]
            aside = path.with_suffix(".part")
            aside.write_text(json.dumps(known))
            aside.rename(path)
        referred = [replace(p, reference=(k[0], k[1])) for p, k in zip(all_, known, strict=True)]
        return referred[:split], referred[split:]

    @torch.no_grad()
    def heldout(self, dev: Sequence[Pair]) -> dict[str, float]:
        """The DPO loss (nats), the share of pairs judged rightly, the mean reward margin, and the
        loss of the preferred replies (nats per token), which tells whether they drift."""
        self._lessons.model.eval()
        judged = [self(part) for part in micro_batches(dev, self._tokens)]
        self._lessons.model.train()
        margins = [m for j in judged for m in j.margin.tolist()]
        return {
            "heldout_loss": sum(j.loss.sum().item() for j in judged) / len(dev),
            "heldout_accuracy": accuracy(margins),
            "heldout_margin": sum(margins) / len(margins),
            "heldout_preferred_loss": sum(j.preferred_nll.sum().item() for j in judged)
            / reply_tokens(dev),
        }

    def _log_probabilities(self, some: Sequence[Pair]) -> tuple[torch.Tensor, torch.Tensor]:
        """log p of the preferred and of the rejected replies; each (pairs,), in nats."""
        rows = [p.preferred for p in some] + [p.rejected for p in some]
        losses = self._lessons.loss(rows, reduction="none")  # (reply tokens of all rows,)
        of_rows = losses.split([len(row.ids) - row.reply_start for row in rows])
        log_ps = -torch.stack([tokens.sum() for tokens in of_rows])
        return log_ps[: len(some)], log_ps[len(some) :]


def accuracy(margins: Sequence[float]) -> float:
    """The share of pairs whose preferred reply has the higher reward; a tie is half a hit."""
    return sum((m > 0) + 0.5 * (m == 0) for m in margins) / len(margins)


def reply_tokens(some: Sequence[Pair]) -> int:
    """Tokens of the preferred replies."""
    return sum(len(p.preferred.ids) - p.preferred.reply_start for p in some)


def pairs(rows: Sequence[Row], template: ChatTemplate, config: PreferenceConfig) -> list[Pair]:
    """Rows to pairs; raises ExamplesError for those over `config.row_tokens`."""
    rows = [row for row in rows if row.rejected is not None]
    preferred = encode(rows, template, config)
    rejected = encode([replace(r, reply=r.rejected or "") for r in rows], template, config)
    return [Pair(*both) for both in zip(preferred, rejected, strict=True)]


def steps(train: Sequence[Pair], count: int, *, seed: int) -> Iterator[list[Pair]]:
    """One epoch in steps of `count` pairs, shuffled; the same seed gives the same steps."""
    shuffled = random.Random(seed).sample(list(train), len(train))
    for start in range(0, len(shuffled), count):
        yield shuffled[start : start + count]


def micro_batches(some: Sequence[Pair], tokens: int) -> Iterator[list[Pair]]:
    """Pairs of similar length together, each part of at most `tokens` padded tokens (or one)."""
    part: list[Pair] = []
    for pair in sorted(some, key=lambda p: p.width):
        if part and 2 * pair.width * (len(part) + 1) > tokens:
            yield part
            part = []
        part.append(pair)
    if part:
        yield part
