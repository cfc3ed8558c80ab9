"""One search training, from its run folder to a folder named by its content.

A query adapter moves the questions alone and takes seconds; a full training changes the
embedder. Either may find that nothing is better than what was there: then nothing is kept. Knows
no stores and no documents. Read `train_search` first.
"""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from collections.abc import Callable
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import torch

from tuning.embedder import (
    STOCK,
    EmbedderConfig,
    EmbedderOutcome,
    Triple,
    mine,
    train_embedder,
)
from tuning.errors import GeneratorError
from tuning.query_adapter import Asked, QueryAdapterConfig, fit, mrr
from tuning.run import Run, fsync_folder
from tuning.search_data import ADAPTER_FILE, Rows, SearchData

DEV_QUESTIONS, DEV_DISTRACTORS = 150, 400  # what a mix of weights is measured on
HARD_NEGATIVES = 5  # mined for a question, to be drawn from


def train_search(run: Run, config: dict[str, Any]) -> dict[str, Any]:
    """Train what `config["method"]` names; returns the outcome, `digest` None if nothing is better.

    Raises:
        ExamplesError: no question to learn from, or none to select by.
        GeneratorError: the embedder cannot be loaded.
    """
    data = SearchData.load(run.folder)
    aside = run.folder / "result.part"
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    torch.set_num_threads(config["threads"] or torch.get_num_threads())
    train = _train_adapter if config["method"] == "query_adapter" else _train_full
    outcome = train(run, data, config, aside)
    if outcome.pop("changes"):
        outcome["digest"] = digest_of(aside)
        (aside / "card.json").write_text(json.dumps(outcome, indent=2))
        _place(aside, Path(config["embedders_dir"]) / outcome["digest"])
    else:
        outcome["digest"] = None
        shutil.rmtree(aside)
    return outcome


def digest_of(folder: Path) -> str:
    """The name of a trained search: sha256 of its weights and settings, 16 hex digits."""
    whole = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix in (".safetensors", ".json", ".txt"):
            if path.name != "card.json":
                whole.update(f"{path.relative_to(folder).as_posix()}\n".encode())
                whole.update(path.read_bytes())
    return whole.hexdigest()[:16]


def _train_adapter(
    run: Run, data: SearchData, config: dict[str, Any], aside: Path
) -> dict[str, Any]:
    assert data.question_rows is not None and data.passage_rows is not None
    given = config["hyperparameters"]
    chosen = QueryAdapterConfig(**_known(QueryAdapterConfig, given))
    fitted = fit(_asked(data, "train"), _asked(data, "dev"), data.passage_rows, chosen)
    fitted.adapter.save(aside / ADAPTER_FILE)
    run.report(
        {
            "step": fitted.steps,
            "stage": f"Query adapter: MRR@10 on the dev questions {fitted.dev_before:.3f} -> "
            f"{fitted.dev_after:.3f} after {fitted.steps} steps in {fitted.seconds:.1f} s.",
        }
    )
    return {
        "method": "query_adapter",
        "changes": fitted.adapter.changes,
        "dev_before": fitted.dev_before,
        "dev_after": fitted.dev_after,
        "steps": fitted.steps,
        "seconds": fitted.seconds,
        "config": asdict(chosen),
    }


def _train_full(run: Run, data: SearchData, config: dict[str, Any], aside: Path) -> dict[str, Any]:
    given = config["hyperparameters"]
    chosen = EmbedderConfig(**_known(EmbedderConfig, given))
    model = _load(config["embedder_folder"], config["device"])
    window = model.max_seq_length
    data = _prefixed(data, model)
    questions, passages = data.question_rows, data.passage_rows
    if questions is None or passages is None:
        run.report({"step": 0, "stage": "The base embeds the passages to learn from."})
        questions = _encode(model, [question.text for question in data.questions])
        passages = _encode(model, list(data.passages))

    def report(step: dict[str, Any]) -> None:
        run.report({**step, "done": step["step"] / step["of"]})

    triples, dev = _triples(data, questions, passages), _dev(data) if data.of("dev") else None
    outcome = train_embedder(model, triples, chosen, dev=dev, report=report)
    model.max_seq_length = window  # shortened for the training alone
    if outcome.mix > 0:
        model.save(str(aside), create_model_card=False)
    stock = None
    if given.get("compare_stock") and dev is not None:
        stock = _compare_stock(run, config, triples, dev, outcome)
    return {
        "method": "full",
        "changes": outcome.mix > 0,
        **asdict(outcome),
        "dev_stock": stock,
        "config": asdict(chosen),
    }


