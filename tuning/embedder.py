"""Tune an embedder on questions and the passages that answer them, from top to bottom.

The loss is the in-batch softmax of Henderson et al. 2017, from questions to passages and back, with
mined hard negatives beside it. A batch holds groups of questions that the base finds alike, so that
the answers of one are hard negatives of the others and cost nothing. What the base likes much
better than the right answer may be right as well, so it is no negative (the guide of GISTEmbed,
Solatorio 2024). The first dimensions can be trained to do alone (Matryoshka, Kusupati et al.
2022). Tuned weights are mixed with the base's at last, as far as dev says.

Knows no stores and no documents, texts alone. Read `train_embedder` first.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from tuning.device import choose_device
from tuning.errors import Diverged, ExamplesError

Rows = NDArray[np.float32]  # (n, dim), unit rows
Report = Callable[[dict[str, Any]], None]


# From so many weights on LoRA is the default: Adam's moments of all of them would fill the memory.
LORA_FROM, LORA_RANK = 100_000_000, 16
LORA_RATE = 5  # times the rate at which all weights are trained


@dataclass(frozen=True, slots=True)
class EmbedderConfig:
    """How an embedder is tuned. Defaults suit 22M weights and hundreds of questions."""

    learning_rate: float = 1e-4  # peak
    warmup: float = 0.1  # share of the training
    batch: int = 32  # questions a step; each has its own passage and hard negatives
    group: int = 8  # questions of a batch that are alike; 1: all are drawn at random
    hard_negatives: int = 1  # a question
    both_ways: bool = True  # a passage must find its question, too
    temperature: float = 0.05
    least_dimensions: int | None = None  # halves of a vector down to so many do alone, too
    guided: bool = True  # the base says what is no negative
    margin: float = 0.1  # of cosine, by which the base must like it better
    max_tokens: int = 128
    max_epochs: int = 3
    max_minutes: float | None = None
    mixes: tuple[float, ...] = (1.0, 0.75, 0.5)  # shares of the tuned weights tried on dev
    clip: float = 1.0
    lora_rank: int | None = None  # 0: all weights are trained; None: by their number
    dropout: bool = False  # drawing its masks takes a third of a step
    bfloat16: bool = True  # products in bfloat16 where the machine has it; weights stay float32
    seed: int = 0


STOCK = EmbedderConfig(
    learning_rate=2e-5,
    group=1,
    hard_negatives=0,
    both_ways=False,
    guided=False,
    dropout=True,
    bfloat16=False,
)
"""What the scripts of sentence-transformers do: in-batch negatives at a rate of 2e-5."""


@dataclass(frozen=True, slots=True)
class Triple:
    """A question, the passage that answers it, and passages that only look as if they did.

    `query_row` and `passage_row` are what the base makes of the first two: unit rows. `others` are
    further passages that answer it: no negatives.
    """

    query: str
    passage: str
    negatives: tuple[str, ...]
    query_row: Rows  # (dim,)
    passage_row: Rows  # (dim,)
    others: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class EmbedderOutcome:
    """What a training came to. `mix` is the tuned weights' share, 0 where the base is better."""

    steps: int
    seconds: float
    mix: float
    dev_before: float
    dev_after: float


