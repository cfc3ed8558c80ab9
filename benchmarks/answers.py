"""Can the answers be trusted? Any documents and questions, as served and as the bare model drafts.

    python -m benchmarks.answers --documents DIR --questions FILE.jsonl [--voice NAME]

Questions are lines of `question`, `answerable`, and optionally `expected` (a list of strings) and
`document` (a file's name). Houseword itself ingests the documents; prompts are built and drafts
repaired by the serving code, with the policy of the settings, and the drafts are written in
batches. A voice needs --data-dir, the data directory that holds it (no server may run on it); one
that uses no documents is asked without, as it is served. A document that cannot be read is left
out, and a question that the server refuses as too long counts as not answered: both are told.
Prints a table and, last, one JSON line:

expected_found          all expected strings in the answer, of the answerable questions
cited_right_document    the question's document among the cited ones
found_and_cited         both
declined_unanswerable   unanswerable questions that got "we do not have that"
false_refusals          answerable questions that got it
unsupported_figures     figures, in all answers together, that neither a passage that the answer
                        could show nor the question holds
attribution_overhead    seconds of choosing, checking and repairing, as a share of an answer's
evidence_overhead       of that, judging before the draft whether and where the passages answer
median_words            of an answer
failed_documents        that are not in the store
refused_questions       too long for the context

and the same of the untouched drafts as `bare`. Citations are made by code, so a draft has none of
them: it cites a document only if its text names the file.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from retrieval.claims import figures
from retrieval.grounds import Grounds
from retrieval.records import Hit
from server.answer import Prepared, Question, prepare, served_for
from server.auth import LOCAL_OWNER
from server.cite import without_markers
from server.client import ClientError, connect
from server.evaluate import declined, expected_found
from server.ingestion import ingest_paths
from server.opening import open_services
from server.settings import Settings
from tuning.adapter import AdapterSet
from tuning.errors import PromptTooLong
from tuning.generate import Sampling, answer
from tuning.generator import load_generator
from tuning.records import Prompt, Text
from tuning.writer import write

MAX_TOKENS = 96
TIMED = 5  # answers that are written one by one, to know how long one takes


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer, what it cites, and what it could have shown."""

    text: str
    cited: tuple[Hit, ...]
    passages: tuple[Hit, ...]


NOTHING = Answer("", (), ())  # the server refused the question
NO_DRAFT = Text("", None, "", 0, "stop")


def main(arguments: Sequence[str] | None = None) -> None:
    options = _options().parse_args(arguments)
    lines = options.questions.read_text(encoding="utf-8").splitlines()
    questions = [json.loads(line) for line in lines if line.strip()]
    with tempfile.TemporaryDirectory() as temporary:
        settings = Settings.load(data_dir=options.data_dir or Path(temporary))
        store, failed = add_documents(settings, options.documents)
        prepared, prompt_digest, finding = _prepared(settings, store, questions, options.voice)
        drafts, writing = _drafts(settings, prepared, prompt_digest)
    began = time.monotonic()
    served = [_served(item, draft) for item, draft in zip(prepared, drafts, strict=True)]
    mending = (time.monotonic() - began) / max(len(served), 1)
    bare = [_bare(item, draft.text) for item, draft in zip(prepared, drafts, strict=True)]
    result = {
        **measure(questions, served),
        "attribution_overhead": (finding + mending) / writing,
        "evidence_overhead": finding / writing,
        "policy": next((item.policy for item in prepared if item), settings.grounding),
        "voice": options.voice,
        "failed_documents": len(failed),
        "refused_questions": prepared.count(None),
        "bare": measure(questions, bare),
    }
    if options.answers:
        _keep(options.answers, questions, drafts, served, prepared)
    print(table(result))
    print(json.dumps({k: round(v, 4) if isinstance(v, float) else v for k, v in result.items()}))


def measure(questions: Sequence[dict[str, Any]], answers: Sequence[Answer]) -> dict[str, Any]:
    """The figures of one arm; a share without any question to take it from is None."""
    pairs = list(zip(questions, answers, strict=True))
    answerable = [(q, a) for q, a in pairs if q.get("answerable", True)]
    others = [a for q, a in pairs if not q.get("answerable", True)]
    return {
        "expected_found": _share(
            expected_found(a.text, q["expected"]) for q, a in answerable if q.get("expected")
        ),
        "cited_right_document": _share(
            q["document"] in {hit.document_name for hit in a.cited}
            for q, a in answerable
            if q.get("document")
        ),
        "found_and_cited": _share(
            expected_found(a.text, q["expected"])
            and q["document"] in {hit.document_name for hit in a.cited}
            for q, a in answerable
            if q.get("expected") and q.get("document")
        ),
        "declined_unanswerable": _share(declined(a.text) for a in others),
        "false_refusals": _share(declined(a.text) for _, a in answerable),
        "unsupported_figures": sum(len(unsupported(q["question"], a)) for q, a in pairs),
        "median_words": statistics.median(len(a.text.split()) for a in answers) if answers else 0,
    }


def unsupported(question: str, answer: Answer) -> set[str]:
    """The figures of an answer that no passage, heading or the question holds."""
    shown = [f"{hit.passage.heading or ''}\n{hit.passage.text}" for hit in answer.passages]
    return figures(without_markers(answer.text)) - figures("\n".join([question, *shown]))


