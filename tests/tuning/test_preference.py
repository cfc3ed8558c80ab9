"""DPO: its loss is the paper's, its reference is where it started, and it can be interrupted."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tuning.adapter import load_adapter, new_adapter
from tuning.checkpoint import Checkpoints
from tuning.errors import Diverged, ExamplesError
from tuning.generator import Generator
from tuning.lessons import Lessons
from tuning.preference import (
    Judge,
    PreferenceOutcome,
    accuracy,
    micro_batches,
    pairs,
    steps,
    train_preferences,
)
from tuning.records import PreferenceConfig, Row

MakeGenerator = Callable[[], Generator]
CONFIG = PreferenceConfig(
    rank=4,
    learning_rate=1e-2,
    max_epochs=3,
    micro_tokens=200,
    patience=100,
    checkpoint_seconds=0,
)


@pytest.fixture(scope="module")
def rows(toy_rows: list[Row]) -> list[Row]:
    """The toy rows, with a reply that the house would never give."""
    others = ("my place", "a longer answer, which nobody wants")
    return [replace(row, rejected=others[i % 2]) for i, row in enumerate(toy_rows)]


def train(
    generator: Generator,
    rows: list[Row],
    folder: Path,
    config: PreferenceConfig = CONFIG,
    *,
    report: Callable[[dict[str, Any]], None] = lambda _: None,
    parent: Path | None = None,
) -> tuple[PreferenceOutcome, list[dict[str, Any]]]:
    metrics: list[dict[str, Any]] = []

    def both(line: dict[str, Any]) -> None:
        metrics.append(line)
        report(line)

    outcome = train_preferences(
        generator,
        rows,
        config,
        checkpoints=Checkpoints(folder),
        report=both,
        parent=parent,
        clock=itertools.count(1.0).__next__,
    )
    return outcome, metrics


@torch.no_grad()
def slow_log_p(generator: Generator, row: Row, reply: str) -> float:
    """What the plain model says of one reply, token by token."""
    prompt = generator.template.prompt(row.messages)
    ids = prompt + generator.template.reply(reply)
    log_ps = generator.model(torch.tensor([ids])).logits[0].log_softmax(-1)
    return sum(log_ps[at - 1, ids[at]].item() for at in range(len(prompt), len(ids)))


# -- the loss


def test_the_loss_of_padded_pairs_is_the_papers_of_each(
    generator: Generator, rows: list[Row], tmp_path: Path
) -> None:
    some = rows[:5]
    replies = [(row, reply) for row in some for reply in (row.reply, row.rejected or "")]
    before = [slow_log_p(generator, row, reply) for row, reply in replies]
    torch.manual_seed(0)
    model = new_adapter(generator, CONFIG)
    judge = Judge(Lessons(model, generator), CONFIG)
    referred, _ = judge.refer(
        pairs(some, generator.template, CONFIG), split=len(some), cache=tmp_path
    )
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.2)
    judged = judge(referred)
    after = [slow_log_p(generator, row, reply) for row, reply in replies]
    moved = [now - then for now, then in zip(after, before, strict=True)]
    for i in range(len(some)):
        margin = CONFIG.beta * (moved[2 * i] - moved[2 * i + 1])
        assert abs(margin) > 1e-3, "no change, no proof"
        assert judged.margin[i].item() == pytest.approx(margin, rel=1e-3, abs=1e-5)
        assert judged.loss[i].item() == pytest.approx(math.log(1 + math.exp(-margin)), rel=1e-4)
        assert judged.preferred_nll[i].item() == pytest.approx(-after[2 * i], rel=1e-4)


def test_a_tie_is_half_a_hit() -> None:
    assert accuracy([1.0, -1.0, 0.0, 0.0]) == 0.5
    assert accuracy([0.1, 0.2]) == 1.0


def test_an_epoch_holds_every_pair_once(generator: Generator, rows: list[Row]) -> None:
    some = pairs(rows, generator.template, CONFIG)
    epoch = list(steps(some, 8, seed=0))
    assert [len(step) for step in epoch] == [8, 8, 8, 8, 4]
    assert sorted(id(p) for step in epoch for p in step) == sorted(id(p) for p in some)
    assert list(steps(some, 8, seed=0)) == epoch != list(steps(some, 8, seed=1))
    for step in epoch:
        parts = list(micro_batches(step, 200))
        assert sorted(id(p) for part in parts for p in part) == sorted(id(p) for p in step)
        for part in parts:
            assert len(part) == 1 or 2 * len(part) * max(p.width for p in part) <= 200


# -- the training


@pytest.fixture(scope="module")
def whole(
    make_generator: MakeGenerator, rows: list[Row], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, PreferenceOutcome, list[dict[str, Any]]]:
    folder = tmp_path_factory.mktemp("whole")
    return folder, *train(make_generator(), rows, folder)


def test_it_starts_at_its_reference_and_learns_to_tell_the_replies_apart(
    whole: tuple[Path, PreferenceOutcome, list[dict[str, Any]]],
) -> None:
    _, outcome, metrics = whole
    heldout = [m for m in metrics if "heldout_loss" in m]
    first = heldout[0]
    assert first["heldout_loss"] == pytest.approx(math.log(2), abs=1e-5)
    assert first["heldout_margin"] == pytest.approx(0, abs=1e-5)
    assert outcome.heldout_before == first["heldout_loss"]
    assert outcome.preferred_loss_before == pytest.approx(first["heldout_preferred_loss"], rel=1e-5)
    best = min(heldout, key=lambda m: m["heldout_loss"])
    assert outcome.heldout_after == best["heldout_loss"] < 0.5 * outcome.heldout_before
    assert outcome.accuracy == best["heldout_accuracy"] == 1.0
    assert outcome.margin == pytest.approx(best["heldout_margin"], rel=1e-5)
    assert outcome.margin > 0.5 and outcome.stopped == "epochs"


def test_the_metrics_are_lines_with_steps(
    whole: tuple[Path, PreferenceOutcome, list[dict[str, Any]]],
) -> None:
    _, outcome, metrics = whole
    assert metrics[0] == {"step": 0, "train_rows": 24, "dev_rows": 6}
    told = [m for m in metrics if "loss" in m]
    assert [m["step"] for m in told] == list(range(1, outcome.steps + 1))
    assert told[-1]["rows"] == outcome.rows == 3 * 24 and told[-1]["tokens"] == outcome.tokens
    assert all({"accuracy", "margin", "learning_rate"} <= m.keys() for m in told)
    assert told[0]["accuracy"] == 0.5 and told[-1]["accuracy"] > 0.9


class Killed(BaseException):
    """Stands for the end of the process in the middle of a training."""


@pytest.mark.parametrize("killed_at", [1, 5])
def test_an_interrupted_training_ends_with_the_same_weights(
    whole: tuple[Path, PreferenceOutcome, list[dict[str, Any]]],
    make_generator: MakeGenerator,
    rows: list[Row],
    tmp_path: Path,
    killed_at: int,
) -> None:
    folder, uninterrupted, _ = whole

    def kill(metrics: dict[str, Any]) -> None:
        if metrics["step"] == killed_at and "loss" in metrics:
            raise Killed

    with pytest.raises(Killed):
        train(make_generator(), rows, tmp_path, report=kill)
    outcome, metrics = train(make_generator(), rows, tmp_path)
    assert metrics[0]["step"] == killed_at - 1
    assert replace(outcome, seconds=0) == replace(uninterrupted, seconds=0)
    expected = load_file(folder / "best" / "adapter_model.safetensors")
    resumed = load_file(tmp_path / "best" / "adapter_model.safetensors")
    assert all(torch.equal(resumed[name], expected[name]) for name in expected)


def test_the_size_of_the_parts_changes_nothing_but_the_memory(
    make_generator: MakeGenerator, rows: list[Row], tmp_path: Path
) -> None:
    outcomes = []
    for tokens in (1, 100_000):
        config = replace(CONFIG, micro_tokens=tokens, max_epochs=1)
        outcomes.append(train(make_generator(), rows, tmp_path / str(tokens), config)[0])
    one, other = outcomes
    assert one.heldout_after == pytest.approx(other.heldout_after, rel=1e-2)
    assert one.margin == pytest.approx(other.margin, rel=1e-2) and one.steps == other.steps


def test_the_preferred_replys_own_loss_keeps_it_from_drifting(
    make_generator: MakeGenerator, rows: list[Row], tmp_path: Path
) -> None:
    after = {}
    for weight in (0.0, 1.0):
        config = replace(CONFIG, sft_weight=weight)
        outcome, _ = train(make_generator(), rows, tmp_path / str(weight), config)
        after[weight] = outcome.preferred_loss_after
    assert after[1.0] < after[0.0] - 0.1


def test_a_training_from_a_version_has_that_version_as_its_reference(
    whole: tuple[Path, PreferenceOutcome, list[dict[str, Any]]],
    make_generator: MakeGenerator,
    rows: list[Row],
    tmp_path: Path,
) -> None:
    parent = whole[0] / "best"
    outcome, metrics = train(make_generator(), rows, tmp_path, parent=parent)
    assert metrics[1]["heldout_loss"] == pytest.approx(math.log(2), abs=1e-5)
    assert outcome.preferred_loss_before == pytest.approx(whole[1].preferred_loss_after, rel=1e-4)
    assert outcome.heldout_after < outcome.heldout_before
    # What it was trained to stays: against the base its margin is wider than the parent's.
    generator = make_generator()
    model = new_adapter(generator, CONFIG)
    judge = Judge(Lessons(model, generator), CONFIG)
    dev = [row for row in rows if row.split == "dev"]
    (tmp_path / "reference.json").unlink()
    _, referred = judge.refer(pairs(dev, generator.template, CONFIG), split=0, cache=tmp_path)
    load_adapter(model, tmp_path / "best")
    assert judge.heldout(referred)["heldout_margin"] > whole[1].margin


def test_rows_without_a_rejected_reply_are_left_out(
    generator: Generator, rows: list[Row], tmp_path: Path
) -> None:
    plain = [replace(row, rejected=None) for row in rows if row.split == "dev"]
    with pytest.raises(ExamplesError, match="too few preferences"):
        train(generator, [*plain, *(r for r in rows if r.split == "train")], tmp_path)


def test_rows_that_are_too_long_are_refused_with_their_lines(
    generator: Generator, rows: list[Row], tmp_path: Path
) -> None:
    long = replace(rows[0], rejected="no " * 100, line=77)
    with pytest.raises(ExamplesError, match=r"^line 77: \d+ tokens; at most 200 fit$"):
        train(generator, [*rows, long], tmp_path, replace(CONFIG, row_tokens=200))


def test_max_minutes_ends_a_training_with_an_evaluation(
    generator: Generator, rows: list[Row], tmp_path: Path
) -> None:
    config = replace(CONFIG, max_epochs=50, max_minutes=0.6, evaluations_per_epoch=1)
    outcome, metrics = train(generator, rows, tmp_path, config)
    assert outcome.stopped == "minutes" and outcome.seconds <= 45
    assert "heldout_loss" in metrics[-1] and metrics[-1]["step"] == outcome.steps


def test_a_loss_that_is_no_number_ends_the_training_with_step_and_learning_rate(
    generator: Generator, rows: list[Row], tmp_path: Path
) -> None:
    config = replace(CONFIG, learning_rate=1e36, warmup=0.0)
    with pytest.raises(Diverged, match=r"^step \d+: the .* learning rate of \d+e\+3\d"):
        train(generator, rows, tmp_path, config)
