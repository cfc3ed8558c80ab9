"""`python -m tuning RUN_DIR` for search: both depths, what is not better, and what is faulty."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tuning.query_adapter import QueryAdapter
from tuning.run import Run
from tuning.search import digest_of
from tuning.search_data import ADAPTER_FILE, Question, SearchData

pytestmark = pytest.mark.workers

ROOT = Path(__file__).resolve().parents[2]
THINGS = "bag rack lamp rain tent price color green blue red house store order hours".split()


def data(*, dev: bool = True) -> SearchData:
    """Each question is about one thing by its letter alone, which only training can tell."""
    passages = tuple(f"the {thing} is in our store" for thing in THINGS)
    questions = tuple(
        Question(f"{words} {chr(97 + n)}{chr(97 + n)}", split, (n,))
        for n in range(len(THINGS))
        for words, split in [("what is", "train"), ("is our", "train"), ("how is", "dev")]
        if dev or split == "train"
    )
    return SearchData(questions, passages)


def embedded(plain: SearchData, folder: Path) -> SearchData:
    from sentence_transformers import SentenceTransformer

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = SentenceTransformer(str(folder), device="cpu")
    questions, passages = (
        model.encode(texts, normalize_embeddings=True, show_progress_bar=False)
        for texts in ([q.text for q in plain.questions], list(plain.passages))
    )
    return SearchData(plain.questions, plain.passages, questions, passages)


def run_of(tmp_path: Path, made: SearchData, **changes: Any) -> Run:
    config = {
        "kind": "search",
        "method": "full",
        "embedder_folder": "",
        "embedders_dir": str(tmp_path / "embedders"),
        "device": "cpu",
        "threads": 1,
        "hyperparameters": {},
        **changes,
    }
    return Run.create(tmp_path / "run", config=config, more=made.save)


def work(run: Run) -> int:
    with (run.folder / "worker.log").open("ab") as log:
        return subprocess.run(
            [sys.executable, "-m", "tuning", str(run.folder)],
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"},
            timeout=120,
        ).returncode


def test_a_query_adapter_is_placed_by_its_digest(tmp_path: Path, tiny_embedder: Path) -> None:
    made = embedded(data(), tiny_embedder)
    run = run_of(tmp_path, made, method="query_adapter")
    assert work(run) == 0, (run.folder / "worker.log").read_text()
    outcome = run.outcome()
    assert outcome is not None and outcome["dev_after"] > outcome["dev_before"]
    place = tmp_path / "embedders" / outcome["digest"]
    assert digest_of(place) == outcome["digest"]
    assert QueryAdapter.load(place / ADAPTER_FILE).changes


def test_a_full_training_leaves_an_embedder_of_its_own(tmp_path: Path, tiny_embedder: Path) -> None:
    hyperparameters = {"learning_rate": 5e-3, "max_epochs": 20, "batch": 14, "compare_stock": 1}
    run = run_of(
        tmp_path,
        data(),  # nothing is embedded yet, so the worker does it
        embedder_folder=str(tiny_embedder),
        hyperparameters=hyperparameters,
    )
    assert work(run) == 0, (run.folder / "worker.log").read_text()
    outcome = run.outcome()
    assert outcome is not None and outcome["dev_after"] > outcome["dev_before"]
    place = tmp_path / "embedders" / outcome["digest"]
    assert digest_of(place) == outcome["digest"] and (place / "modules.json").is_file()
    again = embedded(data(), place)
    assert again.passage_rows is not None and again.passage_rows.shape == (len(THINGS), 32)
    losses = [line["loss"] for _, line in run.metrics() if "loss" in line]
    assert losses[-1] < losses[0]
    # The stock recipe's rate of 2e-5 moves a tiny model by nothing in seconds.
    assert outcome["dev_before"] <= outcome["dev_stock"] < outcome["dev_after"]
    assert any("stock recipe" in line.get("stage", "") for _, line in run.metrics())


def test_what_is_no_better_on_dev_leaves_nothing(tmp_path: Path, tiny_embedder: Path) -> None:
    made = embedded(data(), tiny_embedder)
    assert made.question_rows is not None
    # Questions that find their passages already.
    perfect = np.stack([made.passage_rows[q.positives[0]] for q in made.questions])  # type: ignore[index]
    perfect_data = SearchData(made.questions, made.passages, perfect, made.passage_rows)
    run = run_of(tmp_path, perfect_data, method="query_adapter")
    assert work(run) == 0
    outcome = run.outcome()
    assert outcome is not None and outcome["digest"] is None
    assert not (tmp_path / "embedders").exists()


@pytest.mark.parametrize("fault", ["no embedder", "no dev", "torn"])
def test_what_cannot_be_trained_fails_in_words(
    tmp_path: Path, tiny_embedder: Path, fault: str
) -> None:
    if fault == "no embedder":
        run = run_of(tmp_path, data(), embedder_folder=str(tmp_path / "nowhere"))
    else:
        run = run_of(tmp_path, embedded(data(dev=False), tiny_embedder), method="query_adapter")
    if fault == "torn":
        (run.folder / "questions.jsonl").write_text("{")
    assert work(run) == 1
    said = {"no embedder": "nowhere", "no dev": "too few questions", "torn": "no search training"}
    assert said[fault] in (run.failure() or ""), run.failure()
