"""A query adapter: a small matrix that moves questions towards the passages that answer them.

    q' = normalize(q + q U V)

Passages stay where they are, so nothing is embedded again and a store's index stays valid. It
is trained in seconds, on vectors alone, and dev questions decide how far it may move: not at
all, if that is best. Knows no texts, no models and no stores. Read `fit` first.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from tuning.errors import ExamplesError

Rows = NDArray[np.float32]  # (n, dim), unit rows
MRR_AT = 10


@dataclass(frozen=True, slots=True)
class QueryAdapterConfig:
    """How a query adapter is trained. Defaults suit some fifty to some thousand questions."""

    rank: int = 64
    learning_rate: float = 2e-3
    temperature: float = 0.05
    weight_decay: float = 0.01
    batch: int = 128  # questions a step
    max_passages: int = 20_000  # compared with at each step; more are drawn from
    max_steps: int = 300
    max_seconds: float = 10.0
    evaluate_every: int = 10
    patience: int = 5  # evaluations without a better dev MRR
    scales: tuple[float, ...] = (0.25, 0.5, 0.75, 1.0)
    seed: int = 0


@dataclass(frozen=True)
class QueryAdapter:
    """The change `x -> normalize(x + scale * x @ down @ up)`; `down` (dim, rank), `up` (rank, dim).

    An adapter whose scale is 0 changes nothing: no better one was found.
    """

    down: NDArray[np.float32]
    up: NDArray[np.float32]
    scale: float

    def __call__(self, queries: Rows) -> Rows:
        moved = queries + np.float32(self.scale) * (queries @ self.down @ self.up)
        rows: Rows = moved / np.linalg.norm(moved, axis=1, keepdims=True).clip(min=1e-12)
        return rows

    @property
    def changes(self) -> bool:
        return self.scale > 0

    @property
    def digest(self) -> str:
        """What it is named by: 16 hex digits."""
        content = hashlib.sha256(np.float32(self.scale).tobytes())
        content.update(self.down.tobytes() + self.up.tobytes())
        return content.hexdigest()[:16]

    def save(self, path: Path) -> None:
        scale = np.asarray([self.scale], dtype=np.float32)
        save_file({"down": self.down, "up": self.up, "scale": scale}, path)

    @classmethod
    def load(cls, path: Path) -> QueryAdapter:
        held = load_file(path)
        return cls(held["down"], held["up"], float(held["scale"][0]))


@dataclass(frozen=True, slots=True)
class Fit:
    """A trained adapter and what it came to; MRR@10 on the dev questions."""

    adapter: QueryAdapter
    dev_before: float
    dev_after: float
    steps: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Asked:
    """Questions with their answers: unit rows, and for each the indexes of right passages."""

    queries: Rows
    positives: Sequence[Sequence[int]]

    def __post_init__(self) -> None:
        if len(self.queries) != len(self.positives):
            raise ValueError(f"{len(self.queries)} queries, {len(self.positives)} positives")
        if not all(len(own) for own in self.positives):
            raise ExamplesError([(0, "a question has no passage that answers it")])


def fit(train: Asked, dev: Asked, passages: Rows, config: QueryAdapterConfig | None = None) -> Fit:
    """Train on `train`, select on `dev`; `passages` (m, dim) are all that may be found.

    The loss is that of van den Oord et al. 2018 (InfoNCE) with several positives: the share of
    the softmax over the passages that goes to right ones.

    Raises:
        ExamplesError: no question to train on or to select by, or one without a passage.
    """
    config = config or QueryAdapterConfig()
    if not len(train.queries) or not len(dev.queries):
        raise ExamplesError([(0, "too few questions to train on some and hold others out")])
    began = time.monotonic()
    random_ = random.Random(config.seed)
    torch.manual_seed(config.seed)
    queries, rows = torch.from_numpy(train.queries), torch.from_numpy(passages)
    dim = queries.shape[1]
    down = torch.nn.Parameter(torch.randn(dim, config.rank) / dim**0.5)
    up = torch.nn.Parameter(torch.zeros(config.rank, dim))  # changes nothing at the start
    optimizer = torch.optim.AdamW(
        [down, up], lr=config.learning_rate, weight_decay=config.weight_decay
    )

    def adapter(scale: float) -> QueryAdapter:
        return QueryAdapter(down.detach().numpy().copy(), up.detach().numpy().copy(), scale)

    best, before = adapter(0.0), mrr(dev.queries, dev, passages)
    best_dev, worse, steps = before, 0, 0
    for step in range(1, config.max_steps + 1):
        chosen = random_.sample(range(len(queries)), min(config.batch, len(queries)))
        loss = _loss(queries, train.positives, chosen, rows, down, up, config, random_)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
        steps = step
        if step % config.evaluate_every == 0:
            found = [(mrr(adapter(s)(dev.queries), dev, passages), s) for s in config.scales]
            reached, scale = max(found, key=lambda pair: (pair[0], -pair[1]))
            worse = 0 if reached > best_dev else worse + 1
            if reached > best_dev:
                best, best_dev = adapter(scale), reached
            if worse >= config.patience:
                break
        if time.monotonic() - began > config.max_seconds:
            break
    if not _surely_better(best, dev, passages):
        best, best_dev = adapter(0.0), before
    return Fit(best, before, best_dev, steps, time.monotonic() - began)


def _surely_better(adapter: QueryAdapter, dev: Asked, passages: Rows) -> bool:
    """Whether it gains more on dev than two standard errors: a few questions show little."""
    gained = np.subtract(
        reciprocal_ranks(adapter(dev.queries), dev, passages),
        reciprocal_ranks(dev.queries, dev, passages),
    )
    error = float(gained.std(ddof=1)) / len(gained) ** 0.5 if len(gained) > 1 else 0.0
    return float(gained.mean()) > 2 * error


def _loss(
    queries: torch.Tensor,
    positives: Sequence[Sequence[int]],
    chosen: Sequence[int],
    passages: torch.Tensor,
    down: torch.Tensor,
    up: torch.Tensor,
    config: QueryAdapterConfig,
    random_: random.Random,
) -> torch.Tensor:
    """The mean loss of some questions against all passages, or as many as are compared with."""
    held = sorted({index for query in chosen for index in positives[query]})
    if len(passages) > config.max_passages:
        held = sorted({*held, *random_.sample(range(len(passages)), config.max_passages)})
    else:
        held = list(range(len(passages)))
    place = {index: at for at, index in enumerate(held)}
    x = queries[list(chosen)]  # (B, D)
    moved = F.normalize(x + x @ down @ up, dim=1)
    logits = moved @ passages[held].T / config.temperature  # (B, passages)
    right = torch.zeros_like(logits, dtype=torch.bool)
    for row, query in enumerate(chosen):
        right[row, [place[index] for index in positives[query]]] = True
    answered = logits.masked_fill(~right, float("-inf"))
    return (logits.logsumexp(1) - answered.logsumexp(1)).mean()


def mrr(queries: Rows, asked: Asked, passages: Rows, *, k: int = MRR_AT) -> float:
    """Mean of 1 / rank of the first right passage among the first k, else 0."""
    return sum(reciprocal_ranks(queries, asked, passages, k=k)) / len(queries)


def reciprocal_ranks(
    queries: Rows, asked: Asked, passages: Rows, *, k: int = MRR_AT
) -> list[float]:
    """1 / rank of the first right passage among the first k, else 0; for each question."""
    found = []
    for start in range(0, len(queries), 256):
        scores = queries[start : start + 256] @ passages.T  # (B, m)
        for own, right in zip(scores, asked.positives[start : start + 256], strict=True):
            rank = int((own > own[list(right)].max()).sum()) + 1
            found.append(1 / rank if rank <= k else 0.0)
    return found
