"""`python -m tuning RUN_DIR` as the process that it is."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tuning.adapter import AdapterSet, Card, adapter_digest
from tuning.errors import AdapterError
from tuning.generator import load_generator
from tuning.records import Prompt, Row, Text
from tuning.run import Run

pytestmark = pytest.mark.workers

ROOT = Path(__file__).resolve().parents[2]
STARTING_SECONDS = 60


def start(run: Run) -> subprocess.Popen[bytes]:
    with (run.folder / "worker.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "tuning", str(run.folder)],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"},
        )


def finished(run: Run) -> int:
    """The exit status of a worker that runs to its end."""
    worker = start(run)
    status = worker.wait(STARTING_SECONDS)
    worker.communicate()
    return status


def log_of(run: Run) -> str:
    return (run.folder / "worker.log").read_text()


@pytest.fixture
def new_run(lively_folder: Path, tmp_path: Path, toy_rows: list[Row]) -> Callable[..., Run]:
    def create(
        name: str = "run",
        *,
        prompts: Sequence[Prompt] = (),
        rows: Sequence[Row] = toy_rows,
        **changes: Any,
    ) -> Run:
        config = {
            "kind": "voice",
            "voice": "support",
            "generator": str(lively_folder),
            "models_dir": str(tmp_path / "models"),
            "adapters_dir": str(tmp_path / "adapters"),
            "device": "cpu",
            "threads": 1,
            "replay": 0,
            "prompt_digest": "a-prompt-format",
            "data_digest": "some-data",
            "voice_config": {
                "rank": 4,
                "learning_rate": 1e-2,
                "max_epochs": 8,
                "batch_tokens": 128,
                "checkpoint_seconds": 0,
                "patience": 100,
                "row_tokens": 512,
            },
        }
        return Run.create(tmp_path / name, config={**config, **changes}, rows=rows, prompts=prompts)

    return create


def test_a_worker_killed_in_the_middle_goes_on_and_its_result_is_complete(
    new_run: Callable[..., Run], lively_folder: Path
) -> None:
    asked = ({"role": "user", "content": "ask 3"},)
    prompts = [Prompt("gate-0", asked, speaker, 8) for speaker in (None, "candidate")]
    run = new_run(prompts=prompts, replay=4)
    first = start(run)
    give_up = time.monotonic() + STARTING_SECONDS
    while not any(m.get("step", 0) > 8 for _, m in run.metrics()):
        assert first.poll() is None and time.monotonic() < give_up, log_of(run)
        time.sleep(0.01)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    told = [m["step"] for _, m in run.metrics() if "loss" in m]
    assert first.returncode == -signal.SIGKILL and run.outcome() is None

    second = start(run)
    assert second.wait(STARTING_SECONDS) == 0, log_of(run)
    second.communicate()
    steps = [m["step"] for _, m in run.metrics() if "loss" in m]
    outcome = run.outcome()
    assert outcome is not None and run.failure() is None
    assert steps[: len(told)] == told and 1 < steps[len(told)] <= told[-1] + 1, "it went on"
    assert steps[len(told) :] == list(range(steps[len(told)], outcome["steps"] + 1))

    adapters_dir = run.folder.parent / "adapters"
    folder = adapters_dir / outcome["digest"]
    assert adapter_digest(folder) == outcome["digest"]
    assert outcome["heldout_after"] < outcome["heldout_before"]
    card = Card.load(folder)
    assert (card.voice, card.prompt_digest, card.metrics["steps"]) == (
        "support",
        "a-prompt-format",
        outcome["steps"],
    )
    generator = load_generator(str(lively_folder), models_dir=run.folder, device="cpu")
    assert card.base_fingerprint == generator.fingerprint
    adapters = AdapterSet(generator, folder=adapters_dir, prompt_digest=card.prompt_digest)
    ids = torch.tensor([generator.template.prompt([{"role": "user", "content": "ask 3"}])])
    with torch.inference_mode():
        before = generator.model(ids).logits.clone()
        adapters.select(outcome["digest"])
        assert not torch.equal(generator.model(ids).logits, before), "the voice is heard"
    strange = AdapterSet(
        replace(generator, fingerprint="0" * 16), folder=adapters_dir, prompt_digest=""
    )
    with pytest.raises(AdapterError):
        strange.select(outcome["digest"])

    written = {text.adapter: text for text in run.texts() if text.id == "gate-0"}
    assert set(written) == {None, outcome["digest"]}, "base and candidate wrote for the gate"
    assert written[None].text != written[outcome["digest"]].text
    read = [text for text in run.texts() if text.id.startswith("replay:")]
    assert len(read) % 2 == 0 and all((text.loss or 0) > 0 for text in read), "and were read"
    assert outcome["texts"]["written"] == outcome["texts"]["wanted"] == 2 + len(read)


def test_a_gate_prompt_that_is_too_long_is_left_out_and_counted(
    new_run: Callable[..., Run],
) -> None:
    questions = {"gate-0": "ask 3", "gate-1": "ask 3 " * 100}
    prompts = [
        Prompt(id_, ({"role": "user", "content": question},), speaker, 8)
        for id_, question in questions.items()
        for speaker in (None, "candidate")
    ]
    chosen = {"rank": 4, "max_epochs": 1, "row_tokens": 256}
    run = new_run(prompts=prompts, voice_config=chosen)
    assert finished(run) == 0, (run.failure(), log_of(run))
    outcome = run.outcome()
    assert outcome is not None and outcome["texts"]["too_long"] == 1
    assert {text.id for text in run.texts() if text.id in questions} == {"gate-0"}
    assert outcome["texts"]["written"] == outcome["texts"]["wanted"]


def test_the_bases_own_answers_are_trained_on_and_kept(new_run: Callable[..., Run]) -> None:
    config = {"rank": 4, "max_epochs": 1, "patience": 100, "row_tokens": 512}
    alone = new_run("alone", voice_config=config)
    beside = new_run("beside", replay=4, voice_config=config)
    assert (finished(alone), finished(beside)) == (0, 0), log_of(beside)
    learned = beside.replay()
    assert 0 < len(learned) <= 4 and not alone.replay()
    assert {(row.kind, row.split) for row in learned} == {("replay", "train")}
    more = beside.outcome()["tokens"] - alone.outcome()["tokens"]  # type: ignore[index]
    assert more >= len(learned), "a token or more of each"


def test_a_worker_that_only_writes_goes_on_with_what_is_missing(
    new_run: Callable[..., Run],
) -> None:
    asked = ({"role": "user", "content": "ask 3"},)
    run = new_run(prompts=[Prompt(f"p{n}", asked, None, 8) for n in range(3)], kind="generate")
    run.add_text(Text("p1", None, "written before the crash", 8, "length"))
    worker = start(run)
    assert worker.wait(STARTING_SECONDS) == 0, log_of(run)
    worker.communicate()
    texts = {text.id: text.text for text in run.texts()}
    assert len(run.texts()) == 3 and texts["p1"] == "written before the crash"
    assert texts["p0"] == texts["p2"] != ""
    outcome = run.outcome()
    assert outcome is not None and (outcome["written"], outcome["stopped"]) == (3, "complete")


def test_a_worker_with_a_bad_generator_says_why(new_run: Callable[..., Run]) -> None:
    run = new_run(generator="no-such-generator")
    worker = start(run)
    assert worker.wait(STARTING_SECONDS) == 1
    worker.communicate()
    assert "neither 'smollm2-135m-instruct'" in (run.failure() or "")
    assert run.outcome() is None and "Traceback" not in log_of(run)


@pytest.mark.parametrize("kind", ["voice", "preference"])
def test_a_loss_that_is_no_number_publishes_no_adapter(
    new_run: Callable[..., Run], toy_rows: list[Row], kind: str
) -> None:
    config = {"learning_rate": 1e36, "batch_tokens": 128, "row_tokens": 512}
    rows = [replace(row, rejected="no, never") for row in toy_rows]
    run = new_run(kind=kind, rows=rows, voice_config=config)
    worker = start(run)
    assert worker.wait(STARTING_SECONDS) == 1, log_of(run)
    worker.communicate()
    said = run.failure() or ""
    assert re.match(r"step \d+: the .* at a learning rate of \S+: lower learning_rate$", said), said
    assert run.outcome() is None and not (run.folder.parent / "adapters").exists()


def test_preferences_are_tuned_from_a_version_that_was_made_before(
    new_run: Callable[..., Run], toy_rows: list[Row]
) -> None:
    run = new_run()
    assert finished(run) == 0, log_of(run)
    parent = run.folder.parent / "adapters" / run.outcome()["digest"]  # type: ignore[index]
    rows = [replace(row, rejected="no, never") for row in toy_rows]
    tuned = new_run("tuned", kind="preference", rows=rows, parent_adapter=str(parent))
    assert finished(tuned) == 0, log_of(tuned)
    outcome = tuned.outcome()
    assert outcome is not None and outcome["digest"] != parent.name
    assert outcome["accuracy"] > 0.5 and outcome["heldout_after"] < outcome["heldout_before"]
    card = Card.load(parent.with_name(outcome["digest"]))
    assert (card.parent, card.adapter, card.config["rank"]) == (parent.name, "lora", 4)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        ({"base_fingerprint": "0123456789abcdef"}, ["0123456789abcdef", "train it again"]),
        ({"prompt_digest": "an-old-format"}, ["an-old-format", "a-prompt-format"]),
        ({"adapter": "full"}, ["'full'", "'lora'"]),
    ],
)
def test_a_parent_that_does_not_fit_is_refused_naming_both(
    new_run: Callable[..., Run],
    make_adapter: Callable[..., str],
    lively_folder: Path,
    tmp_path: Path,
    spoil: dict[str, str],
    words: list[str],
) -> None:
    parent = tmp_path / make_adapter(tmp_path, seed=1, **spoil)
    run = new_run(parent_adapter=str(parent))
    assert finished(run) == 1, log_of(run)
    said = run.failure() or ""
    assert all(word in said for word in words), said


def test_a_worker_ends_when_its_standard_input_closes(new_run: Callable[..., Run]) -> None:
    run = new_run()
    worker = start(run)
    assert worker.stdin is not None
    worker.stdin.close()
    assert worker.wait(STARTING_SECONDS) == 3
    assert run.outcome() is None and run.failure() is None


def test_a_folder_that_is_no_run_is_an_error(tmp_path: Path) -> None:
    worker = subprocess.run(
        [sys.executable, "-m", "tuning", str(tmp_path)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert worker.returncode == 1 and "is not a run folder" in worker.stderr
    assert json.dumps(list(map(str, tmp_path.iterdir()))) == "[]"
