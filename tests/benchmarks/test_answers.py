"""`benchmarks.answers` on any files: real code on tiny models, and its figures."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.answers import Answer, main, measure, unsupported
from retrieval.records import Hit, Passage
from server.settings import Settings

PASSAGE = Passage(1, "f", "s", 0, 0, 36, "Returns are taken for 45 days. Hello", 1, "Returns", 9)
HIT = Hit(PASSAGE, "returns.txt", {}, 1.0, 1.0, 1.0, "g")
QUESTIONS = [
    {"question": "How long?", "expected": ["45 days"], "document": "returns.txt"},
    {"question": "Who owns the 3 shops?", "answerable": False},
]


def test_the_figures_are_those_of_the_answers() -> None:
    good = Answer("45 days. [1]", (HIT,), (HIT,))
    decline = Answer("I don't have that in our documents.", (), (HIT,))
    found = measure(QUESTIONS, [good, decline])
    assert (found["expected_found"], found["cited_right_document"]) == (1, 1)
    assert (found["declined_unanswerable"], found["false_refusals"]) == (1, 0)
    assert found["unsupported_figures"] == 0 and found["median_words"] == 5
    found = measure(QUESTIONS, [decline, good])
    assert (found["expected_found"], found["false_refusals"]) == (0, 1)


def test_a_figure_is_unsupported_where_neither_passage_nor_question_holds_it() -> None:
    answer = Answer("All 3 shops take returns for 60 days. [2]", (), (HIT,))
    assert unsupported("Who owns the 3 shops?", answer) == {"60"}


def test_it_runs_on_any_files(
    tmp_path: Path,
    tiny_settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    documents = tmp_path / "documents"
    documents.mkdir()
    (documents / "returns.txt").write_text("Returns are taken for 45 days. Bring the receipt.")
    (tmp_path / "questions.jsonl").write_text("\n".join(map(json.dumps, QUESTIONS)))
    settings = replace(tiny_settings, data_dir=tmp_path / "state", grounding="strict")
    monkeypatch.setattr(Settings, "load", lambda **changes: settings)
    arguments = ["--documents", str(documents), "--questions", str(tmp_path / "questions.jsonl")]
    main([*arguments, "--answers", str(tmp_path / "answers.jsonl")])
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["policy"] == "strict" and result["unsupported_figures"] == 0
    assert set(result["bare"]) < set(result) and result["attribution_overhead"] > 0
    kept = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    assert [line["question"] for line in kept] == [line["question"] for line in QUESTIONS]
    assert all(line["answer"] for line in kept)
