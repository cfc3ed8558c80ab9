"""The commands that change a voice as a whole: voices retrain, judge, rollback, compare."""

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


@click.command("judge")
@click.argument("name")
@click.argument("version", required=False)
@click.option("--minutes", type=float, help="Longest writing for the gate.")
@as_json
@click.pass_obj
@told
def judge_version(
    context: Context, name: str, version: str | None, minutes: float | None, as_json: bool
) -> None:
    """Ask the gate again about a version, by default the newest; it serves if it passes."""
    from server.teaching import follow_to_end

    with context.client() as client:
        asked = {"version": version, "minutes": minutes}
        body = {key: value for key, value in asked.items() if value is not None}
        job = follow_to_end(client, client.post(f"/v1/voices/{name}/judge", body), console=err)
    if as_json:
        click.echo(json.dumps(job))
    elif job["status"] == "succeeded":
        out.print(gate_table(job["result"]["gate"]))
        for reason in job["result"]["reasons"]:
            out.print(f"- {reason}", markup=False)
    if job["status"] != "succeeded":
        fail((job["error"] or {}).get("message", job["status"]))


def gate_table(rows: list[dict[str, Any]]) -> Table:
    """What the gate measured, a line each."""
    table = Table("measure", "before", "candidate", "difference", "95% interval", "rows", "passed")
    for row in rows:
        if row["difference"] is None:
            table.add_row(row["name"], "", "", "", "", str(row["n"]), "no")
            continue
        table.add_row(
            row["name"],
            *(f"{row[key]:.3f}" for key in ("other", "candidate", "difference")),
            f"{row['low']:+.3f} to {row['high']:+.3f}",
            str(row["n"]),
            "yes" if row["passed"] else "no",
        )
    return table


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
