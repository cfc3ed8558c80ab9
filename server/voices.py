"""Voices and their versions: rows that say which adapter speaks when a voice is named.

A version is one trained adapter, named `ft:BASE:VOICE:DIGEST`; a voice points at its active
version, and every activation is remembered, so that a rollback finds what spoke before. It knows
no training and no model.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Literal

from retrieval.database import Connection, Database, Row
from server.errors import ApiError, NotFound
from server.formulas import Formulas
from tuning.records import Split
from tuning.task import Task

NAME = re.compile(r"[a-z0-9-]{1,40}")
State = Literal["candidate", "active", "retired"]
How = Literal["gate", "hand", "rollback"]
FIRST_TASK: dict[str, Any] = Task("reply", uses_documents=True).to_json()


@dataclass(frozen=True, slots=True)
class Version:
    """One trained adapter of a voice; `reasons` say in words why it is (not) active."""

    id: str
    owner: str
    voice: str
    digest: str
    job_id: str | None
    base: str
    card: dict[str, Any]
    state: State
    reasons: tuple[str, ...]
    created_at: int

    @property
    def task(self) -> dict[str, Any]:
        """The task on its card; a voice older than tasks replies from the documents."""
        return self.card.get("task") or FIRST_TASK

    @property
    def formulas(self) -> Formulas:
        """How its house greets and takes leave; a voice older than this has none on its card."""
        return Formulas.from_json(self.card.get("formulas", ()))


@dataclass(frozen=True, slots=True)
class Activation:
    """A version began to speak: by whom, and whether it was forced past its gate."""

    version: str
    how: How
    forced: bool
    by: str
    created_at: int


@dataclass(frozen=True, slots=True)
class Voice:
    """A named style with its versions and activations, oldest first.

    `active` is a version's id, `previous` that of the one which a rollback brings back.
    """

    name: str
    active: str | None
    previous: str | None
    created_at: int
    updated_at: int
    versions: tuple[Version, ...] = ()
    activations: tuple[Activation, ...] = ()


class Voices:
    """The rows of voices; safe to use from any thread."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, connection: Connection, version: Version) -> None:
        """Record a version (and its voice, if new) within a transaction.

        Training the same data the same way gives the same adapter: its row is renewed.
        """
        connection.execute(
            "INSERT INTO voices (owner, name, created_at, updated_at) VALUES (?, ?, ?, ?) "
            "ON CONFLICT DO NOTHING",
            (version.owner, version.voice, version.created_at, version.created_at),
        )
        connection.execute(
            "INSERT INTO adapters (id, owner, voice, digest, job_id, base, card, state, reasons, "
            "created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
            "ON CONFLICT (owner, id) DO UPDATE SET job_id = excluded.job_id, card = excluded.card, "
            "reasons = excluded.reasons",
            (
                version.id,
                version.owner,
                version.voice,
                version.digest,
                version.job_id,
                version.base,
                json.dumps(version.card),
                version.state,
                json.dumps(version.reasons),
                version.created_at,
            ),
        )

    def activate(
        self,
        owner: str,
        name: str,
        version_id: str,
        *,
        now: int,
        reason: str | None = None,
        how: How = "hand",
    ) -> Voice:
        """Make a version the one that serves; the one before is kept. Raises `NotFound`."""

        def change(connection: Connection) -> None:
            self.activate_within(
                connection, owner, name, version_id, now=now, reason=reason, how=how
            )

        self._database.write(change)
        return self.voice(owner, name)

    def rollback(self, owner: str, name: str, *, now: int) -> Voice:
        """Bring back the version that spoke before the active one; again goes back further.

        Raises `NotFound`, or a 409 where nothing spoke before.
        """

        def change(connection: Connection) -> None:
            spoken = _spoken(_find(connection, owner, name))
            if len(spoken) < 2:
                raise ApiError(
                    409,
                    f"No version of the voice '{name}' spoke before: there is nothing to bring "
                    "back.",
                    code="nothing_to_roll_back",
                )
            self.activate_within(
                connection, owner, name, spoken[-2], now=now, reason="rolled back", how="rollback"
            )
            connection.execute(
                "UPDATE voices SET previous = ? WHERE owner = ? AND name = ?",
                (spoken[-3] if len(spoken) > 2 else None, owner, name),
            )

        self._database.write(change)
        return self.voice(owner, name)

    def activate_within(
        self,
        connection: Connection,
        owner: str,
        name: str,
        version_id: str,
        *,
        now: int,
        reason: str | None = None,
        how: How = "gate",
    ) -> None:
        """The same within a transaction. A candidate chosen by hand has not passed its gate."""
        voice = _find(connection, owner, name)
        version = next((v for v in voice.versions if v.id == version_id), None)
        if version is None:
            raise NotFound(f"version of the voice '{name}'", version_id)
        if voice.active == version_id:
            return
        if voice.active:
            connection.execute(
                "UPDATE adapters SET state = 'retired' WHERE owner = ? AND id = ?",
                (owner, voice.active),
            )
        reasons = [*version.reasons, reason] if reason else version.reasons
        connection.execute(
            "UPDATE adapters SET state = 'active', reasons = ? WHERE owner = ? AND id = ?",
            (json.dumps(reasons), owner, version_id),
        )
        connection.execute(
            "UPDATE voices SET active = ?, previous = ?, updated_at = ? "
            "WHERE owner = ? AND name = ?",
            (version_id, voice.active, now, owner, name),
        )
        forced = how == "hand" and version.state == "candidate"
        connection.execute(
            "INSERT INTO activations (owner, voice, version, how, forced, created_at) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            (owner, name, version_id, how, forced, now),
        )

    def voice(self, owner: str, name: str) -> Voice:
        """One voice with its versions; raises `NotFound`."""
        with self._database.read() as connection:
            return _find(connection, owner, name)

    def list(self, owner: str) -> list[Voice]:
        """The owner's voices, oldest first."""
        with self._database.read() as connection:
            names = connection.execute(
                "SELECT name FROM voices WHERE owner = ? ORDER BY created_at, name", (owner,)
            ).fetchall()
            return [_find(connection, owner, row["name"]) for row in names]

    def everyone(self) -> tuple[tuple[str, str], ...]:
        """(owner, name) of every voice of every owner."""
        with self._database.read() as connection:
            rows = connection.execute("SELECT owner, name FROM voices").fetchall()
        return tuple((row["owner"], row["name"]) for row in rows)

    def version(self, owner: str, model: str) -> Version | None:
        """The version that speaks when `model` is named: a voice's name or a version's id."""
        with self._database.read() as connection:
            row = connection.execute(
                "SELECT * FROM adapters WHERE owner = ? AND id = ? UNION ALL "
                "SELECT adapters.* FROM voices JOIN adapters "
                "ON adapters.owner = voices.owner AND adapters.id = voices.active "
                "WHERE voices.owner = ? AND voices.name = ?",
                (owner, model, owner, model),
            ).fetchone()
        return _version(row) if row else None

    def splits(self, owner: str, voice: str) -> dict[str, Split]:
        """Which split each question of a voice's examples belongs to, for ever."""
        with self._database.read() as connection:
            rows = connection.execute(
                "SELECT question, split FROM splits WHERE owner = ? AND voice = ?", (owner, voice)
            ).fetchall()
        return {row["question"]: row["split"] for row in rows}

    def keep_splits(self, owner: str, voice: str, splits: dict[str, Split]) -> None:
        """Remember the split of new questions; what is known never changes."""
        self._database.write(
            lambda connection: connection.executemany(
                "INSERT INTO splits (owner, voice, question, split) VALUES (?, ?, ?, ?) "
                "ON CONFLICT DO NOTHING",
                [(owner, voice, question, split) for question, split in splits.items()],
            )
        )


