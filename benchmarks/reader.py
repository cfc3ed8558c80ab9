"""How the built-in reader was trained: questions on texts to a LoRA adapter that finds answers.

    python -m benchmarks.reader --squad train-v1.1.json dev-v2.0.json --minutes 60 --out FOLDER
        [--collected reviews.json ...] [--wordnet FOLDER] [--start FOLDER] [--share .2]

Files are in SQuAD's format, version 1.1 or 2.0 (CC BY-SA 4.0, https://rajpurkar.github.io/
SQuAD-explorer/). Texts of many people that only a file holds together, as reviews or comments, are
`--collected`. `--wordnet` is its folder of `data` and `index` files, for questions in other words;
`--start` the folder of an adapter to go on from. How passages and questions are put together says
`reader_pairs.py`, how both are dressed as in practice `reader_dress.py`.

The last articles of each file are held out. Prints what is measured on them on the way and, last,
one JSON line: `auc` of answers against near misses (of the same article) and against questions
written to have no answer, and `start`, the share of answers whose first token is found.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoModelForQuestionAnswering, AutoTokenizer

from benchmarks.reader_dress import dress, synonyms_of
from benchmarks.reader_pairs import Kind, Pair, make_pairs, read, word_counts
from retrieval.embed import DEFAULT_EMBEDDER, Embedder, choose_device, default_embedder_folder

RANK, ALPHA, LEARNING_RATE, WARMUP = 32, 64, 6e-4, 100
BATCH, BUCKET, MAX_TOKENS, EVERY = 32, 50, 224, 400
MEASURED = 2500
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"

Example = tuple[list[int], list[int], int, int, Kind]  # ids, types, first and last token, kind


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--squad", type=Path, nargs="+", required=True)
    parser.add_argument("--collected", type=Path, nargs="*", default=[])
    parser.add_argument("--wordnet", type=Path)
    parser.add_argument("--start", type=Path)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--share", type=float, default=1.0, help="of the answerable questions")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    files = [read(path) for path in options.squad]
    files += [read(path, collected=True) for path in options.collected]
    train, held = make_pairs(files, options.share, Embedder(), options.seed)
    synonyms = synonyms_of(options.wordnet, word_counts(files)) if options.wordnet else {}
    chance = random.Random(options.seed)
    result = fit(
        [dress(pair, chance, synonyms) for pair in train],
        held,
        minutes=options.minutes,
        out=options.out,
        seed=options.seed,
        start=options.start,
    )
    print(json.dumps({"pairs": len(train), **result}))


def fit(
    train: Sequence[Pair],
    held: Sequence[Pair],
    *,
    minutes: float,
    out: Path,
    seed: int,
    start: Path | None = None,
) -> dict[str, Any]:
    """Train the adapter and the two outputs for so long; returns the last measures."""
    torch.manual_seed(seed)
    folder = default_embedder_folder()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    base = AutoModelForQuestionAnswering.from_pretrained(folder, attn_implementation="eager")
    for module in base.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0  # one epoch does not overfit, and drawing masks takes a fifth of a step
    model: Any
    if start is not None:
        model = PeftModel.from_pretrained(base, str(start), is_trainable=True)
    else:
        config = LoraConfig(
            r=RANK,
            lora_alpha=ALPHA,
            target_modules=["query", "key", "value", "dense"],
            modules_to_save=["qa_outputs"],
        )
        model = get_peft_model(base, config)
    learning = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(learning, lr=LEARNING_RATE, weight_decay=0.01)
    batches = _batches(encode(tokenizer, train), random.Random(seed))
    judged = encode(tokenizer, held[:MEASURED])
    began, step, measures = time.monotonic(), 0, {}
    while (done := (time.monotonic() - began) / (60 * minutes)) < 1:
        optimizer.param_groups[0]["lr"] = (
            LEARNING_RATE * min(1, (step + 1) / WARMUP) * max(0.02, 1 - done)
        )
        begins, ends, first, last = _forward(model, batches[step % len(batches)])
        loss = (
            nn.functional.cross_entropy(begins, first) + nn.functional.cross_entropy(ends, last)
        ) / 2
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(learning, 1.0)
        optimizer.step()
        step += 1
        if step % EVERY == 0:
            measures = measure(model, judged)
            print(f"step {step} of {len(batches)}, loss {loss.item():.3f}", measures, flush=True)
            save(model, out)
    save(model, out)
    return {"steps": step, **measure(model, judged)}


def encode(tokenizer: Any, pairs: Sequence[Pair]) -> list[Example]:
    """Token ids with the answer's first and last token, 0 and 0 where there is none."""
    texts = tokenizer(
        [pair.question for pair in pairs],
        [pair.passage for pair in pairs],
        truncation="only_second",
        max_length=MAX_TOKENS,
        return_offsets_mapping=True,
    )
    examples: list[Example] = []
    for row, pair in enumerate(pairs):
        ids, types = texts["input_ids"][row], texts["token_type_ids"][row]
        first = last = 0
        for token, (start, end) in enumerate(texts["offset_mapping"][row]):
            if pair.end and types[token] and end > start:
                first = token if start <= pair.start < end else first
                last = token if start < pair.end <= end else last
        if bool(pair.end) == bool(first and last):  # else the answer was cut off
            examples.append((ids, types, first, last, pair.kind))
    return examples


