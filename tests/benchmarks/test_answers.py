"""`benchmarks.answers` on any files: real code on tiny models, and its figures."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.answers import Answer, _bare, main, measure, unsupported
from retrieval.records import Hit, Passage
from server.answer import Prepared, Question
from server.settings import Settings
from tuning.generate import Sampling

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


def test_a_draft_cites_only_what_its_text_names() -> None:
    message = {"role": "user", "content": "How long?"}
    question = Question("base", (message,), Sampling())
    item = Prepared(question, "local", "base", None, (), (HIT,), (message,))
    assert _bare(item, "45 days, says Returns.txt.").cited == (HIT,)
    assert _bare(item, "45 days. [1]").cited == ()


@pytest.fixture
def run(
    tmp_path: Path,
    tiny_settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., dict[str, Any]]:
    """Run the benchmark on one document and some questions; returns its JSON line."""
    documents = tmp_path / "documents"
    documents.mkdir()
    (documents / "returns.txt").write_text("Returns are taken for 45 days. Bring the receipt.")
    settings = replace(tiny_settings, data_dir=tmp_path / "state", grounding="strict")
    monkeypatch.setattr(Settings, "load", lambda **changes: settings)

    def run(questions: list[dict[str, Any]], *more: str) -> dict[str, Any]:
        file = tmp_path / "questions.jsonl"
        file.write_text("\n".join(map(json.dumps, questions)))
        main(["--documents", str(documents), "--questions", str(file), *more])
        result: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
        return result

    return run


def test_a_broken_document_and_a_long_question_end_nothing(run, tmp_path: Path) -> None:
    (tmp_path / "documents" / "broken.pdf").write_bytes(b"%PDF-1.4 no")
    long = {"question": "How long? " * 4000, "expected": ["45 days"], "document": "returns.txt"}
    result = run([*QUESTIONS, long])
    assert (result["failed_documents"], result["refused_questions"]) == (1, 1)
    assert result["expected_found"] <= 0.5, "what is refused is not found"


def test_a_voice_of_labels_is_asked_as_it_is_served(
    run, tmp_path: Path, tiny_settings: Settings, add_voice: Callable[..., str]
) -> None:
    task = {"kind": "label", "uses_documents": False, "labels": ["refund", "order"]}
    add_voice(replace(tiny_settings, data_dir=tmp_path / "state"), "sorter", task)
    answers = tmp_path / "answers.jsonl"
    result = run(QUESTIONS, "--voice", "sorter", "--answers", str(answers))
    assert result["voice"] == "sorter" and result["policy"] == "off"
    kept = [json.loads(line) for line in answers.read_text().splitlines()]
    assert {line["answer"] for line in kept} <= {"refund", "order"}
    assert not any(line["cited"] for line in kept)


def test_it_runs_on_any_files(run, tmp_path: Path) -> None:
    result = run(QUESTIONS, "--answers", str(tmp_path / "answers.jsonl"))
    assert result["policy"] == "strict" and result["unsupported_figures"] == 0
    assert result["bare"]["cited_right_document"] == 0
    assert set(result["bare"]) < set(result)
    assert result["attribution_overhead"] > result["evidence_overhead"] > 0
    kept = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    assert [line["question"] for line in kept] == [line["question"] for line in QUESTIONS]
    assert all(line["answer"] for line in kept)
