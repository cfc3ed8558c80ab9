"""The rows of training jobs, with their events and checkpoints.

A job ends once: a terminal status is never changed. It knows no worker and no model;
`jobs.py` does the work.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from retrieval.database import Connection, Database, Row
from server.errors import NotFound
from server.ids import new_id
from server.paging import read_page
from server.records import Page, Window

Status = Literal["validating_files", "queued", "running", "succeeded", "failed", "cancelled"]
TERMINAL = ("succeeded", "failed", "cancelled")
WAITING = ("validating_files", "queued")
FRUITLESS = ("failed", "cancelled")
_NOT_ENDED = "status NOT IN ('succeeded', 'failed', 'cancelled')"


@dataclass(frozen=True, slots=True)
class Job:
    """One training. `request` is what was asked for, `result` the figures it ended with."""

    id: str
    owner: str
    kind: str
    status: Status
    model: str
    suffix: str
    request: dict[str, Any]
    request_digest: str
    created_at: int
    error: dict[str, Any] | None = None
    started_at: int | None = None
    finished_at: int | None = None
    fine_tuned_model: str | None = None
    trained_tokens: int | None = None
    result: dict[str, Any] | None = None

    @property
    def ended(self) -> bool:
        return self.status in TERMINAL


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened in a job; `data` holds metrics where `type` says so."""

    id: str
    level: str
    type: str
    message: str
    data: dict[str, Any] | None
    created_at: int


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A saved state of a training and its metrics at that step."""

    id: str
    job_id: str
    step: int
    metrics: dict[str, Any]
    created_at: int


class Trainings:
    """The rows of jobs; safe to use from any thread."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, job: Job, *, same_since: int) -> Job:
        """Record a job; the same request made since `same_since` gives the job it made then.

        The official client repeats a POST that seems to have failed: one training, not three.
        """

        def change(connection: Connection) -> Job:
            row = connection.execute(
                "SELECT * FROM jobs WHERE owner = ? AND request_digest = ? AND created_at >= ? "
                f"AND {_NOT_ENDED}",
                (job.owner, job.request_digest, same_since),
            ).fetchone()
            if row is not None:
                return _job(row)
            connection.execute(
                "INSERT INTO jobs (id, owner, kind, status, model, suffix, request, "
                "request_digest, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    job.id,
                    job.owner,
                    job.kind,
                    job.status,
                    job.model,
                    job.suffix,
                    json.dumps(job.request),
                    job.request_digest,
                    job.created_at,
                ),
            )
            return job

        return self._database.write(change)

    def job(self, owner: str, job_id: str) -> Job:
        """One job; raises `NotFound`."""
        with self._database.read() as connection:
            row = connection.execute(
                "SELECT * FROM jobs WHERE owner = ? AND id = ?", (owner, job_id)
            ).fetchone()
        if row is None:
            raise NotFound("fine-tuning job", job_id)
        return _job(row)

    def jobs(self, owner: str, window: Window) -> Page[Job]:
        with self._database.read() as connection:
            return read_page(
                connection, window, _job, table="jobs", where="owner = ?", parameters=[owner]
            )

    def of_search(self, owner: str) -> list[Job]:
        """The owner's search trainings that have succeeded, oldest first."""
        with self._database.read() as connection:
            rows = connection.execute(
                "SELECT * FROM jobs WHERE owner = ? AND kind = 'search' AND status = 'succeeded' "
                "ORDER BY seq",
                (owner,),
            ).fetchall()
        return [_job(row) for row in rows]

    def of_voice(self, owner: str, voice: str) -> list[Job]:
        """Every job of one voice, oldest first."""
        with self._database.read() as connection:
            rows = connection.execute(
                "SELECT * FROM jobs WHERE owner = ? AND suffix = ? ORDER BY seq", (owner, voice)
            ).fetchall()
        return [_job(row) for row in rows]

    def next(self) -> Job | None:
        """The oldest job that has not ended, of any owner."""
        with self._database.read() as connection:
            row = connection.execute(
                f"SELECT * FROM jobs WHERE {_NOT_ENDED} ORDER BY seq LIMIT 1"
            ).fetchone()
        return _job(row) if row else None

    def move(self, job: Job, status: Status, *, now: int, **columns: Any) -> bool:
        """Change a job's status and columns; false if it has ended already."""
        return self._database.write(
            lambda connection: self.move_within(connection, job, status, now=now, **columns)
        )

    def move_within(
        self, connection: Connection, job: Job, status: Status, *, now: int, **columns: Any
    ) -> bool:
        """The same within a transaction."""
        values: dict[str, Any] = {"status": status, **columns}
        if status in TERMINAL:
            values["finished_at"] = now
        for name in ("error", "result"):
            if name in values:
                values[name] = json.dumps(values[name])
        assignments = ", ".join(f"{name} = ?" for name in values)
        changed = connection.execute(
            f"UPDATE jobs SET {assignments} WHERE id = ? AND {_NOT_ENDED}",
            (*values.values(), job.id),
        )
        return changed.rowcount == 1

    # -- events and checkpoints

    def tell(self, job: Job, events: Sequence[Event]) -> None:
        """Append events; job checkpoints among the metrics are recorded as such, too."""

        def change(connection: Connection) -> None:
            for event in events:
                connection.execute(
                    "INSERT INTO job_events (id, job_id, owner, level, type, message, data, "
                    "created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    (
                        event.id,
                        job.id,
                        job.owner,
                        event.level,
                        event.type,
                        event.message,
                        json.dumps(event.data) if event.data is not None else None,
                        event.created_at,
                    ),
                )
                if event.data and "full_valid_loss" in event.data:
                    connection.execute(
                        "INSERT INTO job_checkpoints (id, job_id, owner, step, metrics, "
                        "created_at) VALUES (?, ?, ?, ?, ?, ?)",
                        (
                            new_id("ftckpt"),
                            job.id,
                            job.owner,
                            event.data["step"],
                            json.dumps(event.data),
                            event.created_at,
                        ),
                    )

        if events:
            self._database.write(change)

    def events(self, owner: str, job_id: str, window: Window) -> Page[Event]:
        """A job's events; raises `NotFound`."""
        self.job(owner, job_id)
        with self._database.read() as connection:
            return read_page(
                connection,
                window,
                _event,
                table="job_events",
                where="job_id = ?",
                parameters=[job_id],
            )

    def checkpoints(self, owner: str, job_id: str, window: Window) -> Page[Checkpoint]:
        """A job's checkpoints; raises `NotFound`."""
        self.job(owner, job_id)
        with self._database.read() as connection:
            return read_page(
                connection,
                window,
                _checkpoint,
                table="job_checkpoints",
                where="job_id = ?",
                parameters=[job_id],
            )


def _job(row: Row) -> Job:
    values = {name: row[name] for name in Job.__dataclass_fields__}
    for name in ("request", "error", "result"):
        values[name] = json.loads(values[name]) if values[name] is not None else None
    return Job(**values)


def _event(row: Row) -> Event:
    return Event(
        id=row["id"],
        level=row["level"],
        type=row["type"],
        message=row["message"],
        data=json.loads(row["data"]) if row["data"] else None,
        created_at=row["created_at"],
    )


def _checkpoint(row: Row) -> Checkpoint:
    return Checkpoint(
        id=row["id"],
        job_id=row["job_id"],
        step=row["step"],
        metrics=json.loads(row["metrics"]),
        created_at=row["created_at"],
    )
