"""The command of the verdict: evaluate."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Column, Table

from server.client import Client
from server.command import Context, as_json, err, fail, out, store_option, told

POLL_SECONDS = 1.0
_SHORT = {  # key of a measure -> head of its column, where its title is too long
    "facts": "facts",
    "support": "supported",
    "figures": "figures",
    "overlap": "overlap",
    "declined": "declined, unanswerable",
    "false_refusals": "declined, answerable",
}
_COSTS = {"prompt_tokens": "prompt", "answer_tokens": "answer", "seconds": "seconds"}


@click.command()
@click.option("--voice", help="A voice's name, or the id of one version.")
@click.option("--model", help="The base's own name: the arms without a voice.")
@click.option(
    "--questions",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help='JSONL: {"question", "answerable", "expected", "document", "reply"}, all but the first '
    "optional [default: the voice's held-out rows]",
)
@click.option("--answerable", type=int, help="Most answerable questions [default: 60].")
@click.option("--unanswerable", type=int, help="Most unanswerable questions [default: 30].")
@click.option("--max-tokens", type=int, help="Longest answer [default: 96].")
@click.option("--minutes", type=float, help="Longest evaluation [default: 20].")
@click.option("--picture", type=click.Path(dir_okay=False, path_type=Path), help="SVG to write.")
@store_option
@as_json
@click.pass_obj
@told
def evaluate(
    context: Context,
    voice: str | None,
    model: str | None,
    questions: Path | None,
    answerable: int | None,
    unanswerable: int | None,
    max_tokens: int | None,
    minutes: float | None,
    picture: Path | None,
    store: str | None,
    as_json: bool,
) -> None:
    """Say whether a voice, a prompt or search is worth it, on held-out questions."""
    if (voice is None) == (model is None):
        raise click.UsageError("Name a --voice, or the base by --model.")
    asked: dict[str, Any] = {
        "voice": voice,
        "model": model,
        "answerable": answerable,
        "unanswerable": unanswerable,
        "max_tokens": max_tokens,
        "max_minutes": minutes,
    }
    with context.client() as client:
        if store:
            asked["vector_store_id"] = client.store_id(store)
        if questions:
            asked["questions_file"] = client.upload(questions, purpose="evals")["id"]
        request = {name: value for name, value in asked.items() if value is not None}
        evaluation = _follow(client, client.post("/v1/evaluations", request), console=err)
        if picture and evaluation["status"] == "succeeded":
            svg = client.read(f"/v1/evaluations/{evaluation['id']}/picture")
            picture.write_text(svg, encoding="utf-8")
    if as_json:
        click.echo(json.dumps(evaluation))
    elif evaluation["status"] == "succeeded":
        _show(evaluation["result"])
    if evaluation["status"] != "succeeded":
        fail((evaluation["error"] or {}).get("message", evaluation["status"]))


def _follow(client: Client, evaluation: dict[str, Any], *, console: Console) -> dict[str, Any]:
    """Show how far the evaluation has come until it has ended."""
    path = f"/v1/evaluations/{evaluation['id']}"
    console.print(f"evaluation {evaluation['id']}", markup=False)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    try:
        with Progress(*columns, console=console) as bars:
            bar = bars.add_task("waiting", total=None)
            while evaluation["status"] in ("queued", "running"):
                progress = evaluation["progress"]
                if progress:
                    told = f"{progress['stage']} {progress['done']} of {progress['of']}"
                    bars.update(
                        bar, description=told, completed=progress["done"], total=progress["of"]
                    )
                time.sleep(POLL_SECONDS)
                evaluation = client.get(path)
            bars.update(bar, description=evaluation["status"], completed=1, total=1)
    except KeyboardInterrupt:
        if client.in_process:
            client.post(f"{path}/cancel")
            console.print("cancelled")
        else:
            console.print(f"The evaluation goes on: GET {path}", markup=False)
        raise
    return evaluation


def _show(result: dict[str, Any]) -> None:
    from server.table import measured, notes, share

    measures = [measure for measure in measured(result) if measure.key != "claims"]
    heads = [_SHORT.get(measure.key, measure.title) for measure in measures]
    table = Table(Column("arm", no_wrap=True), "text", *heads, *_COSTS.values())
    for arm in result["arms"]:
        for state in ("served", "drafted"):
            figures = [share(arm[state].get(measure.key)) for measure in measures]
            costs = [_mean(arm[key]) for key in _COSTS] if state == "served" else [""] * len(_COSTS)
            title = arm["title"] if state == "served" else ""
            table.add_row(title, state, *figures, *costs)
    out.print(table)
    for line in notes(result):
        out.print(line, markup=False)
    out.print()
    out.print(result["recommendation"]["text"], markup=False, style="bold")


def _mean(figure: dict[str, Any] | None) -> str:
    return "-" if figure is None else f"{figure['mean']:.4g}"
