"""Texts without questions become pairs for review, by the real worker on the tiny model."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from server.cli import main
from server.pairing import PairingError, pair_texts
from server.search_pairs import read_pairs
from server.settings import Settings
from tuning.records import Text
from tuning.run import Run
from tuning.texts import read_texts

pytestmark = pytest.mark.workers

TEXTS = b"""# Returns

Returns are taken for 45 days after the order, with the receipt.

# Hours

The store in the harbour is open from nine to six, and closed on Sundays.
"""


@pytest.fixture
def settings(tiny_settings: Settings, tmp_path: Path) -> Settings:
    return replace(tiny_settings, data_dir=tmp_path, worker_threads=1)


def test_every_text_is_kept_or_left_out_with_a_reason(settings: Settings, tmp_path: Path) -> None:
    file, pairs = tmp_path / "past.md", tmp_path / "pairs.jsonl"
    file.write_bytes(TEXTS)
    env = {
        "HOUSEWORD_DATA_DIR": str(tmp_path),
        "HOUSEWORD_GENERATOR": settings.generator,
        "HOUSEWORD_EMBEDDER": settings.embedder,
        "HOUSEWORD_DEVICE": "cpu",
    }
    result = CliRunner().invoke(main, ["data", "pairs", str(file), str(pairs), "--json"], env=env)
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["kept"] + len(told["dropped"]) == 2
    assert len(pairs.read_text().splitlines()) == told["kept"]
    for dropped in told["dropped"]:
        assert dropped["line"] in (3, 7) and dropped["reason"]


def test_a_faulty_file_is_told_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "past.jsonl"
    file.write_text('{"text": "We open at nine."}\n{oops\n')
    asked = ["data", "pairs", str(file), str(tmp_path / "pairs.jsonl")]
    result = CliRunner().invoke(main, asked, env={"HOUSEWORD_DATA_DIR": str(tmp_path)})
    assert result.exit_code == 1 and isinstance(result.exception, SystemExit)
    assert result.stderr.startswith("houseword: line 2: broken JSON")
    assert not (tmp_path / "pairs.jsonl").exists()


def test_questions_of_a_stores_passages_are_kept_or_left_out(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "past.md").write_bytes(TEXTS)
    written = tmp_path / "questions.jsonl"
    env = {
        "HOUSEWORD_DATA_DIR": str(tmp_path),
        "HOUSEWORD_GENERATOR": settings.generator,
        "HOUSEWORD_EMBEDDER": settings.embedder,
        "HOUSEWORD_DEVICE": "cpu",
    }

    def run(*arguments: str) -> str:
        result = CliRunner().invoke(main, list(arguments), env=env)
        assert result.exit_code == 0, result.output
        return result.stdout

    run("ingest", str(tmp_path / "docs"))
    told = json.loads(run("data", "questions", str(written), "--json"))
    assert told["asked"] == 2 and told["kept"] == len(written.read_text().splitlines())

    good = "When is the store in the harbour closed?"  # what a better base would have written

    def texts(run: Run) -> list[Text]:
        about_hours = ("harbour" in prompt.messages[-1]["content"] for prompt in run.prompts())
        asked = (good if hours else "Which lamp is green?" for hours in about_hours)
        return [Text(str(n), None, text, 9, "stop") for n, text in enumerate(asked)]

    monkeypatch.setattr("server.pairing.carry_out", lambda run, watch: None)
    monkeypatch.setattr(Run, "texts", texts)
    assert json.loads(run("data", "questions", str(written), "--json"))["kept"] == 1
    line = json.loads(written.read_text())
    assert line["question"] == good and "closed on Sundays" in line["passage"]
    assert read_pairs(_eight(line))[0].written


def _eight(line: dict) -> bytes:
    return "".join(json.dumps({**line, "question": f"Q {n}?"}) + "\n" for n in range(8)).encode()


def test_a_base_that_is_not_there_is_told_in_words(settings: Settings) -> None:
    missing = replace(settings, generator="no-such-model")
    with pytest.raises(PairingError, match="neither"):
        pair_texts(missing, read_texts(TEXTS, name="past.md"), progress=lambda *_: None)
