"""The rows of evaluations. One ends once: a terminal status is never changed.

It knows no worker and no model; `evaluator.py` does the work.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Literal

from retrieval.database import Connection, Database, Row
from server.errors import NotFound
from server.paging import read_page
from server.records import Page, Window

Status = Literal["queued", "running", "succeeded", "failed", "cancelled"]
_NOT_ENDED = "status NOT IN ('succeeded', 'failed', 'cancelled')"
_JSON = ("request", "progress", "result", "error")


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One verdict. `request` is what was asked for, complete; `progress` how far it has come."""

    id: str
    owner: str
    status: Status
    request: dict[str, Any]
    created_at: int
    progress: dict[str, Any] = field(default_factory=dict)
    started_at: int | None = None
    finished_at: int | None = None
    result: dict[str, Any] | None = None
    error: dict[str, Any] | None = None

    @property
    def ended(self) -> bool:
        return self.status in ("succeeded", "failed", "cancelled")


class Evaluations:
    """The rows; safe to use from any thread."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, evaluation: Evaluation, *, same_since: int) -> Evaluation:
        """Record one; the same request made since `same_since` gives the one it made then."""
        request = json.dumps(evaluation.request, sort_keys=True)

        def change(connection: Connection) -> Evaluation:
            row = connection.execute(
                "SELECT * FROM evaluations WHERE owner = ? AND request = ? AND created_at >= ? "
                f"AND {_NOT_ENDED}",
                (evaluation.owner, request, same_since),
            ).fetchone()
            if row is not None:
                return _evaluation(row)
            connection.execute(
                "INSERT INTO evaluations (id, owner, status, request, created_at) "
                "VALUES (?, ?, ?, ?, ?)",
                (
                    evaluation.id,
                    evaluation.owner,
                    evaluation.status,
                    request,
                    evaluation.created_at,
                ),
            )
            return evaluation

        return self._database.write(change)

    def evaluation(self, owner: str, evaluation_id: str) -> Evaluation:
        """One evaluation; raises `NotFound`."""
        with self._database.read() as connection:
            row = connection.execute(
                "SELECT * FROM evaluations WHERE owner = ? AND id = ?", (owner, evaluation_id)
            ).fetchone()
        if row is None:
            raise NotFound("evaluation", evaluation_id)
        return _evaluation(row)

    def evaluations(self, owner: str, window: Window) -> Page[Evaluation]:
        with self._database.read() as connection:
            return read_page(
                connection,
                window,
                _evaluation,
                table="evaluations",
                where="owner = ?",
                parameters=[owner],
            )

    def next(self) -> Evaluation | None:
        """The oldest one that has not ended, of any owner."""
        with self._database.read() as connection:
            row = connection.execute(
                f"SELECT * FROM evaluations WHERE {_NOT_ENDED} ORDER BY seq LIMIT 1"
            ).fetchone()
        return _evaluation(row) if row else None

    def move(self, evaluation: Evaluation, status: Status, *, now: int, **columns: Any) -> bool:
        """Change the status and columns; false if it has ended already."""
        values: dict[str, Any] = {"status": status, **columns}
        if status not in ("queued", "running"):
            values["finished_at"] = now
        return self._write(evaluation, values)

    def progress(self, evaluation: Evaluation, progress: dict[str, Any]) -> bool:
        """Remember how far it has come; false if it has ended meanwhile."""
        return self._write(evaluation, {"progress": progress})

    def _write(self, evaluation: Evaluation, values: dict[str, Any]) -> bool:
        coded = [
            json.dumps(value) if name in _JSON and value is not None else value
            for name, value in values.items()
        ]
        assignments = ", ".join(f"{name} = ?" for name in values)
        changed: int = self._database.write(
            lambda connection: (
                connection.execute(
                    f"UPDATE evaluations SET {assignments} WHERE id = ? AND {_NOT_ENDED}",
                    (*coded, evaluation.id),
                ).rowcount
            )
        )
        return changed == 1


def _evaluation(row: Row) -> Evaluation:
    values = {name: row[name] for name in Evaluation.__dataclass_fields__}
    for name in _JSON:
        values[name] = json.loads(values[name]) if values[name] is not None else None
    return Evaluation(**values)
