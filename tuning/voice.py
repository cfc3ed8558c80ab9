"""Teach a voice: LoRA training of the base generator, from top to bottom.

Rows come in the form in which they are served (prompt with passages, reply). Only the reply is
learned. The best checkpoint by held-out loss is the result, and the loop can be killed at any
moment and go on from its last complete checkpoint.

Knows no documents, no HTTP and no jobs. Read `train_voice` first.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from tuning.adapter import new_adapter
from tuning.checkpoint import Checkpoints, Progress
from tuning.errors import Diverged, ExamplesError
from tuning.generator import Generator
from tuning.lessons import Lessons, batches, encode
from tuning.records import Row, VoiceConfig

Report = Callable[[dict[str, Any]], None]

# Style is learned first and reading after it, when the held-out loss hardly moves any more: of
# checkpoints that are as good by this share, the last is kept.
AS_GOOD = 0.02


class _Learnt(Protocol):
    """What a batch consists of."""

    @property
    def tokens(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a training came to. Losses are nats per reply token on the dev rows."""

    steps: int
    rows: int
    tokens: int
    seconds: float
    stopped: str  # epochs, minutes or patience
    heldout_before: float
    heldout_after: float


def train_voice(
    generator: Generator,
    rows: Sequence[Row],
    config: VoiceConfig,
    *,
    checkpoints: Checkpoints,
    report: Report,
    parent: Path | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Outcome:
    """Train an adapter on the train rows; leave the best one in `checkpoints.best`.

    `parent` is the folder of the version to go on from; without it the base is the start.

    Raises:
        ExamplesError: a row is longer than `config.row_tokens`, or a split is empty.
        Diverged: a loss is no longer a number; the message has the step and the learning rate.
    """
    train = encode([r for r in rows if r.split == "train"], generator.template, config)
    dev = encode([r for r in rows if r.split == "dev"], generator.template, config)
    if not train or not dev:
        raise ExamplesError([(0, "too few examples to train on some and hold others out")])

    torch.manual_seed(config.seed)
    model = new_adapter(generator, config, parent)
    lessons = Lessons(model, generator)
    plan = [
        batch
        for epoch in range(config.max_epochs)
        for batch in batches(train, config.batch_tokens, seed=config.seed + epoch)
    ]
    return practise(
        model,
        plan,
        config,
        learn=lambda batch: {"loss": lessons.learn(batch, config.micro_tokens)},
        heldout=lambda: {"heldout_loss": lessons.heldout(dev, config)},
        sizes={"train_rows": len(train), "dev_rows": len(dev)},
        checkpoints=checkpoints,
        report=report,
        clock=clock,
    )


def practise(
    model: Any,
    plan: Sequence[Sequence[_Learnt]],
    config: VoiceConfig,
    *,
    learn: Callable[[Any], dict[str, Any]],
    heldout: Callable[[], dict[str, Any]],
    sizes: dict[str, int],
    checkpoints: Checkpoints,
    report: Report,
    clock: Callable[[], float],
    spent: float = 0.0,
    evaluations_ahead: int = 1,
) -> Outcome:
    """Learn batch by batch until the plan, the time or the patience ends.

    `learn` adds the gradients of a batch and returns its `loss`, `heldout` measures and returns
    `heldout_loss`; both may return more, which is reported. `spent` are the seconds that the
    caller has used up already, `evaluations_ahead` those measurements for which time must be
    left at the end.

    Raises:
        Diverged: a loss is no longer a number; the message has the step and the learning rate.
    """
    began = clock() - spent
    model.train()
    model.set_attn_implementation("eager")  # 1.2x faster than sdpa backward at these lengths
    weights = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=config.learning_rate, weight_decay=0.0)
    steps_per_epoch = len(plan) / config.max_epochs
    evaluate_every = max(1, round(steps_per_epoch / config.evaluations_per_epoch))
    limit = 60 * config.max_minutes if config.max_minutes else float("inf")  # seconds
    progress = checkpoints.restore(model, optimizer) or Progress()
    started = began - progress.seconds
    rate = 0.0
    report({"step": progress.step, **sizes})

    def evaluate() -> None:
        evaluation_began = clock()
        metrics = heldout()
        loss = metrics["heldout_loss"]
        require_finite(loss, "held-out loss", step=progress.step, rate=rate)
        progress.evaluation_seconds = clock() - evaluation_began
        as_good = loss <= progress.best * (1 + AS_GOOD)
        progress.worse = 0 if as_good else progress.worse + 1
        progress.best = min(progress.best, loss)
        if as_good:
            progress.kept = loss
            checkpoints.keep_best(model, progress)
        report({"step": progress.step, **metrics})

    if progress.heldout_before is None:
        evaluate()
        progress.heldout_before = progress.best

    saved = clock()
    stopped = "epochs"
    for step, batch in enumerate(plan[progress.step :], progress.step + 1):
        done = max((step - 1) / len(plan), (clock() - started) / limit)
        rate = config.learning_rate * schedule(done, config.warmup)
        for group in optimizer.param_groups:
            group["lr"] = rate
        metrics = learn(batch)
        norm = torch.nn.utils.clip_grad_norm_(weights, config.clip)
        require_finite(metrics["loss"], "loss", step=step, rate=rate)
        require_finite(norm.item(), "gradient", step=step, rate=rate)
        optimizer.step()
        optimizer.zero_grad()

        progress.step = step
        progress.rows += len(batch)
        progress.tokens += sum(row.tokens for row in batch)
        progress.seconds = clock() - started
        report(
            {
                "step": step,
                "epoch": round(step / steps_per_epoch, 2),
                **metrics,
                "learning_rate": rate,
                "rows": progress.rows,
                "tokens": progress.tokens,
                "tokens_per_second": progress.tokens / progress.seconds,
                "seconds": progress.seconds,
                "done": round(done, 3),
            }
        )

        # One more step and the last evaluations must still fit into the time.
        ahead = progress.seconds / step + evaluations_ahead * progress.evaluation_seconds
        out_of_time = progress.seconds + ahead >= limit
        measured = step % evaluate_every == 0 or out_of_time or step == len(plan)
        if measured:
            evaluate()
        if out_of_time or progress.worse >= config.patience:
            stopped = "minutes" if out_of_time else "patience"
            break
        if measured or clock() - saved >= config.checkpoint_seconds:
            checkpoints.save(model, optimizer, progress)
            saved = clock()

    return Outcome(
        steps=progress.step,
        rows=progress.rows,
        tokens=progress.tokens,
        seconds=clock() - started,
        stopped=stopped,
        heldout_before=progress.before,
        heldout_after=progress.kept,
    )


def require_finite(value: float, what: str, *, step: int, rate: float) -> None:
    """Raise Diverged unless a value of the training is a number."""
    if not math.isfinite(value):
        raise Diverged(
            f"step {step}: the {what} became {value} at a learning rate of {rate:.2g}: "
            "lower learning_rate"
        )


def schedule(done: float, warmup: float) -> float:
    """The learning rate's share of its peak: a linear warmup, then a linear fall to a tenth."""
    if done < warmup:
        return 0.1 + 0.9 * done / warmup
    return 1.0 - 0.9 * min(1.0, (done - warmup) / (1 - warmup))