def _find(connection: Connection, owner: str, name: str) -> Voice:
    row = connection.execute(
        "SELECT * FROM voices WHERE owner = ? AND name = ?", (owner, name)
    ).fetchone()
    if row is None:
        raise NotFound("voice", name)
    versions = connection.execute(
        "SELECT * FROM adapters WHERE owner = ? AND voice = ? ORDER BY seq", (owner, name)
    ).fetchall()
    activations = connection.execute(
        "SELECT * FROM activations WHERE owner = ? AND voice = ? ORDER BY seq", (owner, name)
    ).fetchall()
    return Voice(
        name=row["name"],
        active=row["active"],
        previous=row["previous"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        versions=tuple(_version(version) for version in versions),
        activations=tuple(_activation(activation) for activation in activations),
    )


def _spoken(voice: Voice) -> list[str]:
    """The versions that a rollback can go back through, the active one last."""
    spoken: list[str] = []
    for activation in voice.activations:
        if activation.how == "rollback":
            spoken.pop()
        else:
            spoken.append(activation.version)
    return spoken


def _activation(row: Row) -> Activation:
    return Activation(
        version=row["version"],
        how=row["how"],
        forced=bool(row["forced"]),
        by=row["owner"],
        created_at=row["created_at"],
    )


def _version(row: Row) -> Version:
    return Version(
        id=row["id"],
        owner=row["owner"],
        voice=row["voice"],
        digest=row["digest"],
        job_id=row["job_id"],
        base=row["base"],
        card=json.loads(row["card"]),
        state=row["state"],
        reasons=tuple(json.loads(row["reasons"])),
        created_at=row["created_at"],
    )
