"""The training: its loss is the plain one, its batches are whole, and it can be interrupted."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import set_peft_model_state_dict
from safetensors.torch import load_file

from tuning.adapter import new_adapter
from tuning.checkpoint import Checkpoints, Progress
from tuning.errors import Diverged, ExamplesError
from tuning.generator import Generator
from tuning.lessons import Encoded, Lessons, batches, encode
from tuning.records import Row, VoiceConfig
from tuning.voice import AS_GOOD, Outcome, practise, schedule, train_voice

MakeGenerator = Callable[[], Generator]
CONFIG = VoiceConfig(
    rank=4, learning_rate=3e-2, max_epochs=4, batch_tokens=200, patience=100, checkpoint_seconds=0
)


def ticking() -> Callable[[], float]:
    """A clock that moves on by a second whenever it is read."""
    return itertools.count(1.0).__next__


def train(
    generator: Generator, rows: list[Row], folder: Path, config: VoiceConfig = CONFIG
) -> tuple[Outcome, list[dict[str, Any]]]:
    metrics: list[dict[str, Any]] = []
    outcome = train_voice(
        generator,
        rows,
        config,
        checkpoints=Checkpoints(folder),
        report=metrics.append,
        clock=ticking(),
    )
    return outcome, metrics


def encoded_rows(generator: Generator, seed: int = 0) -> list[Encoded]:
    random_ = random.Random(seed)
    rows = [
        Row(
            ({"role": "user", "content": "word " * random_.randint(1, 20)},),
            "reply " * random_.randint(1, 9),
            "train",
            "chat",
            "",
        )
        for _ in range(9)
    ]
    return encode(rows, generator.template, VoiceConfig())


# -- the loss


def heldout_of(generator: Generator, folder: Path, rows: list[Row]) -> float:
    """The held-out loss of the adapter in a folder, measured afresh."""
    model = new_adapter(generator, CONFIG)
    set_peft_model_state_dict(model, load_file(folder / "adapter_model.safetensors"))
    dev = encode([r for r in rows if r.split == "dev"], generator.template, CONFIG)
    return Lessons(model, generator).heldout(dev, CONFIG)


def slow_loss(generator: Generator, rows: list[Encoded]) -> float:
    """The sum over rows of what the plain model says of each alone, with labels."""
    total = 0.0
    for row in rows:
        labels = [-100] * row.reply_start + row.ids[row.reply_start :]
        with torch.no_grad():
            out = generator.model(torch.tensor([row.ids]), labels=torch.tensor([labels]))
        total += out.loss.item() * (len(row.ids) - row.reply_start)
    return total


def test_the_loss_of_a_padded_batch_is_what_the_plain_model_says_of_each_row(
    generator: Generator,
) -> None:
    rows = encoded_rows(generator)
    assert len({len(row.ids) for row in rows}) > 3, "no padding, no proof"
    lessons = Lessons(generator.model, generator)
    expected = slow_loss(generator, rows)
    assert lessons.loss(rows, reduction="sum").item() == pytest.approx(expected, rel=1e-5)
    tokens = sum(len(row.ids) - row.reply_start for row in rows)
    assert lessons.loss(rows).item() == pytest.approx(expected / tokens, rel=1e-5)


def test_padding_changes_no_rows_loss(generator: Generator) -> None:
    lessons = Lessons(generator.model, generator)
    *short, long = sorted(encoded_rows(generator), key=lambda row: len(row.ids))
    of_long = lessons.loss([long], reduction="sum").item()
    for row in short:
        alone = lessons.loss([row], reduction="sum").item()
        beside = lessons.loss([row, long], reduction="sum").item() - of_long
        assert beside == pytest.approx(alone, rel=1e-4)


def test_the_gradient_of_a_batch_is_that_of_the_plain_loss(make_generator: MakeGenerator) -> None:
    gradients = []
    for plain in (False, True):
        generator = make_generator()
        torch.manual_seed(0)
        model = new_adapter(generator, CONFIG)
        row = encoded_rows(generator)[0]
        if plain:
            labels = [-100] * row.reply_start + row.ids[row.reply_start :]
            model(torch.tensor([row.ids]), labels=torch.tensor([labels])).loss.backward()
        else:
            Lessons(model, generator).loss([row]).backward()
        gradients.append({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
    hooked, plain_ones = gradients
    assert hooked.keys() == plain_ones.keys() and all("lora_" in name for name in hooked)
    for name, gradient in hooked.items():
        torch.testing.assert_close(gradient, plain_ones[name], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("tokens", [1, 90, 200])
def test_parts_of_a_batch_add_up_to_the_gradient_of_the_whole(
    make_generator: MakeGenerator, tokens: int
) -> None:
    gradients, losses = [], []
    for part_tokens in (tokens, 100_000):
        generator = make_generator()
        torch.manual_seed(0)
        model = new_adapter(generator, CONFIG)
        losses.append(Lessons(model, generator).learn(encoded_rows(generator), part_tokens))
        gradients.append({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
    parted, whole = gradients
    assert losses[0] == pytest.approx(losses[1], rel=1e-5) and parted.keys() == whole.keys()
    for name, gradient in parted.items():
        torch.testing.assert_close(gradient, whole[name], rtol=1e-3, atol=1e-5)


def test_the_heldout_loss_is_the_mean_over_reply_tokens(generator: Generator) -> None:
    rows = encoded_rows(generator)
    tokens = sum(len(row.ids) - row.reply_start for row in rows)
    for micro_tokens in (1, 200, 100_000):
        config = VoiceConfig(micro_tokens=micro_tokens)
        loss = Lessons(generator.model, generator).heldout(rows, config)
        assert loss == pytest.approx(slow_loss(generator, rows) / tokens, rel=1e-5)


# -- rows and batches


def test_a_row_is_its_prompt_and_its_reply_with_the_end_of_turn(
    generator: Generator, toy_rows: list[Row]
) -> None:
    [row] = encode(toy_rows[:1], generator.template, VoiceConfig())
    template = generator.template
    assert row.ids[: row.reply_start] == template.prompt(toy_rows[0].messages)
    assert row.ids[row.reply_start :] == template.reply(toy_rows[0].reply)
    assert row.ids[-1] in generator.stop_ids


def test_rows_that_are_too_long_are_refused_with_their_lines(
    generator: Generator, toy_rows: list[Row]
) -> None:
    rows = [*toy_rows[:3], replace(toy_rows[3], reply="house " * 50, line=77)]
    with pytest.raises(ExamplesError, match=r"^line 77: \d+ tokens; at most 100 fit$"):
        encode(rows, generator.template, VoiceConfig(row_tokens=100))


@given(
    lengths=st.lists(st.integers(1, 60), max_size=200),
    tokens=st.integers(1, 300),
    seed=st.integers(0, 3),
)
def test_an_epoch_holds_every_row_once_in_batches_of_the_padded_budget(
    lengths: list[int], tokens: int, seed: int
) -> None:
    rows = [Encoded([n] * length, 1) for n, length in enumerate(lengths)]
    cut = list(batches(rows, tokens, seed=seed))
    assert sorted(row.ids for batch in cut for row in batch) == sorted(row.ids for row in rows)
    for batch in cut:
        padded = len(batch) * max(len(row.ids) for row in batch)
        assert len(batch) == 1 or padded <= tokens
    assert list(batches(rows, tokens, seed=seed)) == cut, "the same seed gives the same batches"


def test_another_epoch_has_other_batches() -> None:
    rows = [Encoded([n] * (n % 7 + 1), 1) for n in range(100)]
    assert list(batches(rows, 30, seed=0)) != list(batches(rows, 30, seed=1))


def test_the_learning_rate_warms_up_and_falls_to_a_tenth() -> None:
    rates = [schedule(done / 100, 0.06) for done in range(101)]
    peak = rates.index(max(rates))
    assert (peak, rates[peak], rates[0]) == (6, 1.0, 0.1)
    assert rates[:7] == sorted(rates[:7]) and rates[6:] == sorted(rates[6:], reverse=True)
    assert rates[-1] == pytest.approx(0.1) and schedule(5.0, 0.06) == pytest.approx(0.1)


# -- the training


@pytest.fixture(scope="module")
def uninterrupted(
    make_generator: MakeGenerator,
    toy_rows: list[Row],
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, Outcome, list[dict[str, Any]]]:
    folder = tmp_path_factory.mktemp("uninterrupted")
    return folder, *train(make_generator(), toy_rows, folder)


def test_training_lowers_the_heldout_loss_of_what_can_be_learned(
    uninterrupted: tuple[Path, Outcome, list[dict[str, Any]]],
) -> None:
    _, outcome, metrics = uninterrupted
    heldout = [m["heldout_loss"] for m in metrics if "heldout_loss" in m]
    assert heldout[0] == outcome.heldout_before
    as_good = [loss for loss in heldout if loss <= min(heldout) * (1 + AS_GOOD)]
    assert as_good[-1] == outcome.heldout_after < 0.8 * outcome.heldout_before
    assert outcome.stopped == "epochs"


def test_the_metrics_count_steps_rows_and_tokens(
    uninterrupted: tuple[Path, Outcome, list[dict[str, Any]]], toy_rows: list[Row]
) -> None:
    _, outcome, metrics = uninterrupted
    assert metrics[0] == {"step": 0, "train_rows": 24, "dev_rows": 6}
    steps = [m for m in metrics if "loss" in m]
    assert [m["step"] for m in steps] == list(range(1, outcome.steps + 1))
    assert steps[-1]["rows"] == outcome.rows == CONFIG.max_epochs * 24
    assert steps[-1]["tokens"] == outcome.tokens
    assert steps[-1]["epoch"] == CONFIG.max_epochs
    evaluated = [m["step"] for m in metrics if "heldout_loss" in m]
    assert evaluated[0] == 0 and evaluated[-1] == outcome.steps
    assert len(set(evaluated)) == len(evaluated)


def test_the_best_adapter_on_disk_has_the_loss_that_was_reported(
    uninterrupted: tuple[Path, Outcome, list[dict[str, Any]]],
    generator: Generator,
    toy_rows: list[Row],
) -> None:
    folder, outcome, _ = uninterrupted
    loss = heldout_of(generator, folder / "best", toy_rows)
    assert loss == pytest.approx(outcome.heldout_after, rel=1e-5)


class Killed(BaseException):
    """Stands for the end of the process in the middle of a training."""


def tensors(folder: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """All weights of the best adapter, and weights and moments of the last step."""
    last = max(folder.glob("step-*"))
    for file in (*folder.glob("best/*.safetensors"), *last.glob("*.safetensors")):
        for name, value in load_file(file).items():
            yield f"{file.relative_to(folder)}: {name}", value


@pytest.mark.parametrize("killed_at", [1, 3, 4, 9])
def test_an_interrupted_training_ends_with_the_same_weights(
    uninterrupted: tuple[Path, Outcome, list[dict[str, Any]]],
    make_generator: MakeGenerator,
    toy_rows: list[Row],
    tmp_path: Path,
    killed_at: int,
) -> None:
    whole_folder, whole, _ = uninterrupted
    assert whole.steps > 9

    def report(metrics: dict[str, Any]) -> None:
        if metrics["step"] == killed_at and "loss" in metrics:
            raise Killed

    with pytest.raises(Killed):
        train_voice(
            make_generator(),
            toy_rows,
            CONFIG,
            checkpoints=Checkpoints(tmp_path),
            report=report,
            clock=ticking(),
        )
    torch.rand(5)  # another process has another random state
    outcome, metrics = train(make_generator(), toy_rows, tmp_path)
    assert metrics[0]["step"] == killed_at - 1
    assert replace(outcome, seconds=0) == replace(whole, seconds=0)
    expected = dict(tensors(whole_folder))
    resumed = dict(tensors(tmp_path))
    assert resumed.keys() == expected.keys() and len(expected) > 20
    assert all(torch.equal(resumed[name], expected[name]) for name in expected)


def test_a_training_that_was_killed_at_its_end_only_hands_over_its_result(
    uninterrupted: tuple[Path, Outcome, list[dict[str, Any]]],
    make_generator: MakeGenerator,
    toy_rows: list[Row],
) -> None:
    folder, whole, _ = uninterrupted
    before = dict(tensors(folder))
    outcome, metrics = train(make_generator(), toy_rows, folder)
    assert len(metrics) == 1 and replace(outcome, seconds=0) == replace(whole, seconds=0)
    assert all(torch.equal(value, before[name]) for name, value in tensors(folder))


def test_max_minutes_ends_a_training_with_an_evaluation(
    generator: Generator, toy_rows: list[Row], tmp_path: Path
) -> None:
    config = replace(CONFIG, max_epochs=50, max_minutes=0.5, evaluations_per_epoch=1)
    outcome, metrics = train(generator, toy_rows, tmp_path, config)
    assert outcome.stopped == "minutes"
    assert 1 <= outcome.steps < 30 and 20 <= outcome.seconds <= 40
    assert metrics[-1].keys() == {"step", "heldout_loss"}
    assert metrics[-1]["step"] == outcome.steps
    rates = [m["learning_rate"] for m in metrics if "learning_rate" in m]
    assert rates[-1] < 0.3 * max(rates), "the learning rate falls by the clock"


def test_a_training_that_gets_worse_stops_early_and_keeps_the_best(
    make_generator: MakeGenerator, toy_rows: list[Row], tmp_path: Path
) -> None:
    config = replace(CONFIG, max_epochs=50, learning_rate=20.0, warmup=0.0, patience=2)
    outcome, metrics = train(make_generator(), toy_rows, tmp_path, config)
    heldout = [m["heldout_loss"] for m in metrics if "heldout_loss" in m]
    best = heldout.index(min(heldout))
    assert outcome.stopped == "patience" and len(heldout) == best + 1 + config.patience
    assert outcome.heldout_after == heldout[best] <= outcome.heldout_before
    loss = heldout_of(make_generator(), tmp_path / "best", toy_rows)
    assert loss == pytest.approx(heldout[best], rel=1e-4)


def test_of_checkpoints_that_are_as_good_the_last_is_kept(
    generator: Generator, tmp_path: Path
) -> None:
    losses = iter([3.0, 2.0, 2.03, 2.05, 1.999, 2.045])
    kept: list[int] = []

    class Watched(Checkpoints):
        def keep_best(self, model: Any, progress: Progress) -> None:
            kept.append(progress.step)

    outcome = practise(
        new_adapter(generator, CONFIG),
        [[Encoded([1, 2], 1)]] * 5,
        replace(CONFIG, max_epochs=1, evaluations_per_epoch=5, patience=2),
        learn=lambda _: {"loss": 0.0},
        heldout=lambda: {"heldout_loss": next(losses)},
        sizes={},
        checkpoints=Watched(tmp_path),
        report=lambda _: None,
        clock=ticking(),
    )
    assert kept == [0, 1, 2, 4] and outcome.stopped == "epochs"
    assert (outcome.heldout_before, outcome.heldout_after) == (3.0, 1.999)


def test_a_loss_that_is_no_number_ends_the_training_with_step_and_learning_rate(
    generator: Generator, toy_rows: list[Row], tmp_path: Path
) -> None:
    config = replace(CONFIG, learning_rate=1e36, warmup=0.0)
    words = r"^step \d+: the .* became (nan|inf) at a learning rate of \S+e\+3\d: lower"
    with pytest.raises(Diverged, match=words):
        train(generator, toy_rows, tmp_path, config)


def test_a_training_goes_on_from_a_version(
    uninterrupted: tuple[Path, Outcome, list[dict[str, Any]]],
    generator: Generator,
    toy_rows: list[Row],
    tmp_path: Path,
) -> None:
    folder, outcome, _ = uninterrupted
    further = train_voice(
        generator,
        toy_rows,
        replace(CONFIG, learning_rate=1e-3),
        checkpoints=Checkpoints(tmp_path),
        report=lambda _: None,
        parent=folder / "best",
    )
    assert further.heldout_before == pytest.approx(outcome.heldout_after, rel=1e-5)
    assert further.heldout_after < outcome.heldout_after


@pytest.mark.parametrize("missing", ["train", "dev"])
def test_a_training_without_rows_to_learn_or_to_hold_out_is_refused(
    generator: Generator, toy_rows: list[Row], tmp_path: Path, missing: str
) -> None:
    with pytest.raises(ExamplesError, match="too few examples to train on"):
        train(generator, [row for row in toy_rows if row.split != missing], tmp_path)


def test_no_row_of_the_gate_is_looked_at(
    uninterrupted: tuple[Path, Outcome, list[dict[str, Any]]],
    generator: Generator,
    toy_rows: list[Row],
    tmp_path: Path,
) -> None:
    without = [row for row in toy_rows if row.split != "gate"]
    outcome, _ = train(generator, without, tmp_path)
    assert replace(outcome, seconds=0) == replace(uninterrupted[1], seconds=0)
