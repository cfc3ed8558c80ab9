"""Files and folders into a store, over the API, with a bar: what `houseword ingest` does.

Each file carries its path as the attribute `source`, so a changed file replaces its older
version and an unchanged one is skipped. Knows no parsing.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from server.client import Client, ClientError

POLL_SECONDS = 0.05
AHEAD = 8  # files uploaded before the first of them is indexed


def ingest_paths(
    client: Client, paths: Sequence[Path], *, store_id: str, console: Console
) -> dict[str, Any]:
    """Upload and index every file; returns counts, seconds and the failures with reasons."""
    began = time.monotonic()
    files = list(dict.fromkeys(_files(paths)))
    if not files:
        raise ClientError("there are no files to read in the given paths")
    failed: list[dict[str, str]] = []
    completed = unchanged = 0
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console) as bars:
        bar = bars.add_task("ingest", total=len(files))
        waiting: list[tuple[str, str]] = []
        todo = iter(files)
        exhausted = False
        waits_for: str | None = None
        while waiting or not exhausted:
            while not exhausted and len(waiting) < AHEAD:
                found = next(todo, None)
                if found is None:
                    exhausted = True
                    break
                path, source = found
                try:
                    waiting.append((_attach(client, store_id, path, source), source))
                except (ClientError, OSError) as error:
                    failed.append({"file": source, "reason": str(error)})
                    bars.advance(bar)
            if not waiting:
                continue
            file_id, source = waiting[0]
            state = client.get(f"/v1/vector_stores/{store_id}/files/{file_id}")
            if state["status"] == "in_progress":
                if (reason := state["progress"].get("waits_for")) != waits_for:
                    waits_for = reason
                    console.print(f"waiting: {reason}" if reason else "going on", markup=False)
                bars.update(bar, description=f"{_stage(state)} {source}"[-48:])
                time.sleep(POLL_SECONDS)
                continue
            waiting.pop(0)
            bars.advance(bar)
            if state["status"] == "completed":
                completed += 1
                if state.get("duplicate_of"):  # it is there already: this upload is not needed
                    client.delete(f"/v1/files/{file_id}")
                    unchanged += 1
            else:
                reason = (state.get("last_error") or {}).get("message", state["status"])
                failed.append({"file": source, "reason": reason})
        bars.update(bar, description="ingest")
    return {
        "store": store_id,
        "files": len(files),
        "completed": completed,
        "unchanged": unchanged,
        "failed": failed,
        "seconds": time.monotonic() - began,
    }


def _files(paths: Sequence[Path]) -> Iterator[tuple[Path, str]]:
    """(file, source) for each given file and each visible file below each given folder."""
    for given in paths:
        if given.is_file():
            yield given, given.name
            continue
        for path in sorted(given.rglob("*")):
            inside = path.relative_to(given)
            if path.is_file() and not any(part.startswith(".") for part in inside.parts):
                yield path, inside.as_posix()


def _attach(client: Client, store_id: str, path: Path, source: str) -> str:
    file_id: str = client.upload(path, purpose="assistants")["id"]
    client.post(
        f"/v1/vector_stores/{store_id}/files",
        {"file_id": file_id, "attributes": {"source": source}},
    )
    return file_id


def _stage(state: dict[str, Any]) -> str:
    progress = state.get("progress") or {}
    if progress.get("waits_for"):
        return "waiting"
    total = progress.get("total") or 0
    share = f" {100 * progress.get('done', 0) // total}%" if total else ""
    return f"{progress.get('stage', 'waiting')}{share}"
