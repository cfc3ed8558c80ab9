"""The run folder: what is read is whole, whatever happened while it was written."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuning.errors import RunError
from tuning.records import Row, VoiceConfig
from tuning.run import Run


@pytest.fixture
def run(tmp_path: Path, toy_rows: list[Row]) -> Run:
    return Run.create(tmp_path / "run", config={"voice": "support"}, rows=toy_rows)


def told(run: Run, start: int = 0) -> list[dict[str, Any]]:
    return [metrics for _, metrics in run.metrics(start=start)]


def test_rows_and_config_come_back_as_they_were_written(run: Run, toy_rows: list[Row]) -> None:
    assert run.exists and run.config() == {"voice": "support"}
    assert run.rows() == toy_rows


def test_text_of_all_kinds_survives_the_run_folder(tmp_path: Path) -> None:
    text = "one\u2028two\x85three\x1c\r\nfour\té日🎉\x00"
    row = Row(({"role": "user", "content": text},), text, "dev", "none", text)
    assert Run.create(tmp_path / "run", config={}, rows=[row]).rows() == [row]


def test_a_new_run_leaves_nothing_of_an_old_one(run: Run) -> None:
    run.report({"step": 1})
    run.fail("it broke")
    again = Run.create(run.folder, config={}, rows=[])
    assert (told(again), again.failure(), again.rows()) == ([], None, [])


def test_a_run_exists_once_its_config_does(run: Run, tmp_path: Path) -> None:
    (run.folder / "config.json").unlink()
    assert not run.exists
    with pytest.raises(RunError, match="is not a run folder"):
        run.config()
    with pytest.raises(RunError, match="is not a run folder"):
        Run(tmp_path / "nothing").config()


def test_metrics_are_read_on_from_where_one_stopped(run: Run) -> None:
    assert told(run) == []
    for step in range(3):
        run.report({"step": step})
    offsets = [offset for offset, _ in run.metrics()]
    assert told(run, offsets[0]) == [{"step": 1}, {"step": 2}]
    assert told(run, offsets[-1]) == []
    run.report({"step": 3})
    assert told(run, offsets[-1]) == [{"step": 3}]


def test_a_line_that_is_being_written_is_not_read_yet(run: Run) -> None:
    run.report({"step": 1})
    with (run.folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 2, "lo')
        file.flush()
        assert told(run) == [{"step": 1}]
        file.write('ss": 0.5}\n')
    assert told(run) == [{"step": 1}, {"step": 2, "loss": 0.5}]


@given(cut=st.integers(0, 20))
def test_a_torn_line_is_skipped_and_costs_no_other(
    tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    # The report after a torn line was once glued to it, and lost with it.
    run = Run(tmp_path_factory.mktemp("run"))
    run.report({"step": 1, "loss": 0.5})
    run.report({"step": 2, "loss": 0.4})
    path = run.folder / "metrics.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) - cut])
    left = [1, 2] if cut == 0 else [1]
    run.report({"step": 3})
    if cut == 1:  # only the line's end was lost
        left = [1, 2]
    assert [m["step"] for m in told(run)] == [*left, 3]


def test_a_failure_is_told_in_its_words(run: Run) -> None:
    assert run.failure() is None
    run.fail("the disk is full: /é")
    assert run.failure() == "the disk is full: /é"
    (run.folder / "error.json").write_text("{")
    assert run.failure() is None


def test_there_is_no_outcome_before_there_is_a_result(run: Run) -> None:
    assert run.outcome() is None
    run.keep_trained({"steps": 3})
    assert run.outcome() is None and run.trained() == {"steps": 3}
    run.finish({"steps": 3})
    assert run.outcome() == {"steps": 3}


def test_a_config_keeps_what_it_knows_and_its_defaults_for_the_rest() -> None:
    config = VoiceConfig.from_json({"rank": 4, "max_minutes": None, "from_the_future": 1})
    assert config == VoiceConfig(rank=4)


def test_the_server_can_use_the_run_folder_without_torch() -> None:
    script = "import sys, tuning.run, tuning.examples; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True, cwd=Path(__file__).parents[2])
