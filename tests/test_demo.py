"""The demo from end to end: on tiny models, where the form counts, and on the real ones."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from server import demo
from server.settings import Settings

FIELDS = [
    "ok",
    "documents",
    "passages",
    "ingest_seconds",
    "train_seconds",
    "train_tokens_per_second",
    "heldout_loss_before",
    "heldout_loss_after",
    "answers",
]


def summary_of(output: str) -> dict[str, Any]:
    """The last line, checked for its form."""
    summary: dict[str, Any] = json.loads(output.splitlines()[-1])
    assert list(summary) == FIELDS
    assert summary["ok"] is True
    assert summary["passages"] > summary["documents"]
    assert summary["train_tokens_per_second"] > 0
    assert len(summary["answers"]) == len(demo.ASKED)
    for answer in summary["answers"]:
        assert {"question", "before", "after", "citations", "expected_facts_found"} == set(answer)
    return summary


@pytest.fixture
def small_data(tmp_path: Path) -> Path:
    """The demo's data with five of its documents and forty of its replies."""
    folder = tmp_path / "data"
    (folder / "documents").mkdir(parents=True)
    (folder / "voices").mkdir()
    for path in sorted((demo.DATA / "documents").glob("*.md"))[:5]:
        shutil.copy(path, folder / "documents")
    shutil.copy(demo.DATA / "questions.jsonl", folder)
    replies = (demo.DATA / "voices" / "support.jsonl").read_text().splitlines(keepends=True)
    (folder / "voices" / "support.jsonl").write_text("".join(replies[:40]))
    return folder


@pytest.mark.workers
def test_the_demo_shows_all_of_it_and_keeps_its_work(
    tiny_settings: Settings,
    tmp_path: Path,
    small_data: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings = replace(tiny_settings, data_dir=tmp_path, worker_threads=1)
    demo.run(settings, minutes=0.05, data=small_data)
    first = capsys.readouterr()
    summary = summary_of(first.out)
    assert summary["documents"] == 5
    assert "5 documents" in first.err and "(0 unchanged)" in first.err
    assert "held-out loss" in first.err
    assert "\x1b" not in first.out + first.err  # this is no terminal
    assert "ask --model" in first.out

    demo.run(settings, minutes=0.05, keep=True, data=small_data)
    again = capsys.readouterr()
    assert "(5 unchanged)" in again.err
    kept = summary_of(again.out)
    for name in ("passages", "train_seconds", "heldout_loss_before", "heldout_loss_after"):
        assert kept[name] == summary[name]


@pytest.mark.real
@pytest.mark.timeout(600)
def test_the_real_demo_learns_and_cites(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    demo.run(Settings(data_dir=tmp_path), minutes=0.5)
    summary = summary_of(capsys.readouterr().out)
    assert summary["documents"] == len(list((demo.DATA / "documents").iterdir()))
    assert summary["heldout_loss_after"] < summary["heldout_loss_before"]
    assert any(answer["citations"] for answer in summary["answers"])
    assert any(answer["before"] != answer["after"] for answer in summary["answers"])
