"""Many prompts in, many texts out: what a gate or a verdict needs, written in batches.

Greedy, with the adapter that each prompt names, and held to a grammar where it has one, as an
answer is when it is served. Batches are of similar length, padded on the
left, and shrink as their texts end. A prompt that comes with a reply is not written but read:
its text is that reply, with the loss that the model gives it, as far as it fits.

Knows no requests, no voices and no gate. Read `write` first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F

from tuning.errors import PromptTooLong
from tuning.generator import Generator
from tuning.grammar import Grammars
from tuning.records import Prompt, Text

BATCH_TOKENS = 6144  # padded tokens of prompts and texts that a batch may hold
BATCH_ROWS = 24


def write(
    generator: Generator,
    prompts: Sequence[Prompt],
    *,
    select: Callable[[str | None], None],
    context_tokens: int,
) -> Iterator[Text]:
    """Write the text of every prompt; in the order in which batches are done, not as given.

    `select` makes the generator's model speak with an adapter, named by its digest, or as the
    base (None). It is called once per adapter.

    Raises:
        PromptTooLong: a prompt leaves no room for its text in `context_tokens`.
        SchemaError: a grammar cannot be followed.
    """
    grammars = Grammars(generator)
    encoded = [(prompt, generator.template.prompt(prompt.messages)) for prompt in prompts]
    for prompt, ids in encoded:
        if len(ids) + 1 > context_tokens:
            raise PromptTooLong(
                f"prompt {prompt.id} has {len(ids)} tokens; the context holds {context_tokens}"
            )
    for adapter in dict.fromkeys(prompt.adapter for prompt in prompts):
        select(adapter)
        own = [(prompt, ids) for prompt, ids in encoded if prompt.adapter == adapter]
        for batch in _batches([pair for pair in own if pair[0].reply is None]):
            yield from _write_batch(generator, grammars, batch, context_tokens)
        for prompt, ids in own:
            if prompt.reply is not None:
                yield _read(generator, prompt, ids, prompt.reply, context_tokens)


_Encoded = tuple[Prompt, list[int]]


def _batches(encoded: Sequence[_Encoded]) -> Iterator[list[_Encoded]]:
    """Prompts of similar length together, the longest first: too little memory shows at once."""
    batch: list[_Encoded] = []
    for prompt, ids in sorted(encoded, key=lambda pair: -len(pair[1])):
        longest = batch[0] if batch else (prompt, ids)
        width = len(longest[1]) + max(prompt.max_tokens, *(p.max_tokens for p, _ in batch), 0)
        if batch and (len(batch) == BATCH_ROWS or width * (len(batch) + 1) > BATCH_TOKENS):
            yield batch
            batch = []
        batch.append((prompt, ids))
    if batch:
        yield batch


@torch.inference_mode()
def _write_batch(
    generator: Generator, grammars: Grammars, batch: Sequence[_Encoded], context_tokens: int
) -> Iterator[Text]:
    device = generator.device
    width = max(len(ids) for _, ids in batch)
    ids = torch.zeros((len(batch), width), dtype=torch.long)  # (B, T), padded on the left
    mask = torch.zeros_like(ids)
    for i, (_, prompt_ids) in enumerate(batch):
        ids[i, width - len(prompt_ids) :] = torch.tensor(prompt_ids)
        mask[i, width - len(prompt_ids) :] = 1
    ids, mask = ids.to(device), mask.to(device)
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    limits = [min(p.max_tokens, context_tokens - len(prompt_ids)) for p, prompt_ids in batch]
    constraints = [grammars.constraint(p.grammar) if p.grammar else None for p, _ in batch]
    written: list[list[int]] = [[] for _ in batch]
    rows = list(range(len(batch)))  # the batch's rows that are still being written
    cache = None
    while True:
        out = generator.model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        cache = out.past_key_values
        logits = out.logits[:, -1]  # (rows, vocabulary)
        for at, row in enumerate(rows):
            if (constraint := constraints[row]) is not None:
                logits[at] = constraint.restrict(logits[at])
        tokens = logits.argmax(-1).tolist()
        going: list[int] = []
        for at, (row, token) in enumerate(zip(rows, tokens, strict=True)):
            ended = token in generator.stop_ids
            if not ended:
                written[row].append(token)
                if (constraint := constraints[row]) is not None:
                    constraint.accept(token)
                    ended = constraint.done
            if ended or len(written[row]) == limits[row]:
                text = generator.template.decode(written[row]).rstrip("\ufffd").strip()
                count = len(written[row]) + (token in generator.stop_ids)
                yield Text(
                    batch[row][0].id,
                    batch[row][0].adapter,
                    text,
                    count,
                    "stop" if ended else "length",
                )
            else:
                going.append(at)
        if not going:
            return
        if len(going) < len(rows):
            keep = torch.tensor(going, device=device)
            cache.batch_select_indices(keep)
            mask = mask[keep]
            positions = positions[keep]
            rows = [rows[at] for at in going]
        ids = torch.tensor([[written[row][-1]] for row in rows], device=device)
        mask = F.pad(mask, (0, 1), value=1)
        positions = positions[:, -1:] + 1


@torch.inference_mode()
def _read(
    generator: Generator, prompt: Prompt, ids: list[int], reply: str, context_tokens: int
) -> Text:
    reply_ids = generator.template.reply(reply)[: context_tokens - len(ids)]
    whole = torch.tensor([ids + reply_ids], device=generator.device)  # (1, T)
    logits = generator.model(
        input_ids=whole, use_cache=False, logits_to_keep=len(reply_ids) + 1
    ).logits[0, :-1]
    loss = F.cross_entropy(logits.float(), whole[0, len(ids) :])
    return Text(prompt.id, prompt.adapter, reply, len(reply_ids), "read", loss.item())
