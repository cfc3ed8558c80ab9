"""Does the tuned voice keep the facts? The demo's questions, answered as they are served.

    python -m benchmarks.demo_answers [--data-dir data/state/demo] [--models support]

Asks every question of data/demo/questions.jsonl of the untuned base and of each named voice or
version, on the data directory that `make demo` leaves (no server may run on it): the prompts are
built by the serving code, the answers written in batches, and guarded, repaired and cited by the
serving code under the policy of the settings. Prints a table and, last, one JSON line: expected
facts found, right document cited, unanswerable questions declined, false refusals (all as defined
in server/evaluate.py), median words.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from server.answer import Prepared, Question, prepare, served_for
from server.auth import LOCAL_OWNER
from server.evaluate import declined, expected_found
from server.opening import open_services
from server.settings import Settings
from tuning.adapter import AdapterSet
from tuning.generate import Sampling
from tuning.generator import load_generator
from tuning.records import Prompt
from tuning.writer import write

QUESTIONS = Path(__file__).resolve().parent.parent / "data" / "demo" / "questions.jsonl"
MAX_TOKENS = 96


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", type=Path, default=Path("data/state/demo"))
    parser.add_argument("--models", nargs="*", help="by default the newest version of support")
    parser.add_argument("--limit", type=int, help="ask only the first N of each kind")
    parser.add_argument("--answers", type=Path, help="write every answer here, as JSON lines")
    options = parser.parse_args(arguments)
    questions = [json.loads(line) for line in QUESTIONS.read_text().splitlines()]
    kinds = (
        [q for q in questions if q["answerable"]],
        [q for q in questions if not q["answerable"]],
    )
    asked = [q for kind in kinds for q in kind[: options.limit]]
    settings = Settings.load(data_dir=options.data_dir)
    prepared, prompt_digest = _prepared(settings, asked, options.models)
    began = time.monotonic()
    results: dict[str, dict[str, float]] = {}
    for model, answers in _answers(settings, prepared, prompt_digest).items():
        results[model] = _figures(asked, answers)
        if options.answers:
            with options.answers.open("a") as file:
                for question, answer in zip(asked, answers, strict=True):
                    file.write(json.dumps({"model": model, **question, **answer}) + "\n")
    names = list(next(iter(results.values())))
    print(f"{'':30}" + "".join(f"{model[-24:]:>26}" for model in results))
    for name in names:
        print(f"{name:30}" + "".join(f"{figures[name]:26.3f}" for figures in results.values()))
    print(json.dumps({**results, "seconds": round(time.monotonic() - began, 1)}))


def _prepared(
    settings: Settings, questions: Sequence[dict[str, Any]], models: Sequence[str] | None
) -> tuple[dict[str, list[Prepared]], str]:
    """Every question as it would be put to each model, the base first."""
    services = open_services(settings)
    try:
        named = models or [services.voices.voice(LOCAL_OWNER, "support").versions[-1].id]
        prepared = {
            model: [
                prepare(
                    services,
                    LOCAL_OWNER,
                    Question(
                        model=model,
                        messages=({"role": "user", "content": question["question"]},),
                        sampling=Sampling(max_tokens=MAX_TOKENS),
                    ),
                )
                for question in questions
            ]
            for model in (services.engine.generator.name, *named)
        }
        return prepared, services.engine.prompt_digest
    finally:
        services.close()


def _answers(
    settings: Settings, prepared: dict[str, list[Prepared]], prompt_digest: str
) -> dict[str, list[dict[str, Any]]]:
    generator = load_generator(
        settings.generator, models_dir=settings.folder("models"), device=settings.device
    )
    adapters = AdapterSet(
        generator, folder=settings.folder("adapters"), prompt_digest=prompt_digest
    )
    prompts = [
        Prompt(
            f"{model}#{number}",
            item.messages,
            item.adapter,
            MAX_TOKENS,
            grammar=item.question.sampling.grammar,
        )
        for model, items in prepared.items()
        for number, item in enumerate(items)
    ]
    texts = {
        text.id: text
        for text in write(
            generator, prompts, select=adapters.select, context_tokens=settings.context_tokens
        )
    }
    answers: dict[str, list[dict[str, Any]]] = {}
    for model, items in prepared.items():
        answers[model] = []
        for number, item in enumerate(items):
            served = served_for(item)
            draft = texts[f"{model}#{number}"]
            answer = served.whole(draft.text, cut=draft.cut)
            cited = [citation.hit.document_name for citation in served.citations]
            answers[model].append({"answer": answer, "cited": cited})
    return answers


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
        "declined_unanswerable": statistics.fmean(declined(a["answer"]) for a in unanswerable),
        "false_refusals": statistics.fmean(declined(a["answer"]) for _, a in answerable),
        "median_words": statistics.median(len(a["answer"].split()) for _, a in answerable),
    }


if __name__ == "__main__":
    main()