def _compare_stock(
    run: Run,
    config: dict[str, Any],
    triples: list[Triple],
    dev: Callable[[Any], float],
    ours: EmbedderOutcome,
) -> float:
    """What the recipe that everybody starts from comes to in as many minutes, on dev."""
    run.report({"step": ours.steps, "stage": "The stock recipe trains as long, to compare with."})
    model = _load(config["embedder_folder"], config["device"])
    epochs = config["hyperparameters"].get("max_epochs", STOCK.max_epochs)
    stock = replace(STOCK, max_epochs=epochs, max_minutes=ours.seconds / 60)
    train_embedder(model, triples, stock, dev=None)
    reached = dev(model)
    run.report(
        {
            "step": ours.steps,
            "stage": f"MRR@10 on the dev questions: {ours.dev_before:.3f} before, "
            f"{ours.dev_after:.3f} after this training, {reached:.3f} after the stock recipe's.",
        }
    )
    return reached


def _load(folder: str, device: str) -> Any:
    from sentence_transformers import SentenceTransformer

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return SentenceTransformer(
            folder, device=device, local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError) as error:
        raise GeneratorError(f"cannot load the embedder in {folder}: {error}") from error


def _prefixed(data: SearchData, model: Any) -> SearchData:
    """The texts as they are embedded when served: with the model's own prefixes."""
    prompts = model.prompts or {}
    query = prompts.get("query") or ""
    passage = prompts.get("document") or prompts.get("passage") or ""
    if not query and not passage:
        return data
    return replace(
        data,
        questions=tuple(replace(q, text=query + q.text) for q in data.questions),
        passages=tuple(passage + text for text in data.passages),
    )


def _encode(model: Any, texts: list[str]) -> Rows:
    rows: Rows = model.encode(texts, normalize_embeddings=True, show_progress_bar=False)
    return rows


def _asked(data: SearchData, split: Any) -> Asked:
    assert data.question_rows is not None
    own = data.of(split)
    return Asked(data.question_rows[own], [data.questions[n].positives for n in own])


def _triples(data: SearchData, questions: Rows, passages: Rows) -> list[Triple]:
    own = data.of("train")
    right = [(*data.questions[n].positives, *data.questions[n].answering) for n in own]
    mined = mine(questions[own], passages, right, count=HARD_NEGATIVES)
    return [
        Triple(
            data.questions[n].text,
            data.passages[best],
            tuple(data.passages[index] for index in wrong),
            questions[n],
            passages[best],
            frozenset(data.passages[index] for index in others),
        )
        for n, (best, *others), wrong in zip(own, right, mined, strict=True)
    ]


def _dev(data: SearchData) -> Callable[[Any], float]:
    """A measure of a model: MRR@10 of dev questions among their own and some other passages."""
    random_ = random.Random(0)
    dev = data.of("dev")
    chosen = random_.sample(dev, min(DEV_QUESTIONS, len(dev)))
    count = len(data.passages)
    others = random_.sample(range(count), min(DEV_DISTRACTORS, count))
    shown = sorted({*others, *(index for n in chosen for index in data.questions[n].positives)})
    place = {index: at for at, index in enumerate(shown)}
    positives = [[place[index] for index in data.questions[n].positives] for n in chosen]

    def measured(model: Any) -> float:
        model.eval()
        passages = _encode(model, [data.passages[index] for index in shown])
        questions = _encode(model, [data.questions[n].text for n in chosen])
        return mrr(questions, Asked(questions, positives), passages)

    return measured


def _known(kind: type, given: dict[str, Any]) -> dict[str, Any]:
    names = {field.name for field in fields(kind)}
    chosen = {key: value for key, value in given.items() if key in names}
    if "max_seconds" in names and "max_minutes" in given:
        chosen["max_seconds"] = 60 * given["max_minutes"]
    return chosen


def _place(aside: Path, place: Path) -> None:
    """Move a complete folder to where its digest names it; twice is as once."""
    if place.is_dir() and digest_of(place) == place.name:
        shutil.rmtree(aside)
        return
    shutil.rmtree(place, ignore_errors=True)
    place.parent.mkdir(parents=True, exist_ok=True)
    part = place.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    shutil.copytree(aside, part)
    fsync_folder(part)
    part.rename(place)
    fsync_folder(place.parent)
    shutil.rmtree(aside)
