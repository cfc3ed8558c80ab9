"""The command line: serve, ingest, ask, search, tune, voices, jobs, doctor, demo.

Every command but `serve` and `doctor` talks HTTP through `client.connect`. Nothing heavy is
imported before a command runs. `--json` prints one JSON value on standard output; progress and
errors go to standard error. Exit status: 0 done, 1 failed with one line that says why, 2 usage.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from server.errors import ServerError
from server.settings import Settings

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


@dataclass(frozen=True, slots=True)
class Context:
    """The global options."""

    settings: Settings
    url: str | None

    @contextmanager
    def client(self) -> Iterator[Any]:
        from server.client import connect

        # A command's user wants its result, not the server's diary.
        logging.basicConfig(level=logging.ERROR, format="%(message)s")
        with connect(self.settings, url=self.url) as client:
            yield client


def _told(command: Callable[..., Any]) -> Callable[..., Any]:
    """Turn the errors that a user can mend into one line."""

    @wraps(command)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except (ServerError, OSError) as error:
            err.print(f"houseword: {error}", style="red", markup=False)
            sys.exit(1)

    return run


as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON value.")
store_option = click.option("--store", help="A vector store's name or id [default: your default]")


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
        err.print(f"houseword: {error}", style="red", markup=False)
        sys.exit(1)


@main.command()
@click.option("--host", help="Address to listen on; others than loopback need a key.")
@click.option("--port", type=int, help="Port to listen on.")
@click.pass_obj
@_told
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
@_told
def ingest(context: Context, paths: tuple[Path, ...], store: str | None, as_json: bool) -> None:
    """Read files and folders into a store; a changed file replaces its older version."""
    from server.ingestion import ingest_paths

    with context.client() as client:
        report = ingest_paths(client, paths, store_id=find_store(client, store), console=err)
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
@_told
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
            body["vector_store_ids"] = [find_store(client, store)]
        if no_documents:
            body["tool_choice"] = "none"
        if max_tokens:
            body["max_tokens"] = max_tokens
        text = ""
        citations: list[dict[str, Any]] = []
        for delta in client.chat(body):
            text += delta.get("content") or ""
            citations = delta.get("citations", citations)
            if not as_json:
                out.print(delta.get("content") or "", end="", markup=False, soft_wrap=True)
    if as_json:
        value = {"question": question, "model": body["model"], "answer": text}
        click.echo(json.dumps({**value, "citations": citations}))
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
        out.print(f"    {' '.join(citation['text'].split())}", style="dim", markup=False)


@main.command()
@click.argument("query")
@store_option
@click.option("--limit", type=int, default=5, show_default=True)
@as_json
@click.pass_obj
@_told
def search(context: Context, query: str, store: str | None, limit: int, as_json: bool) -> None:
    """Search passages without writing an answer."""
    with context.client() as client:
        store_id = find_store(client, store)
        found = client.post(
            f"/v1/vector_stores/{store_id}/search", {"query": query, "max_num_results": limit}
        )["data"]
    if as_json:
        click.echo(json.dumps(found))
        return
    for hit in found:
        out.print(f"{hit['score']:.3f}  {hit['filename']}", style="bold", markup=False)
        for part in hit["content"]:
            out.print(f"       {' '.join(part['text'].split())}", markup=False)


@main.group()
def tune() -> None:
    """Train on your own examples."""


@tune.command("voice")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--name", default="house", show_default=True, help="The voice's name.")
@click.option("--minutes", type=float, help="Longest training.")
@click.option("--epochs", type=int, help="Most passes over the examples.")
@store_option
@as_json
@click.pass_obj
@_told
def tune_voice(
    context: Context,
    file: Path,
    name: str,
    minutes: float | None,
    epochs: int | None,
    store: str | None,
    as_json: bool,
) -> None:
    """Teach a voice from chat JSONL: one {"messages": [...]} a line, ending with your reply."""
    from server.teaching import teach

    with context.client() as client:
        job = teach(
            client,
            file,
            name=name,
            hyperparameters={"max_minutes": minutes, "max_epochs": epochs},
            store_id=find_store(client, store),
            console=err,
        )
    if as_json:
        click.echo(json.dumps(job))
    elif job["status"] == "succeeded":
        result = job["result"]
        out.print(f"{job['fine_tuned_model']}: {'; '.join(result['reasons'])}", markup=False)
        out.print(
            f"Ask with: houseword ask --model {name} QUESTION"
            if result["promoted"]
            else f"It stays a candidate. Ask with --model {job['fine_tuned_model']}, or use it "
            f"anyway: houseword voices activate {name} {job['fine_tuned_model']}",
            markup=False,
        )
    if job["status"] != "succeeded":
        reason = (job["error"] or {}).get("message", job["status"])
        err.print(f"houseword: {reason}", style="red", markup=False)
        sys.exit(1)


@main.group(invoke_without_command=True)
@as_json
@click.pass_context
@_told
def voices(context: click.Context, as_json: bool) -> None:
    """List the voices; `voices activate NAME VERSION` lets a version speak."""
    if context.invoked_subcommand:
        return
    with context.obj.client() as client:
        listed = client.get("/v1/voices")["data"]
    if as_json:
        click.echo(json.dumps(listed))
        return
    table = Table("voice", "version", "state", "held-out loss", "why")
    for voice in listed:
        for version in voice["versions"]:
            metrics = version["metrics"]
            loss = f"{metrics['heldout_before']:.2f} -> {metrics['heldout_after']:.2f}"
            reasons = "; ".join(version["reasons"])
            table.add_row(voice["name"], version["id"], version["state"], loss, reasons)
    out.print(table if listed else "No voices yet: houseword tune voice FILE --name NAME")


@voices.command("activate")
@click.argument("name")
@click.argument("version")
@click.pass_obj
@_told
def activate(context: Context, name: str, version: str) -> None:
    """Let a version of a voice speak from the next answer on."""
    with context.client() as client:
        voice = client.post(f"/v1/voices/{name}/activate", {"version": version})
    out.print(f"{name}: {voice['active']}", markup=False)


@main.group(invoke_without_command=True)
@as_json
@click.pass_context
@_told
def jobs(context: click.Context, as_json: bool) -> None:
    """List the trainings; `jobs show ID` and `jobs cancel ID` take one."""
    if context.invoked_subcommand:
        return
    with context.obj.client() as client:
        listed = list(client.pages("/v1/fine_tuning/jobs"))
    if as_json:
        click.echo(json.dumps(listed))
        return
    table = Table("job", "voice", "status", "tokens", "result")
    for job in listed:
        reasons = "; ".join((job["result"] or {}).get("reasons", []))
        told = reasons or (job["error"] or {}).get("message", "")
        table.add_row(job["id"], job["suffix"], job["status"], str(job["trained_tokens"]), told)
    out.print(table if listed else "No jobs yet: houseword tune voice FILE --name NAME")


@jobs.command("show")
@click.argument("job_id")
@as_json
@click.pass_obj
@_told
def show_job(context: Context, job_id: str, as_json: bool) -> None:
    """Show a job and its events."""
    with context.client() as client:
        job = client.get(f"/v1/fine_tuning/jobs/{job_id}")
        events = list(client.pages(f"/v1/fine_tuning/jobs/{job_id}/events", order="asc"))
    if as_json:
        click.echo(json.dumps({**job, "events": events}))
        return
    out.print(f"{job['id']} {job['status']}", style="bold")
    for event in events:
        out.print(f"  {event['level']:5} {event['message']}", markup=False)


@jobs.command("cancel")
@click.argument("job_id")
@click.pass_obj
@_told
def cancel_job(context: Context, job_id: str) -> None:
    """Cancel a job that has not ended."""
    with context.client() as client:
        job = client.post(f"/v1/fine_tuning/jobs/{job_id}/cancel")
    out.print(f"{job['id']} {job['status']}")


@main.command()
@as_json
@click.pass_obj
@_told
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
@click.pass_obj
@_told
def demo(context: Context, minutes: float) -> None:
    """See the whole product at work on a made-up company's documents and voice."""
    from server.demo import run

    logging.basicConfig(level=logging.ERROR, format="%(message)s")
    run(context.settings, minutes=minutes)


def find_store(client: Any, name_or_id: str | None) -> str:
    """The id of a store by its name or id, made if there is no such name; or the default's."""
    if name_or_id is None:
        return str(client.get("/v1/vector_stores/default")["id"])
    for store in client.pages("/v1/vector_stores"):
        if name_or_id in (store["id"], store["name"]):
            return str(store["id"])
    if name_or_id.startswith("vs_"):
        return str(client.get(f"/v1/vector_stores/{name_or_id}")["id"])  # tells that it is unknown
    return str(client.post("/v1/vector_stores", {"name": name_or_id})["id"])
