"""`benchmarks.followups` on any files: real code on tiny models."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.followups import main
from server.settings import Settings


def test_it_counts_what_is_found(
    tmp_path: Path,
    tiny_settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "documents").mkdir()
    (tmp_path / "documents" / "returns.txt").write_text("Returns are taken for 45 days.")
    line = {"before": "Do you take returns?", "question": "How long?", "document": "returns.txt"}
    lines = [{**line, "expected": ["45 days"]}, {**line, "expected": ["60 days"]}]
    (tmp_path / "followups.jsonl").write_text("\n".join(map(json.dumps, lines)))
    settings = replace(tiny_settings, data_dir=tmp_path / "state")
    monkeypatch.setattr(Settings, "load", lambda **changes: settings)
    files = [str(tmp_path / name) for name in ("documents", "followups.jsonl")]
    main(["--documents", files[0], "--followups", files[1], "--questions", files[1]])
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    row = {"questions": 2, "alone": 0.5, "served": 0.5}
    assert result == {"followups": row, "changed_subject": row}
