"""`tune search` and `search-models` as a user types them, with the app in its own process."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from server.cli import main
from server.settings import Settings

pytestmark = pytest.mark.workers

WORDS = {"zq": "rain", "xv": "lamp", "jk": "rack", "wy": "tent", "qx": "shipping", "vz": "hours"}


def test_search_is_tuned_listed_activated_and_rolled_back(
    tiny_settings: Settings, tmp_path: Path
) -> None:
    env = {
        "HOUSEWORD_DATA_DIR": str(tmp_path / "state"),
        "HOUSEWORD_GENERATOR": tiny_settings.generator,
        "HOUSEWORD_EMBEDDER": tiny_settings.embedder,
        "HOUSEWORD_DEVICE": "cpu",
        "HOUSEWORD_THREADS": "1",
        "HOUSEWORD_WORKER_THREADS": "1",
        "COLUMNS": "200",
        "TERM": "dumb",
    }

    def run(*arguments: str, status: int = 0) -> str:
        result = CliRunner().invoke(main, list(arguments), env=env)
        assert result.exit_code == status, (result.output, result.exception)
        assert "Traceback" not in result.output
        return result.output

    folder = tmp_path / "handbook"
    folder.mkdir()
    for thing in WORDS.values():
        (folder / f"{thing}.md").write_text(f"The {thing} of our {thing} is for the {thing}.")
    pairs = tmp_path / "questions.jsonl"
    pairs.write_text(
        "\n".join(
            json.dumps({"question": f"{word} {word} number {n}", "document": f"{thing}.md"})
            for word, thing in WORDS.items()
            for n in range(14)
        )
    )
    run("ingest", str(folder))
    told = run("tune", "search", str(pairs))
    assert "nDCG@10" in told and "serves now" in told
    listed = json.loads(run("search-models", "--json"))
    assert listed["active"] != "base" and listed["data"][1]["method"] == "query_adapter"
    assert "query_adapter" in run("search-models")
    assert "base" in run("search-models", "rollback")
    assert "nothing to bring back" in run("search-models", "rollback", status=1)
    assert listed["active"] in run("search-models", "activate", listed["active"])
    pairs.write_text('{"question": "a", "document": "gone.md"}\n' * 9)
    assert "at least 8" in run("tune", "search", str(pairs), status=1)