def _batches(examples: list[Example], chance: random.Random) -> list[list[Example]]:
    """Batches of like length, in any order."""
    batches = []
    for start in range(0, len(examples), BATCH * BUCKET):
        near = sorted(examples[start : start + BATCH * BUCKET], key=lambda e: len(e[0]))
        own = [near[at : at + BATCH] for at in range(0, len(near), BATCH)]
        chance.shuffle(own)
        batches += own
    return batches


def _forward(model: Any, batch: Sequence[Example]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(batch, tokens) logits of first and last token, and the true ones.

    Only "no answer" and tokens of the passage can be chosen.
    """
    longest = max(len(ids) for ids, *_ in batch)
    ids, types, mask = (torch.zeros(len(batch), longest, dtype=torch.long) for _ in range(3))
    for row, (own, kinds, *_) in enumerate(batch):
        ids[row, : len(own)] = torch.tensor(own)
        types[row, : len(own)] = torch.tensor(kinds)
        mask[row, : len(own)] = 1
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=_native_bf16()):
        found = model(input_ids=ids, token_type_ids=types, attention_mask=mask)
    allowed = (types == 1) & (mask == 1)
    allowed[:, 0] = True
    begins, ends = (
        logits.float().masked_fill(~allowed, -1e4)
        for logits in (found.start_logits, found.end_logits)
    )
    first, last = (torch.tensor([example[at] for example in batch]) for at in (2, 3))
    return begins, ends, first, last


@cache
def _native_bf16() -> bool:
    return choose_device("cpu", "auto", "reader")[1] == "bf16"


@torch.no_grad()
def measure(model: Any, examples: Sequence[Example]) -> dict[str, Any]:
    """ROC areas of the answers' scores against each kind of miss, and the answers found."""
    model.eval()
    scores, found = [], []
    for at in range(0, len(examples), 64):
        begins, ends, first, _ = _forward(model, examples[at : at + 64])
        best = begins[:, 1:].max(1).values + ends[:, 1:].max(1).values
        scores += (best - begins[:, 0] - ends[:, 0]).tolist()
        found += (begins[:, 1:].argmax(1) + 1 == first).tolist()
    model.train()
    kinds, ranked = np.array([example[4] for example in examples]), np.array(scores)
    right = ranked[kinds == "answer"]
    areas = {
        kind: round(float((right[:, None] > ranked[kinds == kind][None, :]).mean()), 4)
        for kind in ("near", "asked")
        if (kinds == kind).any()
    }
    return {"auc": areas, "start": round(float(np.array(found)[kinds == "answer"].mean()), 4)}


def save(model: Any, out: Path) -> None:
    """Write the adapter in bfloat16, without the folder that its base lay in."""
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:  # peft writes a card of its own, too
        model.save_pretrained(temporary, save_embedding_layers=False)
        config = json.loads(Path(temporary, CONFIG).read_text(encoding="utf-8"))
        weights = load_file(Path(temporary, WEIGHTS))
    config |= {"base_model_name_or_path": DEFAULT_EMBEDDER, "task_type": "QUESTION_ANS"}
    (out / CONFIG).write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    halved = {name: weight.to(torch.bfloat16).contiguous() for name, weight in weights.items()}
    save_file(halved, out / WEIGHTS, metadata={"format": "pt"})


if __name__ == "__main__":
    main()
