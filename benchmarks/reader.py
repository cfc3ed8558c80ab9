"""How the built-in reader was trained: SQuAD's questions and passages to a LoRA adapter.

    python -m benchmarks.reader --squad train-v1.1.json dev-v2.0.json --minutes 60 --out FOLDER

Files are in SQuAD's format, version 1.1 or 2.0 (CC BY-SA 4.0, https://rajpurkar.github.io/
SQuAD-explorer/). Each question is asked of passages of about the size that is served: of the one
with its answer, of one of its article that shares words with it, and sometimes of another article's
or of one that the embedder finds for it. Some are dressed as they come in practice: the passage
behind its heading or as a list, the question behind an introduction or without its capitals. A
question that people wrote to have no answer in its paragraph counts twice.

The last articles of each file are held out. Prints what is measured on them on the way and, last,
one JSON line: `auc` of answers against near misses (of the same article) and against questions
written to have no answer, and `start`, the share of answers whose first token is found.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import re
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoModelForQuestionAnswering, AutoTokenizer

from retrieval.embed import DEFAULT_EMBEDDER, Embedder, default_embedder_folder
from retrieval.extract import Embeds
from retrieval.split import sentences

Kind = Literal["answer", "near", "asked", "far", "found"]  # "asked": written to have no answer
RANK, ALPHA, LEARNING_RATE, WARMUP = 32, 64, 6e-4, 100
BATCH, BUCKET, MAX_TOKENS, EVERY = 32, 50, 224, 400
HELD_OUT = 6  # articles of each file
PASSAGE_WORDS = (35, 50, 50, 70)
HEADED, INTRODUCED, LISTED, LOWERED, FAR, FOUND = 0.45, 0.2, 0.1, 0.1, 0.1, 0.5
HITS = 6
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"

_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Asked:
    """A question and its answers in a paragraph; no answers: it has none there."""

    text: str
    answers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Article:
    """A title and its paragraphs, each with its questions."""

    title: str
    paragraphs: tuple[tuple[str, tuple[Asked, ...]], ...]


@dataclass(frozen=True, slots=True)
class Pair:
    """A question asked of a passage; `start`..`end` is the answer in it, both 0 for none."""

    question: str
    passage: str
    start: int
    end: int
    kind: Kind
    title: str


Example = tuple[list[int], list[int], int, int, Kind]  # ids, types, first and last token, kind


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--squad", type=Path, nargs="+", required=True)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--share", type=float, default=1.0, help="of the answerable questions")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    files = [read(path) for path in options.squad]
    train, held = make_pairs(files, options.share, Embedder(), options.seed)
    result = fit(train, held, minutes=options.minutes, out=options.out, seed=options.seed)
    print(json.dumps({"pairs": len(train), **result}))


def read(path: Path) -> list[Article]:
    """The articles of a file in SQuAD's format."""
    return [
        Article(
            article["title"].replace("_", " "),
            tuple(
                (
                    paragraph["context"],
                    tuple(
                        Asked(q["question"].strip(), tuple(a["text"] for a in q["answers"]))
                        for q in paragraph["qas"]
                    ),
                )
                for paragraph in article["paragraphs"]
            ),
        )
        for article in json.loads(path.read_text(encoding="utf-8"))["data"]
    ]


def make_pairs(
    files: Sequence[Sequence[Article]], share: float, embedder: Embeds, seed: int
) -> tuple[list[Pair], list[Pair]]:
    """Pairs to learn from, dressed and shuffled, and those of the held-out articles as they are."""
    chance = random.Random(seed)
    counts = Counter(
        word
        for articles in files
        for article in articles
        for context, _ in article.paragraphs
        for word in set(_words(context))
    )
    total = sum(len(article.paragraphs) for articles in files for article in articles)

    def likeness(question: str, passage: str) -> float:
        shared = set(_words(question)) & set(_words(passage))
        return sum(math.log(1 + total / (1 + counts[word])) for word in shared)

    train: list[Pair] = []
    held: list[Pair] = []
    for articles in files:
        for place, article in enumerate(articles):
            own = list(_of_article(article, likeness, chance, share))
            if place >= len(articles) - HELD_OUT:
                held += own
            else:
                train += own + [pair for pair in own if pair.kind == "asked"]
    others = [(pair.title, pair.passage) for pair in train]
    answered = [pair for pair in train if pair.kind == "answer"]
    for pair in chance.sample(answered, math.ceil(FAR * len(answered))):
        some = chance.sample(others, min(len(others), 250))
        pool = [other for other in some if other[0] != pair.title]
        title, passage = max(pool, key=lambda other: likeness(pair.question, other[1]))
        train.append(Pair(pair.question, passage, 0, 0, "far", title))
    some = chance.sample(answered, math.ceil(FOUND * len(answered)))
    train += _found(some, list(dict.fromkeys(others)), embedder, chance)
    train = [dress(pair, chance) for pair in train]
    chance.shuffle(train)
    chance.shuffle(held)
    return train, held


