"""The demo: a made-up company's documents and voice, before and after tuning.

Runs the real product over its own API, in a data directory of its own. Progress goes to
standard error, the comparison to standard output, and the last line is one JSON object.
"""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from textwrap import shorten
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from server.client import Client, ClientError, connect
from server.evaluate import expected_found
from server.ingestion import ingest_paths
from server.settings import Settings
from server.teaching import teach

DATA = Path(__file__).resolve().parent.parent / "data" / "demo"
VOICE = "support"
# What most users ask first; any of data/demo/questions.jsonl can be asked.
ASKED = ("q019", "q040", "q058")
MAX_TOKENS = 96


def run(settings: Settings, *, minutes: float, keep: bool = False, data: Path = DATA) -> None:
    """Ingest, ask, teach, ask again; raises `ClientError` where a step fails.

    `keep` asks the voice of an earlier run, where there is one, instead of teaching it again.
    """
    out, err = Console(highlight=False), Console(stderr=True, highlight=False)
    # No time for the base to write rows of its own; a longer training has them.
    settings = replace(settings, data_dir=settings.data_dir / "demo", rows_replay=0.0)
    questions = _questions(data)
    err.rule("1. Models")
    with connect(settings) as client:
        health = client.get("/healthz")
        err.print(f"generator {health['generator']}, embedder {health['embedder']}: ready")

        err.rule("2. Documents")
        store_id = client.get("/v1/vector_stores/default")["id"]
        report = ingest_paths(client, [data / "documents"], store_id=store_id, console=err)
        if report["failed"]:
            raise ClientError(f"a demo document failed: {report['failed'][0]}")
        store = client.get(f"/v1/vector_stores/{store_id}")
        err.print(
            f"{store['documents']} documents, {store['passages']} passages "
            f"in {report['seconds']:.1f} s ({report['unchanged']} unchanged)"
        )

        err.rule("3. Three questions, untuned")
        before = [_ask(client, health["generator"], q, err) for q in questions]

        job = _taught_before(client) if keep else None
        if job:
            err.rule(f"4. The voice '{VOICE}' of the last run")
        else:
            err.rule(f"4. Teaching the voice '{VOICE}' ({minutes:g} minutes at most)")
            job = teach(
                client,
                data / "voices" / f"{VOICE}.jsonl",
                name=VOICE,
                hyperparameters={"max_minutes": minutes, "gate_minutes": 0},
                store_id=store_id,
                console=err,
            )
        if job["status"] != "succeeded":
            raise ClientError(f"teaching ended as {job['status']}: {job['error']}")
        result = job["result"]
        err.print(
            f"held-out loss {result['heldout_loss_before']:.3f} -> "
            f"{result['heldout_loss_after']:.3f}"
        )
        err.print(
            f"The voice stays a candidate until its gate has judged it, which takes longer than "
            f"this demo: `houseword voices judge {VOICE}`, about 15 minutes on 2 cores."
        )

        err.rule("5. The same questions, in the voice")
        after = [_ask(client, job["fine_tuned_model"], q, err) for q in questions]

    for compared in zip(questions, before, after, strict=True):
        _print_compared(out, *compared)
    _print_next(out, settings, job["fine_tuned_model"])
    answers = [
        {
            "question": question["question"],
            "before": old["text"],
            "after": new["text"],
            "citations": new["citations"],
            "expected_facts_found": {
                "before": expected_found(old["text"], question["expected"]),
                "after": expected_found(new["text"], question["expected"]),
            },
        }
        for question, old, new in zip(questions, before, after, strict=True)
    ]
    summary = {
        "ok": True,
        "documents": store["documents"],
        "passages": store["passages"],
        "ingest_seconds": round(report["seconds"], 2),
        "train_seconds": round(result["seconds"], 1),
        "train_tokens_per_second": round(result["tokens_per_second"], 1),
        "heldout_loss_before": round(result["heldout_loss_before"], 4),
        "heldout_loss_after": round(result["heldout_loss_after"], 4),
        "answers": answers,
    }
    click.echo(json.dumps(summary, ensure_ascii=False))


def _questions(data: Path) -> list[dict[str, Any]]:
    lines = (data / "questions.jsonl").read_text(encoding="utf-8").splitlines()
    known = {q["id"]: q for q in map(json.loads, lines)}
    return [known[id] for id in ASKED]


def _ask(client: Client, model: str, question: dict[str, Any], err: Console) -> dict[str, Any]:
    began = time.monotonic()
    text = ""
    citations: list[dict[str, Any]] = []
    asked = [{"role": "user", "content": question["question"]}]
    for delta in client.chat({"model": model, "messages": asked, "max_tokens": MAX_TOKENS}):
        text += delta.get("content") or ""
        citations = delta.get("citations", citations)
    err.print(f"  {question['question']} ({time.monotonic() - began:.1f} s)", markup=False)
    return {"text": text, "citations": citations}


def _taught_before(client: Client) -> dict[str, Any] | None:
    """The latest job that taught the demo's voice, if there is one."""
    for job in client.pages("/v1/fine_tuning/jobs"):
        if job["suffix"] == VOICE and job["status"] == "succeeded":
            return job
    return None


def _print_compared(
    out: Console, question: dict[str, Any], old: dict[str, Any], new: dict[str, Any]
) -> None:
    out.print()
    out.print(question["question"], style="bold", markup=False)
    table = Table("before", "after, in the voice", expand=True)
    for column in table.columns:
        column.ratio = 1
    table.add_row(escape(old["text"]), escape(new["text"]))
    out.print(table)
    for source in new["citations"]:
        place = source["filename"] + (f", {source['heading']}" if source["heading"] else "")
        start, end = source["spans"][0]
        text = shorten(source["text"][start - source["start"] : end - source["start"]], 120)
        out.print(f"  [{source['index']}] {place}: {text}", style="dim", markup=False)
    expected = ", ".join(question["expected"])
    out.print(f"  the documents say: {expected} ({question['document']})", markup=False)


def _print_next(out: Console, settings: Settings, model: str) -> None:
    houseword = f".venv/bin/houseword --data-dir {settings.data_dir}"
    ask = json.dumps(
        {"model": model, "messages": [{"role": "user", "content": "Do you ship to Canada?"}]}
    )
    commands = (
        f'{houseword} ask --model {model} "When is the shop open on Saturday?"',
        f"{houseword} voices activate {VOICE}",
        f"{houseword} voices judge {VOICE}",
        f"{houseword} serve",
        f"curl {settings.url}/v1/chat/completions -H 'content-type: application/json' -d '{ask}'",
        ".venv/bin/houseword ingest YOUR_FOLDER",
        ".venv/bin/houseword tune voice YOUR_REPLIES.jsonl --name yours",
    )
    out.print("\nWhat to do next:")
    for command in commands:
        out.print(f"  {command}", markup=False, soft_wrap=True)
