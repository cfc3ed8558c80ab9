"""The command line: serve, ingest, ask, search, tune, voices, feedback, jobs, evaluate, data,
doctor, demo.

Every command but `serve` and `doctor` talks HTTP through `client.connect`. Nothing heavy is
imported before a command runs. `--json` prints one JSON value on standard output; progress and
errors go to standard error. Exit status: 0 done, 1 failed with one line that says why, 2 usage.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click
from rich.text import Text

from server.cli_data import data
from server.cli_evaluate import evaluate
from server.cli_feedback import feedback
from server.cli_search import search_models, tune_search
from server.cli_training import jobs, tune, voices
from server.cli_voices import compare, judge_version, retrain, rollback
from server.command import Context, as_json, err, fail, keep_quiet, out, store_option, told
from server.errors import ServerError
from server.settings import Settings


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--data-dir", type=click.Path(path_type=Path), help="Folder of the server's data.")
@click.option("--url", help="A running server [default: the data directory's own].")
@click.option("--api-key", help="Its key; HOUSEWORD_API_KEY works, too.")
@click.version_option(package_name="houseword")
@click.pass_context
def main(
    context: click.Context, data_dir: Path | None, url: str | None, api_key: str | None
) -> None:
    """Answers from your documents, in your own voice."""
    try:
        context.obj = Context(Settings.load(data_dir=data_dir, api_key=api_key), url)
    except ServerError as error:
        fail(error)


@main.command()
@click.option("--host", help="Address to listen on; others than loopback need a key.")
@click.option("--port", type=int, help="Port to listen on.")
@click.pass_obj
@told
def serve(context: Context, host: str | None, port: int | None) -> None:
    """Start the server."""
    from dataclasses import replace

    from server.serve import serve as run

    settings = replace(
        context.settings,
        host=host or context.settings.host,
        port=port or context.settings.port,
    )
    err.print(f"Houseword at {settings.url} (API page: {settings.url}/docs)")
    run(settings)


@main.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@store_option
@as_json
@click.pass_obj
@told
def ingest(context: Context, paths: tuple[Path, ...], store: str | None, as_json: bool) -> None:
    """Read files and folders into a store; a changed file replaces its older version."""
    from server.ingestion import ingest_paths

    with context.client() as client:
        report = ingest_paths(
            client, paths, store_id=client.store_id(store, create=True), console=err
        )
    if as_json:
        click.echo(json.dumps(report))
    else:
        out.print(
            f"{report['completed']} of {report['files']} files ready in {report['seconds']:.1f} s"
        )
        for failure in report["failed"]:
            out.print(f"  {failure['file']}: {failure['reason']}", style="red", markup=False)
    if report["failed"]:
        sys.exit(1)


@main.command()
@click.argument("question")
@click.option("--model", help="A voice, a version or the base [default: the base].")
@store_option
@click.option("--no-documents", is_flag=True, help="Answer without searching.")
@click.option("--max-tokens", type=int, help="Longest answer.")
@as_json
@click.pass_obj
@told
def ask(
    context: Context,
    question: str,
    model: str | None,
    store: str | None,
    no_documents: bool,
    max_tokens: int | None,
    as_json: bool,
) -> None:
    """Ask a question; the answer's sources are listed behind it."""
    with context.client() as client:
        body = {
            "model": model or client.get("/healthz")["generator"],
            "messages": [{"role": "user", "content": question}],
        }
        if store:
            body["vector_store_ids"] = [client.store_id(store)]
        if no_documents:
            body["tool_choice"] = "none"
        if max_tokens:
            body["max_tokens"] = max_tokens
        text = turn = ""
        citations: list[dict[str, Any]] = []
        for delta in client.chat(body):
            turn = delta["id"]
            text += delta.get("content") or ""
            citations = delta.get("citations", citations)
            if not as_json:
                out.print(delta.get("content") or "", end="", markup=False, soft_wrap=True)
    if as_json:
        value = {"question": question, "model": body["model"], "answer": text}
        click.echo(json.dumps({**value, "citations": citations, "turn": turn}))
        return
    out.print()
    for citation in citations:
        place = ", ".join(
            part
            for part in (
                citation["filename"],
                f"page {citation['page']}" if citation["page"] else "",
                citation["heading"] or "",
                f"characters {citation['start']}-{citation['end']}",
            )
            if part
        )
        out.print(f"\n[{citation['index']}] {place}", style="bold", markup=False)
        out.print("    ", _marked(citation), sep="")
    out.print(f"\nGood or not? houseword feedback add {turn} up|down", style="dim", markup=False)


def _marked(citation: dict[str, Any]) -> Text:
    """A citation's passage, in which what the answer rests on stands out."""
    passage = Text(citation["text"].replace("\n", " "), style="dim")
    for start, end in citation["spans"]:
        passage.stylize("not dim bold", start - citation["start"], end - citation["start"])
    return passage


@main.command()
@click.argument("query")
@store_option
@click.option(
    "--k", "--limit", "k", type=click.IntRange(1, 50), default=5, show_default=True, help="Hits."
)
@as_json
@click.pass_obj
@told
def search(context: Context, query: str, store: str | None, k: int, as_json: bool) -> None:
    """Search passages without writing an answer; each hit with its scores and its place."""
    with context.client() as client:
        store_id = client.store_id(store)
        found = client.post(
            f"/v1/vector_stores/{store_id}/search", {"query": query, "max_num_results": k}
        )["data"]
    if as_json:
        click.echo(json.dumps(found))
        return
    for hit in found:
        place = f"characters {hit['passage']['start']}-{hit['passage']['end']}"
        shown = [hit["filename"], hit["heading"], f"page {hit['page']}" if hit["page"] else None]
        line = ", ".join(part for part in (*shown, place) if part)
        out.print(f"{hit['score']:.3f}  {line}", style="bold", markup=False, highlight=False)
        scores = {name: hit[name] for name in ("dense", "lexical", "fused", "rerank")}
        told_scores = "  ".join(f"{name} {v:.3f}" for name, v in scores.items() if v is not None)
        out.print(f"       {told_scores}  ({hit['generation']})", style="dim", markup=False)
        for part in hit["content"]:
            out.print(f"       {' '.join(part['text'].split())}", markup=False)


@main.command()
@as_json
@click.pass_obj
@told
def doctor(context: Context, as_json: bool) -> None:
    """Say what this machine has and what is missing, each with its fix."""
    from server.doctor import examine

    findings = examine(context.settings)
    if as_json:
        click.echo(json.dumps([finding.to_json() for finding in findings]))
    else:
        for finding in findings:
            mark = "[green]ok  [/]" if finding.ok else "[red]MISS[/]"
            out.print(f"{mark} {finding.name:12} ", end="")
            out.print(finding.found, markup=False)
            if not finding.ok:
                out.print(f"     fix: {finding.fix}", markup=False)
    if not all(finding.ok for finding in findings):
        sys.exit(1)


@main.command()
@click.option("--minutes", type=float, default=4.0, show_default=True, help="Longest training.")
@click.option(
    "--keep", is_flag=True, help="Ask the voice of the last run: teach only the first time."
)
@click.pass_obj
@told
def demo(context: Context, minutes: float, keep: bool) -> None:
    """See the whole product at work on a made-up company's documents and voice."""
    from server.demo import run

    keep_quiet()
    run(context.settings, minutes=minutes, keep=keep)


for command in (retrain, judge_version, rollback, compare):
    voices.add_command(command)
tune.add_command(tune_search)
for command in (tune, voices, search_models, feedback, jobs, evaluate, data):
    main.add_command(command)