def table(result: dict[str, Any]) -> str:
    """The served figures beside the bare ones, a line each."""
    names = list(result["bare"])
    rows = [f"{'':24}{'served':>10}{'bare':>10}"]
    for name in names:
        values = (result[name], result["bare"][name])
        cells = ["-" if value is None else f"{value:.3f}" for value in values]
        rows.append(f"{name:24}{cells[0]:>10}{cells[1]:>10}")
    for name in ("attribution_overhead", "evidence_overhead"):
        rows.append(f"{name:24}{result[name]:10.3f}")
    return "\n".join(rows)


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--documents", type=Path, required=True)
    parser.add_argument("--questions", type=Path, required=True)
    parser.add_argument("--voice", help="a voice, its version, or none: the base model")
    parser.add_argument("--data-dir", type=Path, help="kept and gone on with, if given")
    parser.add_argument("--answers", type=Path, help="write every answer here, as JSON lines")
    return parser


def ingest(settings: Settings, documents: Path) -> str:
    """Put the documents into a store of their own; returns its id. Raises `ClientError`."""
    store, failed = add_documents(settings, documents)
    if failed:
        raise ClientError(f"a document failed: {failed[0]}")
    return store


def add_documents(settings: Settings, documents: Path) -> tuple[str, list[dict[str, str]]]:
    """Put the documents into a store of their own; returns its id, and which files failed."""
    console = Console(stderr=True)
    with connect(settings) as client:
        name = f"answers: {documents}"
        known = [s for s in client.pages("/v1/vector_stores") if s["name"] == name]
        store: str = (known[0] if known else client.post("/v1/vector_stores", {"name": name}))["id"]
        report = ingest_paths(client, [documents], store_id=store, console=console)
    for failure in report["failed"]:
        console.print(f"left out: {failure['file']}: {failure['reason']}", markup=False)
    return store, report["failed"]


def _prepared(
    settings: Settings, store: str, questions: Sequence[dict[str, Any]], voice: str | None
) -> tuple[list[Prepared | None], str, float]:
    """Every question as it would be put to the model, None where it is too long; the prompt's
    digest; seconds of judging the evidence of one."""
    services = open_services(settings)
    try:
        model = voice or services.engine.generator.name
        calibrations = services.library.calibrations
        judge, seconds = calibrations.judge, []

        def timed(*arguments: Any, **options: Any) -> Grounds:
            began = time.monotonic()
            grounds = judge(*arguments, **options)
            seconds.append(time.monotonic() - began)
            return grounds

        calibrations.judge = timed  # type: ignore[method-assign]
        searched = services.task_of(LOCAL_OWNER, model)["uses_documents"]
        stores = (store,) if searched else None  # named ones are searched whatever the voice does
        prepared: list[Prepared | None] = []
        for line in questions:
            message = {"role": "user", "content": line["question"]}
            asked = Question(model, (message,), Sampling(MAX_TOKENS), stores=stores)
            try:
                prepared.append(prepare(services, LOCAL_OWNER, asked))
            except PromptTooLong:
                prepared.append(None)
        return prepared, services.engine.prompt_digest, statistics.fmean(seconds or [0.0])
    finally:
        services.close()


def _drafts(
    settings: Settings, prepared: Sequence[Prepared | None], prompt_digest: str
) -> tuple[list[Text], float]:
    """The draft of every question, and the seconds of one that is written alone."""
    generator = load_generator(
        settings.generator, models_dir=settings.folder("models"), device=settings.device
    )
    adapters = AdapterSet(
        generator, folder=settings.folder("adapters"), prompt_digest=prompt_digest
    )
    prompts = [
        Prompt(
            str(number),
            item.messages,
            item.adapter,
            MAX_TOKENS,
            grammar=item.question.sampling.grammar,
        )
        for number, item in enumerate(prepared)
        if item
    ]
    context = settings.context_tokens
    written = write(generator, prompts, select=adapters.select, context_tokens=context)
    texts = {text.id: text for text in written}
    seconds = []
    for item in [item for item in prepared if item][:TIMED]:
        adapters.select(item.adapter)
        began = time.monotonic()
        sampling = replace(item.question.sampling, max_tokens=MAX_TOKENS)
        for _ in answer(generator, item.prompt_ids, sampling, context_tokens=context):
            pass
        seconds.append(time.monotonic() - began)
    drafts = [texts.get(str(number), NO_DRAFT) for number in range(len(prepared))]
    return drafts, statistics.fmean(seconds or [1.0])


def _served(item: Prepared | None, draft: Text) -> Answer:
    if item is None:
        return NOTHING
    served = served_for(item)
    text = served.whole(draft.text, cut=draft.cut)
    cited = tuple(citation.hit for citation in served.citations)
    return Answer(text, cited, (*item.shown, *cited))


def _bare(item: Prepared | None, draft: str) -> Answer:
    """The draft as an answer: it cites the documents that it names."""
    if item is None:
        return NOTHING
    named = [hit for hit in item.shown if hit.document_name.casefold() in draft.casefold()]
    return Answer(draft, tuple(named), item.shown)


def _keep(
    path: Path,
    questions: Sequence[dict[str, Any]],
    drafts: Sequence[Text],
    served: Sequence[Answer],
    prepared: Sequence[Prepared | None],
) -> None:
    with path.open("w", encoding="utf-8") as file:
        for question, draft, own, item in zip(questions, drafts, served, prepared, strict=True):
            cited = [hit.document_name for hit in own.cited]
            confidence = item.grounds.confidence if item else None
            more = {"draft": draft.text, "cited": cited, "confidence": confidence}
            file.write(json.dumps({**question, "answer": own.text, **more}) + "\n")


def _share(values: Any) -> float | None:
    found = [float(value) for value in values]
    return statistics.fmean(found) if found else None


if __name__ == "__main__":
    main()
