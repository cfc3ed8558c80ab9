"""Rows as token ids, in batches of similar length, and the loss that a model has on them.

Only the reply's tokens count. Knows no optimizer and no checkpoint: `voice.py` has the loop.
Read `Lessons` first.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from tuning.errors import ExamplesError
from tuning.generator import Generator
from tuning.records import Row, VoiceConfig
from tuning.template import ChatTemplate


@dataclass(frozen=True, slots=True)
class Encoded:
    """A row as token ids: the prompt, then the reply from `reply_start` on."""

    ids: list[int]
    reply_start: int

    @property
    def tokens(self) -> int:
        return len(self.ids)


class Lessons:
    """The loss of a model on encoded rows, computed only where a reply token is predicted.

    The output layer of a 135M model is a fifth of its work, and RAG rows are mostly prompt: a
    hook hands it the positions of the replies alone, so any model's own scaling of its logits
    still applies. Rows are padded on the right, where a causal model never looks back from.
    """

    def __init__(self, model: Any, generator: Generator) -> None:
        self.model = model
        self.device = generator.device
        self.dtype = generator.dtype
        self.pad = generator.template.tokenizer.pad_token_id or 0
        self._keep: torch.Tensor | None = None
        model.get_output_embeddings().register_forward_pre_hook(
            lambda _, args: (args[0][self._keep],) if self._keep is not None else None
        )

    def loss(self, batch: Sequence[Encoded], *, reduction: str = "mean") -> torch.Tensor:
        """Cross entropy of the replies in a batch, in nats; a scalar."""
        width = max(len(e.ids) for e in batch)
        ids = torch.full((len(batch), width), self.pad)  # (B, T)
        keep = torch.zeros((len(batch), width), dtype=torch.bool)
        targets: list[int] = []
        for i, row in enumerate(batch):
            ids[i, : len(row.ids)] = torch.tensor(row.ids)
            keep[i, row.reply_start - 1 : len(row.ids) - 1] = True
            targets += row.ids[row.reply_start :]
        self._keep = keep.to(self.device)
        try:
            with self._autocast():
                logits = self.model(input_ids=ids.to(self.device), use_cache=False).logits
        finally:
            self._keep = None
        return F.cross_entropy(  # (reply tokens, vocabulary)
            logits.float().reshape(len(targets), -1),
            torch.tensor(targets, device=self.device),
            reduction=reduction,
        )

    def learn(self, batch: Sequence[Encoded], tokens: int) -> float:
        """Add the gradients of a batch's mean loss, in parts of at most `tokens` padded tokens.

        The parts bound the memory; their sum is the gradient of the whole. Returns the loss.
        """
        replies = sum(len(row.ids) - row.reply_start for row in batch)
        whole = 0.0
        for part in parts(sorted(batch, key=lambda row: len(row.ids)), tokens):
            loss = self.loss(part, reduction="sum") / replies
            loss.backward()  # type: ignore[no-untyped-call]
            whole += loss.item()
        return whole

    @torch.no_grad()
    def heldout(self, rows: Sequence[Encoded], config: VoiceConfig) -> float:
        """Mean loss per reply token over rows."""
        self.model.eval()
        total = sum(
            self.loss(batch, reduction="sum").item()
            for batch in batches(rows, config.micro_tokens, seed=0)
        )
        self.model.train()
        return total / sum(len(e.ids) - e.reply_start for e in rows)

    def _autocast(self) -> AbstractContextManager[Any]:
        if self.dtype == torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.dtype)


def encode(rows: Sequence[Row], template: ChatTemplate, config: VoiceConfig) -> list[Encoded]:
    """Rows to token ids; raises ExamplesError for rows over `config.row_tokens`."""
    encoded, problems = [], []
    for row in rows:
        prompt = template.prompt(row.messages)
        ids = prompt + template.reply(row.reply)
        if len(ids) > config.row_tokens:
            problems.append((row.line, f"{len(ids)} tokens; at most {config.row_tokens} fit"))
        encoded.append(Encoded(ids, len(prompt)))
    if problems:
        raise ExamplesError(problems)
    return encoded


def batches(rows: Sequence[Encoded], tokens: int, *, seed: int) -> Iterator[list[Encoded]]:
    """Batches of rows of similar length, each of at most `tokens` padded tokens, in random order.

    Rows are shuffled, sorted within pools of 64, and cut by the padded budget; a row over the
    budget is a batch of its own. The same seed gives the same batches.
    """
    order = random.Random(seed)
    shuffled = order.sample(list(rows), len(rows))
    cut: list[list[Encoded]] = []
    for start in range(0, len(shuffled), 64):
        cut += parts(sorted(shuffled[start : start + 64], key=lambda e: len(e.ids)), tokens)
    order.shuffle(cut)
    yield from cut


def parts(rows: Sequence[Encoded], tokens: int) -> Iterator[list[Encoded]]:
    """Rows, sorted by length, in parts of at most `tokens` padded tokens or a single row."""
    part: list[Encoded] = []
    for row in rows:
        if part and len(row.ids) * (len(part) + 1) > tokens:
            yield part
            part = []
        part.append(row)
    if part:
        yield part