def _of_article(
    article: Article,
    likeness: Callable[[str, str], float],
    chance: random.Random,
    share: float,
) -> Iterator[Pair]:
    cut = [
        list(_passages(context, chance.choice(PASSAGE_WORDS))) for context, _ in article.paragraphs
    ]
    everything = [(place, passage) for place, own in enumerate(cut) for passage in own]
    for place, (_, asked) in enumerate(article.paragraphs):
        for question in asked:
            text, answers = question.text, question.answers
            if not answers:
                near = sorted(cut[place], key=lambda p: -likeness(text, p))
                for passage in near[: 1 if chance.random() < 0.6 else 2]:
                    yield Pair(text, passage, 0, 0, "asked", article.title)
                continue
            holding = [passage for passage in cut[place] if any(a in passage for a in answers)]
            if not holding or chance.random() > share:
                continue
            passage = max(holding, key=lambda p: likeness(text, p))
            answer = max((a for a in answers if a in passage), key=answers.count)
            start = max(
                (found.start() for found in re.finditer(re.escape(answer), passage)),
                key=lambda at: likeness(text, _sentence_at(passage, at)),
            )
            yield Pair(text, passage, start, start + len(answer), "answer", article.title)
            without = [
                (own, other)
                for own, other in everything
                if not any(a.lower() in other.lower() for a in answers)
            ]
            close = [other for own, other in without if abs(own - place) <= 2]
            some = chance.sample(without, min(len(without), 60))
            near = sorted([*close, *(other for _, other in some)], key=lambda p: -likeness(text, p))
            if near:
                yield Pair(text, chance.choice(near[:3]), 0, 0, "near", article.title)


def _found(
    pairs: Sequence[Pair],
    passages: Sequence[tuple[str, str]],
    embedder: Embeds,
    chance: random.Random,
) -> Iterator[Pair]:
    """What a search finds for each question among (title, passage) that does not answer it."""
    rows = embedder.embed([f"{title}: {passage}" for title, passage in passages])
    queries = embedder.embed([pair.question for pair in pairs], queries=True)
    for pair, query in zip(pairs, queries, strict=True):
        answer = pair.passage[pair.start : pair.end].lower()
        first = np.argsort(-(rows @ query))[:HITS]
        wrong = [passages[at] for at in first if answer not in passages[at][1].lower()]
        if wrong:
            title, passage = chance.choice(wrong[:4])
            yield Pair(pair.question, passage, 0, 0, "found", title)


def dress(pair: Pair, chance: random.Random) -> Pair:
    """The pair as it might come in practice; the answer stays where it is in the words."""
    if chance.random() < LISTED:
        pair = _as_list(pair)
    introduction = ""
    if chance.random() < INTRODUCED:
        answer = pair.passage[pair.start : pair.end]
        spans = sentences(pair.passage)
        said = [pair.passage[start:end].removeprefix("- ") for start, end in spans]
        said = [s for s in said if 4 <= len(s.split()) <= 18 and not (answer and answer in s)]
        introduction = chance.choice(said) + " " if said else ""
    if chance.random() < HEADED:
        head = f"{pair.title}: "
        moved = len(head) if pair.end else 0
        pair = replace(
            pair, passage=head + pair.passage, start=pair.start + moved, end=pair.end + moved
        )
    question = introduction + pair.question
    if chance.random() < LOWERED:
        question = question.rstrip("?").lower()
    return replace(pair, question=question)


def _as_list(pair: Pair) -> Pair:
    spans = list(sentences(pair.passage))
    text, start = "", 0
    for first, last in spans:
        text += "- "
        if first <= pair.start < last:
            start = len(text) + pair.start - first
        text += pair.passage[first:last] + "\n"
    end = start + pair.end - pair.start if pair.end else 0
    if text[start:end] != pair.passage[pair.start : pair.end]:  # it spans two sentences
        return pair
    return replace(pair, passage=text.rstrip(), start=start if pair.end else 0, end=end)


def _passages(context: str, most_words: int) -> Iterator[str]:
    """Whole sentences together, up to so many words."""
    first, last, words = 0, 0, 0
    for start, end in sentences(context):
        length = len(context[start:end].split())
        if words and words + length > most_words:
            yield context[first:last]
            first, words = start, 0
        last, words = end, words + length
    if words:
        yield context[first:last]


def _sentence_at(passage: str, at: int) -> str:
    spans = ((start, end) for start, end in sentences(passage) if start <= at < end)
    start, end = next(spans, (0, len(passage)))
    return passage[start:end]


def _words(text: str) -> list[str]:
    return [word.lower()[:6] for word in _WORD.findall(text)]


def fit(
    train: Sequence[Pair], held: Sequence[Pair], *, minutes: float, out: Path, seed: int
) -> dict[str, Any]:
    """Train the adapter and the two outputs for so long; returns the last measures."""
    torch.manual_seed(seed)
    folder = default_embedder_folder()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    base = AutoModelForQuestionAnswering.from_pretrained(folder, attn_implementation="eager")
    for module in base.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0  # one epoch does not overfit, and drawing masks takes a fifth of a step
    config = LoraConfig(
        r=RANK,
        lora_alpha=ALPHA,
        target_modules=["query", "key", "value", "dense"],
        modules_to_save=["qa_outputs"],
    )
    model: Any = get_peft_model(base, config)
    learning = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(learning, lr=LEARNING_RATE, weight_decay=0.01)
    batches = _batches(encode(tokenizer, train), random.Random(seed))
    judged = encode(tokenizer, held[:2000])
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
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = model(input_ids=ids, token_type_ids=types, attention_mask=mask)
    allowed = (types == 1) & (mask == 1)
    allowed[:, 0] = True
    begins, ends = (
        logits.float().masked_fill(~allowed, -1e4)
        for logits in (found.start_logits, found.end_logits)
    )
    first, last = (torch.tensor([example[at] for example in batch]) for at in (2, 3))
    return begins, ends, first, last


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
        model.save_pretrained(temporary)
        config = json.loads(Path(temporary, CONFIG).read_text(encoding="utf-8"))
        weights = load_file(Path(temporary, WEIGHTS))
    config |= {"base_model_name_or_path": DEFAULT_EMBEDDER, "task_type": "QUESTION_ANS"}
    (out / CONFIG).write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    halved = {name: weight.to(torch.bfloat16).contiguous() for name, weight in weights.items()}
    save_file(halved, out / WEIGHTS, metadata={"format": "pt"})


if __name__ == "__main__":
    main()
