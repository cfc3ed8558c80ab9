"""Is a follow-up question found? Searched as it stands, and with what it leans on.

    python -m benchmarks.followups --documents DIR --followups FILE.jsonl [--questions FILE.jsonl]

Lines are `before` (the user's message before), `question`, `document` and `expected`. A question
counts as found where the right document is among the first K hits and one of its passages there
holds what is expected. With --questions, each of them is asked behind another one that has nothing
to do with it: what is lost there is what a wrong guess costs. Prints a table and one JSON line.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.answers import ingest
from server.evaluate import expected_found
from server.followup import standalone
from server.opening import open_services
from server.services import Services
from server.settings import Settings


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--documents", type=Path, required=True)
    parser.add_argument("--followups", type=Path, required=True)
    parser.add_argument("--questions", type=Path)
    parser.add_argument("--data-dir", type=Path, help="kept and gone on with, if given")
    options = parser.parse_args(arguments)
    sets = {"followups": _lines(options.followups)}
    if options.questions:
        asked = [line for line in _lines(options.questions) if line.get("answerable", True)]
        before = [*asked[len(asked) // 2 :], *asked[: len(asked) // 2]]
        sets["changed_subject"] = [
            {**line, "before": other["question"]} for line, other in zip(asked, before, strict=True)
        ]
    with tempfile.TemporaryDirectory() as temporary:
        settings = Settings.load(data_dir=options.data_dir or Path(temporary))
        store = ingest(settings, options.documents)
        services = open_services(settings)
        try:
            result = {name: _found(services, store, lines) for name, lines in sets.items()}
        finally:
            services.close()
    print(f"{'found':20}{'questions':>10}{'as it stands':>14}{'served':>10}")
    for name, row in result.items():
        print(f"{name:20}{row['questions']:>10}{row['alone']:>14.3f}{row['served']:>10.3f}")
    print(json.dumps(result))


def _found(services: Services, store: str, lines: Sequence[dict[str, Any]]) -> dict[str, float]:
    k = services.settings.hits
    found = {"alone": 0, "served": 0}
    for line in lines:
        messages = [{"role": "user", "content": line[name]} for name in ("before", "question")]
        for arm, text in (("alone", line["question"]), ("served", standalone(messages))):
            hits = services.library.search([store], text, k=k)
            right = [h.passage.text for h in hits if h.document_name == line["document"]]
            found[arm] += any(expected_found(text, line["expected"]) for text in right)
    shares = {arm: round(count / len(lines), 4) for arm, count in found.items()}
    return {"questions": len(lines), **shares}


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]


if __name__ == "__main__":
    main()
