"""How the built-in reader and verifier were trained: questions on texts to a LoRA adapter.

    python -m benchmarks.reader --squad train-v1.1.json dev-v2.0.json --minutes 60 --out FOLDER
        [--verifier MODELS] [--collected reviews.json ...] [--wordnet FOLDER] [--start FOLDER]
        [--share .2] [--batch 32] [--contrasts data/contrasts]

Files are in SQuAD's format, version 1.1 or 2.0 (CC BY-SA 4.0, https://rajpurkar.github.io/
SQuAD-explorer/). Texts of many people that only a file holds together, as reviews or comments, are
`--collected`. `--wordnet` is its folder of `data` and `index` files, for questions in other words;
`--start` the folder of an adapter to go on from. With `--verifier` it is the verifier that learns,
which wants a GPU; MODELS is where the default generator's weights are imported to. How passages
and questions are put together says `reader_pairs.py`, how both are dressed as in practice, anew in
every epoch, `reader_dress.py`, and what reads them `reader_network.py`. `--contrasts` is the folder
of questions about houses (`reader_contrasts.py`): a few among the others, and many towards the end.

The last articles of each file are held out, and some houses. Prints what is measured on them on the
way and, last, one JSON line: `auc` of answers against near misses (of the same article) and against
questions written to have no answer, and `start`, the share of answers whose first token is found;
the same of the held-out houses as `contrasts`.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.reader_contrasts import contrasts
from benchmarks.reader_dress import dress, synonyms_of
from benchmarks.reader_network import Example, Network
from benchmarks.reader_pairs import Pair, make_pairs, read, word_counts
from retrieval.embed import Embedder

LEARNING_RATE, WARMUP = 6e-4, 100
BATCH, BUCKET, EVERY = 32, 50, 400
MEASURED = 2500
CONTRASTS, LATE, LATE_CONTRASTS = 0.08, 0.7, 0.3  # their share, and behind so much of the time


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--squad", type=Path, nargs="+", required=True)
    parser.add_argument("--verifier", type=Path, help="train the verifier; where its base lies")
    parser.add_argument("--collected", type=Path, nargs="*", default=[])
    parser.add_argument("--wordnet", type=Path)
    parser.add_argument("--start", type=Path)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--share", type=float, default=1.0, help="of the answerable questions")
    parser.add_argument("--batch", type=int, default=BATCH)
    parser.add_argument("--contrasts", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    files = [read(path) for path in options.squad]
    files += [read(path, collected=True) for path in options.collected]
    train, held = make_pairs(files, options.share, Embedder(), options.seed)
    synonyms = synonyms_of(options.wordnet, word_counts(files)) if options.wordnet else {}
    chance = random.Random(options.seed)
    torch.manual_seed(options.seed)
    network = (
        Network.verifier(options.verifier, options.start)
        if options.verifier
        else Network.reader(options.start)
    )
    # A closed question is judged by closeness: only the verifier learns to answer it.
    learned, judged = (
        contrasts(options.contrasts / name, closed=bool(options.verifier), seed=options.seed)
        if options.contrasts
        else []
        for name in ("train.jsonl", "held_out.jsonl")
    )
    result = fit(
        network,
        train,
        held,
        learned,
        dressed=lambda pair: dress(pair, chance, synonyms),
        minutes=options.minutes,
        out=options.out,
        batch=options.batch,
    )
    if judged:
        result["contrasts"] = measure(network, network.encode(judged))
    print(json.dumps({"pairs": len(train), **result}))


def fit(
    network: Network,
    train: Sequence[Pair],
    held: Sequence[Pair],
    contrasting: Sequence[Pair] = (),
    *,
    dressed: Callable[[Pair], Pair],
    minutes: float,
    out: Path,
    batch: int = BATCH,
) -> dict[str, Any]:
    """Train the adapter and the two outputs for so long; returns the last measures."""
    learning = [weight for weight in network.model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(learning, lr=LEARNING_RATE, weight_decay=0.01)
    judged = network.encode(held[:MEASURED])
    began, step, done = time.monotonic(), 0, 0.0

    def share() -> float:
        return LATE_CONTRASTS if done > LATE else CONTRASTS

    lessons = _batches(network, train, contrasting, dressed, batch, share)
    while (done := (time.monotonic() - began) / (60 * minutes)) < 1:
        optimizer.param_groups[0]["lr"] = (
            LEARNING_RATE * min(1, (step + 1) / WARMUP) * max(0.02, 1 - done)
        )
        examples = next(lessons)
        begins, ends = network.logits(examples)
        first, last = _answers(examples, network.device)
        loss = (
            nn.functional.cross_entropy(begins, first) + nn.functional.cross_entropy(ends, last)
        ) / 2
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(learning, 1.0)
        optimizer.step()
        step += 1
        if step % EVERY == 0:
            print(f"step {step}, loss {loss.item():.3f}", measure(network, judged), flush=True)
            network.save(out)
    network.save(out)
    return {"steps": step, **measure(network, judged)}


def _batches(
    network: Network,
    pairs: Sequence[Pair],
    contrasting: Sequence[Pair],
    dressed: Callable[[Pair], Pair],
    size: int,
    share: Callable[[], float],
) -> Iterator[list[Example]]:
    """Batches of like length in any order, epoch after epoch; a share of all is contrasts."""
    chance = random.Random(0)
    while True:
        order = chance.sample(pairs, len(pairs))
        for start in range(0, len(order), size * BUCKET):
            some = order[start : start + size * BUCKET]
            if contrasting:
                part = share()
                some += chance.choices(contrasting, k=round(len(some) * part / (1 - part)))
            bucket = [dressed(pair) for pair in some]
            near = sorted(network.encode(bucket), key=lambda example: len(example.ids))
            own = [near[at : at + size] for at in range(0, len(near), size)]
            yield from chance.sample(own, len(own))


def _answers(examples: Sequence[Example], device: torch.device) -> tuple[Tensor, Tensor]:
    first = torch.tensor([example.first for example in examples], device=device)
    last = torch.tensor([example.last for example in examples], device=device)
    return first, last


@torch.no_grad()
def measure(network: Network, examples: Sequence[Example]) -> dict[str, Any]:
    """ROC areas of the answers' scores against each kind of miss, and the answers found."""
    network.model.eval()
    scores, found = [], []
    for at in range(0, len(examples), 64):
        some = examples[at : at + 64]
        begins, ends = network.logits(some)
        best = begins[:, 1:].max(1).values + ends[:, 1:].max(1).values
        scores += (best - begins[:, 0] - ends[:, 0]).tolist()
        found += (begins[:, 1:].argmax(1) + 1 == _answers(some, network.device)[0]).tolist()
    network.model.train()
    kinds, ranked = np.array([example.kind for example in examples]), np.array(scores)
    right = ranked[kinds == "answer"]
    areas = {
        kind: round(float((right[:, None] > ranked[kinds == kind][None, :]).mean()), 4)
        for kind in ("near", "asked")
        if (kinds == kind).any()
    }
    return {"auc": areas, "start": round(float(np.array(found)[kinds == "answer"].mean()), 4)}


if __name__ == "__main__":
    main()