def train_embedder(
    model: Any,
    triples: Sequence[Triple],
    config: EmbedderConfig,
    *,
    dev: Callable[[Any], float] | None,
    report: Report = lambda _: None,
    clock: Callable[[], float] = time.monotonic,
) -> EmbedderOutcome:
    """Tune a `SentenceTransformer` in place; `dev` measures it (higher is better).

    Without `dev` the tuned weights are kept as they are.

    Raises:
        ExamplesError: no triples.
        Diverged: a loss is no longer a number.
    """
    if not triples:
        raise ExamplesError([(0, "no question has a passage that answers it")])
    random_ = random.Random(config.seed)
    torch.manual_seed(config.seed)
    base = {name: value.clone() for name, value in model.state_dict().items()}
    before = dev(model) if dev else 0.0
    model.max_seq_length = config.max_tokens
    peak, fold = _open_weights(model, config)
    model.train(config.dropout)
    weights = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=peak, weight_decay=0.01)
    limit = 60 * config.max_minutes if config.max_minutes else math.inf
    full, rest = divmod(len(triples), config.batch)
    planned = config.max_epochs * (full + (rest > 1 or len(triples) == 1))
    began, steps = clock(), 0
    for steps, batch in enumerate(_epochs(triples, config, random_), 1):
        done = max((steps - 1) / planned, (clock() - began) / limit)
        rate = peak * _schedule(done, config.warmup)
        for group in optimizer.param_groups:
            group["lr"] = rate
        loss = _loss(model, batch, config, random_)
        if not math.isfinite(loss.item()):
            raise Diverged(f"step {steps}: the loss became {loss.item()} at a rate of {rate:.2g}")
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(weights, config.clip)
        optimizer.step()
        optimizer.zero_grad()
        seconds = clock() - began
        report({"step": steps, "of": planned, "loss": loss.item(), "seconds": seconds})
        if seconds * (steps + 1) / steps > limit:
            break
    fold()
    model.eval()
    seconds = clock() - began
    if dev is None:
        return EmbedderOutcome(steps, seconds, 1.0, before, before)
    tuned = {name: value.clone() for name, value in model.state_dict().items()}
    best, mix = before, 0.0
    for share in config.mixes:
        _mix(model, base, tuned, share)
        if (reached := dev(model)) > best:
            best, mix = reached, share
    _mix(model, base, tuned, mix)
    return EmbedderOutcome(steps, seconds, mix, before, best)


def _open_weights(model: Any, config: EmbedderConfig) -> tuple[float, Callable[[], None]]:
    """Make trainable what shall be: returns the peak rate, and what folds LoRA into the model."""
    rank = config.lora_rank
    if rank is None:
        large = sum(weight.numel() for weight in model.parameters()) >= LORA_FROM
        rank = LORA_RANK if large else 0
    if not rank:
        return config.learning_rate, lambda: None
    from peft import LoraConfig, get_peft_model

    lora = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear")
    transformer = model[0]
    transformer.model = get_peft_model(transformer.model, lora)

    def fold() -> None:
        transformer.model = transformer.model.merge_and_unload()

    return config.learning_rate * LORA_RATE, fold


def mine(
    queries: Rows, passages: Rows, positives: Sequence[Sequence[int]], *, count: int, pool: int = 50
) -> list[list[int]]:
    """For each question the nearest wrong passages, none nearer than 0.95 of the right one.

    Those that are nearer may be right answers that nobody has marked (NV-Retriever, Moreira et
    al. 2024, which measured this margin).
    """
    mined = []
    for query, right in zip(queries, positives, strict=True):
        scores = passages @ query  # (m,)
        most = 0.95 * scores[list(right)].max()
        near = np.argsort(-scores)[: pool + len(right)]
        wrong = [int(i) for i in near if i not in set(right) and scores[i] <= most]
        mined.append(wrong[:count])
    return mined


def _loss(
    model: Any, batch: Sequence[Triple], config: EmbedderConfig, random_: random.Random
) -> torch.Tensor:
    negatives = [
        text
        for triple in batch
        for text in random_.sample(
            triple.negatives, min(config.hard_negatives, len(triple.negatives))
        )
    ]
    with _products(model, config):
        queries = _embed(model, [triple.query for triple in batch])  # (B, D)
        answers = _embed(model, [*(triple.passage for triple in batch), *negatives])  # (B + N, D)
    no_negatives = _no_negatives(batch, negatives, config).to(queries.device)
    losses = [
        _ranking(
            F.normalize(queries[:, :size], dim=1) @ F.normalize(answers[:, :size], dim=1).T,
            no_negatives,
            config,
        )
        for size in _sizes(queries.shape[1], config.least_dimensions)
    ]
    return torch.stack(losses).mean()


