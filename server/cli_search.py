"""The commands of tuned search: tune search, search-models, and its activate and rollback."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
from rich.table import Column, Table

from server.cli_voices import gate_table
from server.client import Client
from server.command import Context, as_json, err, fail, out, store_option, told


@click.command("search")
@click.argument(
    "file", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option("--method", type=click.Choice(["auto", "query_adapter", "full"]), default="auto")
@click.option("--minutes", type=float, help="Longest training.")
@click.option("--model", help="Another embedder on the server's machine to begin with.")
@click.option("--written", type=int, help="Learn from so many questions of the base's, too.")
@click.option("--compare-stock", is_flag=True, help="Train the stock recipe as long, beside it.")
@store_option
@as_json
@click.pass_obj
@told
def tune_search(
    context: Context,
    file: Path | None,
    method: str,
    minutes: float | None,
    model: str | None,
    written: int | None,
    compare_stock: bool,
    store: str | None,
    as_json: bool,
) -> None:
    """Tune a store's search from JSONL: {"question": ..., "document" or "passage": ...} a line.

    Without FILE only the questions found in the documents teach, and nothing can judge.
    """
    from server.teaching import follow_to_end

    with context.client() as client:
        body: dict[str, Any] = {
            "model": model or client.get("/healthz")["embedder"],
            "metadata": {"vector_store_id": client.store_id(store)},
            "method": method,
        }
        if file is not None:
            body["training_file"] = client.upload(file, purpose="fine-tune")["id"]
        asked = {"max_minutes": minutes, "written_questions": written}
        body["hyperparameters"] = {name: value for name, value in asked.items() if value}
        if compare_stock:
            body["hyperparameters"]["compare_stock"] = 1
        job = follow_to_end(client, client.post("/v1/fine_tuning/jobs", body), console=err)
    if as_json:
        click.echo(json.dumps(job))
    elif job["status"] == "succeeded":
        _print_verdict(job)
    if job["status"] != "succeeded":
        fail((job["error"] or {}).get("message", job["status"]))


@click.group("search-models", invoke_without_command=True)
@store_option
@as_json
@click.pass_context
@told
def search_models(context: click.Context, store: str | None, as_json: bool) -> None:
    """List the versions of a store's search; `base` is the server's own embedder."""
    if context.invoked_subcommand:
        return
    with context.obj.client() as client:
        listed = client.get(_path(client, store))
    if as_json:
        click.echo(json.dumps(listed))
        return
    table = Table(Column("version", overflow="fold"), "method", "state", "nDCG@10", "why")
    for model in listed["data"]:
        gate = next((row for row in model["gate"] if row["name"] == "nDCG@10"), None)
        figures = f"{gate['other']:.3f} -> {gate['candidate']:.3f}" if gate else ""
        why = "; ".join(model["reasons"])
        table.add_row(model["id"], model["method"] or "", model["state"], figures, why)
    out.print(table)


@search_models.command("activate")
@click.argument("version")
@store_option
@click.pass_obj
@told
def activate(context: Context, version: str, store: str | None) -> None:
    """Let a version, or `base`, serve a store's searches; that it was forced is recorded."""
    from server.teaching import follow_to_end

    with context.client() as client:
        path = _path(client, store)
        listed = client.post(f"{path}/{version}/activate")
        if listed["job"] is not None:
            job = follow_to_end(client, listed["job"], console=err)
            if job["status"] != "succeeded":
                fail((job["error"] or {}).get("message", job["status"]))
            listed = client.get(path)
    out.print(f"{listed['vector_store_id']}: {listed['active']}", markup=False)


@search_models.command("rollback")
@store_option
@click.pass_obj
@told
def rollback(context: Context, store: str | None) -> None:
    """Bring back what served a store's searches before."""
    with context.client() as client:
        listed = client.post(f"{_path(client, store)}/rollback")
    out.print(f"{listed['vector_store_id']}: {listed['active']}", markup=False)


def _path(client: Client, store: str | None) -> str:
    return f"/v1/vector_stores/{client.store_id(store)}/search_models"


def _print_verdict(job: dict[str, Any]) -> None:
    result = job["result"]
    if result["gate"]:
        out.print(gate_table(result["gate"]))
    for reason in result["reasons"]:
        out.print(f"- {reason}", markup=False)
    if result["promoted"]:
        out.print(f"{result['digest']} serves now.", markup=False)
    elif result["digest"]:
        out.print(
            f"It stays a candidate. Use it anyway: houseword search-models activate "
            f"{result['digest']}",
            markup=False,
        )
