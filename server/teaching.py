"""Teach a voice over the API and watch a job: `tune voice`, `voices retrain`, `tune search`.

Stopped by Ctrl-C, the job goes on where a server runs, and is cancelled where the server is
this very process. Knows no training.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from server.client import Client

POLL_SECONDS = 1.0
ENDED = ("succeeded", "failed", "cancelled")


def teach(
    client: Client,
    file: Path,
    *,
    name: str,
    hyperparameters: dict[str, Any],
    store_id: str,
    console: Console,
    task: str | None = None,
    uses_documents: bool | None = None,
    drop: Sequence[str] = (),
    validation: Path | None = None,
) -> dict[str, Any]:
    """Upload the examples, start the job and follow it to its end; returns the job.

    `task` and `uses_documents` are recognised from the examples where they are None; `drop` names
    the findings of the data report whose pairs are left out. The examples of `validation`, if
    given, are the gate's rows, and none of `file` are held back for it.
    """
    uploaded = client.upload(file, purpose="fine-tune")
    held_out = client.upload(validation, purpose="fine-tune")["id"] if validation else None
    job = client.post(
        "/v1/fine_tuning/jobs",
        {
            "model": client.get("/healthz")["generator"],
            "training_file": uploaded["id"],
            "validation_file": held_out,
            "suffix": name,
            "hyperparameters": {k: v for k, v in hyperparameters.items() if v is not None},
            "metadata": {"vector_store_id": store_id},
            "task": task,
            "uses_documents": uses_documents,
            "drop": list(drop),
        },
    )
    return follow_to_end(client, job, console=console)


def follow_to_end(client: Client, job: dict[str, Any], *, console: Console) -> dict[str, Any]:
    """Follow a job; Ctrl-C leaves it to a running server, or cancels it where that ends, too."""
    console.print(f"job {job['id']}", markup=False)
    try:
        return follow(client, job["id"], console=console)
    except KeyboardInterrupt:
        if client.in_process:
            client.post(f"/v1/fine_tuning/jobs/{job['id']}/cancel")
            console.print("cancelled")
        else:
            console.print(f"The job goes on: houseword jobs show {job['id']}", markup=False)
        raise


def follow(client: Client, job_id: str, *, console: Console) -> dict[str, Any]:
    """Show a job's events as they come, with a live line of its losses, until it has ended."""
    path = f"/v1/fine_tuning/jobs/{job_id}"
    last: str | None = None
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as bars:
        bar = bars.add_task("preparing", total=1.0)
        heldout = ""
        while True:
            job: dict[str, Any] = client.get(path)
            cursor = {"after": last} if last else {}
            events = client.get(f"{path}/events", limit=1000, order="asc", **cursor)["data"]
            for event in events:
                last, data = event["id"], event["data"] or {}
                if "valid_loss" in data:
                    heldout = f"held-out {data['valid_loss']:.3f}"
                    console.print(f"  {event['message']}", markup=False)
                elif "train_loss" in data:
                    speed = ""
                    if "tokens_per_second" in data:
                        speed = f"{data['tokens_per_second']:.0f} tokens/s"
                    bars.update(
                        bar,
                        completed=data["done"],
                        description=f"loss {data['train_loss']:.3f}  {heldout}  {speed}",
                    )
                else:
                    console.print(f"  {event['message']}", markup=False)
                    if example := example_of(data):
                        console.print(f"    {example}", style="dim", markup=False)
            if job["status"] in ENDED and not events:
                bars.update(bar, completed=1.0)
                return job
            time.sleep(POLL_SECONDS)


def example_of(data: Mapping[str, Any] | None) -> str | None:
    """The first example of an event that tells of a finding in the data, in one line."""
    shown = (data or {}).get("examples")
    if not shown:
        return None
    lines = ", ".join(map(str, shown[0]["lines"]))
    return f"line {lines}: {shown[0]['excerpt']}" if lines else str(shown[0]["excerpt"])