def _sizes(whole: int, least: int | None) -> list[int]:
    """All dimensions, a half of them, a half of that, down to `least`."""
    sizes = [whole]
    while least and sizes[-1] // 2 >= least:
        sizes.append(sizes[-1] // 2)
    return sizes


def _ranking(
    cosines: torch.Tensor, no_negatives: torch.Tensor, config: EmbedderConfig
) -> torch.Tensor:
    """The softmax loss of questions (B) to passages (B + N), the right ones on the diagonal."""
    logits = (cosines / config.temperature).masked_fill(no_negatives, float("-inf"))
    own = torch.arange(len(logits), device=logits.device)
    loss = F.cross_entropy(logits, own)
    back = logits[:, : len(logits)].T
    return (loss + F.cross_entropy(back, own)) / 2 if config.both_ways else loss


def _products(model: Any, config: EmbedderConfig) -> AbstractContextManager[Any]:
    device, dtype, _ = choose_device(model.device.type)
    if not config.bfloat16 or dtype != torch.bfloat16:
        return nullcontext()
    return torch.autocast(device.type, dtype=dtype)


def _no_negatives(
    batch: Sequence[Triple], negatives: Sequence[str], config: EmbedderConfig
) -> torch.Tensor:
    """Which passages and hard negatives may answer which other questions (rows): (B, B + N)."""
    known = [
        [
            i != j
            and (
                one.passage == other.passage
                or one.query == other.query
                or other.passage in one.others
            )
            for j, other in enumerate(batch)
        ]
        + [text == one.passage or text in one.others for text in negatives]
        for i, one in enumerate(batch)
    ]
    mask = torch.tensor(known)
    size = len(batch)
    if config.guided:
        q = torch.from_numpy(np.stack([triple.query_row for triple in batch]))
        p = torch.from_numpy(np.stack([triple.passage_row for triple in batch]))
        guide = q @ p.T  # (B, B): what the base thinks
        mask[:, :size] |= guide > guide.diagonal()[:, None] + config.margin
    return mask


def _embed(model: Any, texts: Sequence[str]) -> torch.Tensor:
    """Unit rows (n, dim) with gradients, padded only among texts of a kind."""
    features = {
        name: value.to(model.device) if isinstance(value, torch.Tensor) else value
        for name, value in model.preprocess(list(texts)).items()
    }
    return F.normalize(model(features)["sentence_embedding"].float(), dim=1)


def _epochs(
    triples: Sequence[Triple], config: EmbedderConfig, random_: random.Random
) -> Iterator[list[Triple]]:
    for _ in range(config.max_epochs):
        yield from _batches(triples, config, random_)


def _batches(
    triples: Sequence[Triple], config: EmbedderConfig, random_: random.Random
) -> Iterator[list[Triple]]:
    """All triples once, in groups of questions that are alike, the groups in random order."""
    groups = _groups(triples, config.group, random_)
    random_.shuffle(groups)
    order = [triples[index] for group in groups for index in group]
    for start in range(0, len(order), config.batch):
        batch = order[start : start + config.batch]
        if len(batch) > 1 or len(order) == 1:  # alone, a question has no negatives
            yield batch


def _groups(triples: Sequence[Triple], size: int, random_: random.Random) -> list[list[int]]:
    """Each question in one group: one drawn at random, with the nearest of those left."""
    drawn = random_.sample(range(len(triples)), len(triples))
    if size == 1:
        return [[index] for index in drawn]
    rows = np.stack([triple.query_row for triple in triples])  # (n, dim)
    left = np.ones(len(triples), dtype=bool)
    groups = []
    for index in drawn:
        if not left[index]:
            continue
        left[index] = False
        likeness = np.where(left, rows @ rows[index], -np.inf)
        count = min(size - 1, int(left.sum()))
        near = np.argpartition(-likeness, count)[:count] if count else np.zeros(0, dtype=int)
        left[near] = False
        groups.append([index, *near.tolist()])
    return groups


def _mix(
    model: Any, base: dict[str, torch.Tensor], tuned: dict[str, torch.Tensor], share: float
) -> None:
    """Set the model's weights to `share` of the tuned and the rest of the base's."""
    mixed = {
        name: torch.lerp(base[name], value, share) if value.is_floating_point() else value
        for name, value in tuned.items()
    }
    model.load_state_dict(mixed)


def _schedule(done: float, warmup: float) -> float:
    """The share of the peak rate: up during the warmup, then down to nothing."""
    return done / warmup if done < warmup else max(0.0, (1 - done) / (1 - warmup))
