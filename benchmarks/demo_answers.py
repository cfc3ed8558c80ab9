"""Does the tuned voice keep the facts? The demo's questions through the served API.

    python -m benchmarks.demo_answers [--data-dir data/state/demo] [--models support]

Asks every question of data/demo/questions.jsonl of the untuned base and of each named voice, on
the data directory that `make demo` leaves (a server is started for it where none runs). Prints
a table and, last, one JSON line: expected facts found, right document cited, unanswerable
questions declined, false refusals (all as defined in server/evaluate.py and
tuning/examples.py), median words and seconds of an answer.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from server.client import Client, connect
from server.evaluate import expected_found
from server.settings import Settings
from tuning.examples import looks_like_decline

QUESTIONS = Path(__file__).resolve().parent.parent / "data" / "demo" / "questions.jsonl"
MAX_TOKENS = 96


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", type=Path, default=Path("data/state/demo"))
    parser.add_argument("--models", nargs="*", default=["support"])
    parser.add_argument("--limit", type=int, help="ask only the first N of each kind")
    parser.add_argument("--answers", type=Path, help="write every answer here, as JSON lines")
    options = parser.parse_args(arguments)
    questions = [json.loads(line) for line in QUESTIONS.read_text().splitlines()]
    kinds = (
        [q for q in questions if q["answerable"]],
        [q for q in questions if not q["answerable"]],
    )
    asked = [q for kind in kinds for q in kind[: options.limit]]
    results: dict[str, dict[str, float]] = {}
    with connect(Settings.load(data_dir=options.data_dir)) as client:
        for model in [client.get("/healthz")["generator"], *options.models]:
            answers = [_ask(client, model, question) for question in asked]
            results[model] = _figures(asked, answers)
            if options.answers:
                with options.answers.open("a") as file:
                    for question, answer in zip(asked, answers, strict=True):
                        file.write(json.dumps({"model": model, **question, **answer}) + "\n")
    names = list(next(iter(results.values())))
    print(f"{'':30}" + "".join(f"{model[:24]:>26}" for model in results))
    for name in names:
        print(f"{name:30}" + "".join(f"{figures[name]:26.3f}" for figures in results.values()))
    print(json.dumps(results))


def _ask(client: Client, model: str, question: dict[str, Any]) -> dict[str, Any]:
    body = {
        "model": model,
        "messages": [{"role": "user", "content": question["question"]}],
        "max_tokens": MAX_TOKENS,
    }
    began = time.perf_counter()
    answer = client.post("/v1/chat/completions", body)
    message = answer["choices"][0]["message"]
    return {
        "answer": message["content"],
        "cited": [citation["filename"] for citation in message["citations"]],
        "seconds": time.perf_counter() - began,
    }


def _figures(
    questions: Sequence[dict[str, Any]], answers: Sequence[dict[str, Any]]
) -> dict[str, float]:
    pairs = list(zip(questions, answers, strict=True))
    answerable = [(q, a) for q, a in pairs if q["answerable"]]
    unanswerable = [a for q, a in pairs if not q["answerable"]]
    found = [expected_found(a["answer"], q["expected"]) for q, a in answerable]
    return {
        "expected_found": statistics.fmean(found),
        "cited_right_document": statistics.fmean(
            q["document"] in a["cited"] for q, a in answerable
        ),
        "declined_unanswerable": statistics.fmean(
            looks_like_decline(a["answer"]) for a in unanswerable
        ),
        "false_refusals": statistics.fmean(looks_like_decline(a["answer"]) for _, a in answerable),
        "median_words": statistics.median(len(a["answer"].split()) for _, a in answerable),
        "median_seconds": statistics.median(a["seconds"] for _, a in pairs),
    }


if __name__ == "__main__":
    main()
