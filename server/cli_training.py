"""The commands of training: tune voice, voices, jobs."""

from __future__ import annotations

import json
from pathlib import Path

import click
from rich.table import Column, Table

from server.command import Context, as_json, err, fail, out, store_option, told
from tuning.findings import DROPPABLE
from tuning.task import KINDS


@click.group()
def tune() -> None:
    """Train on your own examples."""


@tune.command("voice")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--name", default="house", show_default=True, help="The voice's name.")
@click.option("--minutes", type=float, help="Longest training.")
@click.option("--epochs", type=int, help="Most passes over the examples.")
@click.option("--task", type=click.Choice(KINDS), help="What the voice does, if not recognised.")
@click.option(
    "--documents/--no-documents",
    default=None,
    help="Whether it answers from documents, if not recognised.",
)
@click.option(
    "--drop",
    multiple=True,
    metavar="CODE",
    type=click.Choice(DROPPABLE),
    help="Leave out the pairs of a finding of `houseword data check`; may be repeated.",
)
@click.option(
    "--validation",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Examples to judge by: then none of FILE are held back for the gate.",
)
@store_option
@as_json
@click.pass_obj
@told
def tune_voice(
    context: Context,
    file: Path,
    name: str,
    minutes: float | None,
    epochs: int | None,
    task: str | None,
    documents: bool | None,
    drop: tuple[str, ...],
    validation: Path | None,
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
            store_id=client.store_id(store),
            console=err,
            task=task,
            uses_documents=documents,
            drop=drop,
            validation=validation,
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
        fail(reason)


@click.group(invoke_without_command=True)
@as_json
@click.pass_context
@told
def voices(context: click.Context, as_json: bool) -> None:
    """List the voices; `voices activate NAME VERSION` lets a version speak."""
    if context.invoked_subcommand:
        return
    with context.obj.client() as client:
        listed = client.get("/v1/voices")["data"]
    if as_json:
        click.echo(json.dumps(listed))
        return
    # Ids are there to be copied: folded at the worst, never cut.
    table = Table("voice", Column("version", overflow="fold"), "state", "held-out loss", "why")
    for voice in listed:
        for version in voice["versions"]:
            metrics = version["metrics"]
            loss = f"{metrics['heldout_before']:.2f} -> {metrics['heldout_after']:.2f}"
            reasons = "; ".join(version["reasons"])
            table.add_row(voice["name"], version["id"], version["state"], loss, reasons)
    out.print(table if listed else "No voices yet: houseword tune voice FILE --name NAME")


@voices.command("activate")
@click.argument("name")
@click.argument("version", required=False)
@click.pass_obj
@told
def activate(context: Context, name: str, version: str | None) -> None:
    """Let a version of a voice, by default the newest, speak from the next answer on."""
    with context.client() as client:
        if version is None:
            version = client.get(f"/v1/voices/{name}")["versions"][-1]["id"]
        voice = client.post(f"/v1/voices/{name}/activate", {"version": version})
    out.print(f"{name}: {voice['active']}", markup=False)


@click.group(invoke_without_command=True)
@as_json
@click.pass_context
@told
def jobs(context: click.Context, as_json: bool) -> None:
    """List the trainings; `jobs show ID` and `jobs cancel ID` take one."""
    if context.invoked_subcommand:
        return
    with context.obj.client() as client:
        listed = list(client.pages("/v1/fine_tuning/jobs"))
    if as_json:
        click.echo(json.dumps(listed))
        return
    table = Table(Column("job", no_wrap=True), "voice", "status", "result")
    for job in listed:
        reasons = "; ".join((job["result"] or {}).get("reasons", []))
        said = reasons or (job["error"] or {}).get("message", "")
        table.add_row(job["id"], job["suffix"], job["status"], said)
    out.print(table if listed else "No jobs yet: houseword tune voice FILE --name NAME")


@jobs.command("show")
@click.argument("job_id")
@as_json
@click.pass_obj
@told
def show_job(context: Context, job_id: str, as_json: bool) -> None:
    """Show a job and its events."""
    from server.teaching import example_of

    with context.client() as client:
        job = client.get(f"/v1/fine_tuning/jobs/{job_id}")
        events = list(client.pages(f"/v1/fine_tuning/jobs/{job_id}/events", order="asc"))
    if as_json:
        click.echo(json.dumps({**job, "events": events}))
        return
    out.print(f"{job['id']} {job['status']}", style="bold")
    for event in events:
        out.print(f"  {event['level']:5} {event['message']}", markup=False)
        if example := example_of(event["data"]):
            out.print(f"        {example}", style="dim", markup=False)


@jobs.command("cancel")
@click.argument("job_id")
@click.pass_obj
@told
def cancel_job(context: Context, job_id: str) -> None:
    """Cancel a job that has not ended."""
    with context.client() as client:
        job = client.post(f"/v1/fine_tuning/jobs/{job_id}/cancel")
    out.print(f"{job['id']} {job['status']}")
