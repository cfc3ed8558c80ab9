"""The commands that change a voice as a whole: voices retrain, rollback, compare."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from server.command import Context, as_json, err, fail, out, told


@click.command()
@click.argument("name")
@click.option(
    "--add",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Chat JSONL whose pairs are added to the voice's.",
)
@click.option("--no-feedback", is_flag=True, help="Leave approved feedback out.")
@click.option("--from-active", is_flag=True, help="Go on from the active version.")
@click.option("--minutes", type=float, help="Longest training.")
@as_json
@click.pass_obj
@told
def retrain(
    context: Context,
    name: str,
    add: Path | None,
    no_feedback: bool,
    from_active: bool,
    minutes: float | None,
    as_json: bool,
) -> None:
    """Train a voice again on all its data and its approved feedback, through the gate."""
    from server.teaching import follow_to_end

    with context.client() as client:
        body: dict[str, Any] = {
            "feedback": not no_feedback,
            "from": "active" if from_active else "scratch",
        }
        if add is not None:
            body["training_file"] = client.upload(add, purpose="fine-tune")["id"]
        if minutes is not None:
            body["hyperparameters"] = {"max_minutes": minutes}
        job = client.post(f"/v1/voices/{name}/retrain", body)
        job = follow_to_end(client, job, console=err)
    if as_json:
        click.echo(json.dumps(job))
    elif job["status"] == "succeeded":
        result = job["result"]
        state = "serves now" if result["promoted"] else "stays a candidate"
        reasons = "; ".join(result["reasons"])
        out.print(f"{job['fine_tuned_model']} {state}: {reasons}", markup=False)
    if job["status"] != "succeeded":
        fail((job["error"] or {}).get("message", job["status"]))


@click.command()
@click.argument("name")
@as_json
@click.pass_obj
@told
def rollback(context: Context, name: str, as_json: bool) -> None:
    """Bring back the version that spoke before the active one."""
    with context.client() as client:
        voice = client.post(f"/v1/voices/{name}/rollback")
    if as_json:
        click.echo(json.dumps(voice))
    else:
        out.print(f"{name}: {voice['active']}", markup=False)


@click.command()
@click.argument("name")
@click.argument("a", required=False)
@click.argument("b", required=False)
@as_json
@click.pass_obj
@told
def compare(context: Context, name: str, a: str | None, b: str | None, as_json: bool) -> None:
    """Show two versions side by side: by default the one before and the active one."""
    named = {key: value for key, value in (("a", a), ("b", b)) if value}
    with context.client() as client:
        compared = client.get(f"/v1/voices/{name}/compare", **named)
    if as_json:
        click.echo(json.dumps(compared))
        return
    out.print(f"a: {compared['a']['id']}\nb: {compared['b']['id']}", markup=False)
    table = Table("figure", "a", "b", "change")
    for row in compared["metrics"]:
        shown = ("" if row[key] is None else f"{row[key]:.4g}" for key in ("a", "b", "change"))
        table.add_row(row["name"], *shown)
    out.print(table)
    for said in compared["caveats"]:
        out.print(f"note: {said}", markup=False)
