"""`benchmarks.voice` on pairs of any length: real code on tiny models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from benchmarks.voice import Pair, measure
from server.client import ClientError
from server.settings import Settings


def pair(number: int, *, times: int = 1) -> Pair:
    return Pair(f"Case {number}. " * times, f"Dear friend, it is {number}.", str(number), False)


def test_what_is_too_long_for_the_context_is_left_out_and_told(
    tmp_path: Path, tiny_settings: Settings, add_voice: Callable[..., str]
) -> None:
    settings = replace(tiny_settings, data_dir=tmp_path / "state")
    task = {"kind": "text", "uses_documents": False}
    id_ = add_voice(settings, "notes", task)
    result = {"task": task, "seconds": 1.0, "tokens_per_second": 1.0}
    job: dict[str, Any] = {"id": "none", "fine_tuned_model": id_, "result": result}
    console = Console(record=True, width=400)
    train = [pair(n) for n in range(12)]
    long = pair(99, times=4000)
    questions = [{"question": "Who?"}, {"question": "Who? " * 4000}]
    made, texts = measure(
        settings, job, [*train, long], [pair(20), long, pair(21)], questions, console
    )
    assert {id_ for id_ in texts if ":pair:" in id_} == {
        f"{arm}:pair:{n}" for arm in ("base", "few_shot", "tuned") for n in range(2)
    }
    assert {id_ for id_ in texts if id_.startswith("tuned:question:")} == {"tuned:question:0"}
    assert len([id_ for id_ in texts if id_.startswith("style:")]) == 12
    assert made["tuned"]["rougeL"] is not None and made["verdict"]
    assert console.export_text().count("left out: ") == 3
    with pytest.raises(ClientError, match="nothing to measure"):
        measure(settings, job, train, [long], [], console)
