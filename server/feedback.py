"""Feedback: what people said of answered turns, and what a voice may learn from it.

A feedback keeps its own copy of the conversation and the answer. Approved ones stay until they
are deleted, as they are training data; the others go with their turn's retention. One turn has
one feedback: a newer one replaces it and waits for its review again.

It knows no HTTP and no training. Read `Feedback` first.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from retrieval.database import Connection, Database, Row
from server.cite import without_markers
from server.errors import NotFound
from server.paging import read_page
from server.prompt import Message
from server.records import Page, Window

Rating = Literal["up", "down"]
Status = Literal["pending", "approved", "rejected"]


@dataclass(frozen=True, slots=True)
class Feedback:
    """One rated turn. `conversation` is as the user gave it; `job_id` the job that learned it.

    `cited` says that code may have put markers into the answer: elsewhere a [1] is its own.
    `citations` are the hits that these name, in their order.
    """

    id: str
    owner: str
    turn_id: str
    voice: str | None
    model: str
    adapter: str | None
    conversation: list[Message]
    answer: str
    cited: bool
    rating: Rating
    edited: str | None
    comment: str | None
    created_at: int
    status: Status = "pending"
    job_id: str | None = None
    reviewed_at: int | None = None
    citations: list[dict[str, Any]] | None = None

    @property
    def written(self) -> str:
        """The answer as it was given, without citation markers."""
        return without_markers(self.answer) if self.cited else self.answer.strip()

    @property
    def reply(self) -> str:
        """The reply to learn: the edited text, else the answer."""
        return self.edited or self.written

    @property
    def fault(self) -> str | None:
        """Why nothing can be learned from it, if so."""
        if self.rating == "down" and not self.edited:
            return "it is rated down and has no edited reply"
        if not self.reply:
            return "its reply is empty"
        roles = [message["role"] for message in self.conversation]
        turns = roles[1:] if roles[:1] == ["system"] else roles
        if turns != [("user", "assistant")[i % 2] for i in range(len(turns))]:
            return "user and assistant do not alternate in its conversation"
        return None

    def example(self) -> dict[str, Any]:
        """A line of chat JSONL."""
        return {"messages": [*self.conversation, _assistant(self.reply)]}


def preference_pairs(feedback: Sequence[Feedback]) -> list[dict[str, Any]]:
    """Lines in OpenAI's preference format: each approved reply before what lost against it.

    An edited reply is preferred to the answer that was edited; and any approved one to the answers
    of the same voice that were rated down in the same conversation, unless these were approved as
    well, or their rating was rejected. The answers are those that were given, which may be mended
    from what the model wrote.
    """
    approved = [one for one in feedback if one.status == "approved"]
    good = {(_said(one), one.reply) for one in approved}
    bad: dict[str, list[str]] = {}
    for one in feedback:
        if one.rating == "down" and one.status != "rejected":
            bad.setdefault(_said(one), []).append(one.written)
    pairs: dict[tuple[str, str, str], dict[str, Any]] = {}
    for one in approved:
        said = _said(one)
        lost = [answer for answer in bad.get(said, ()) if (said, answer) not in good]
        for answer in [*([one.written] if one.edited else ()), *lost]:
            if answer and answer != one.reply:
                pairs[said, one.reply, answer] = {
                    "input": {"messages": one.conversation},
                    "preferred_output": [_assistant(one.reply)],
                    "non_preferred_output": [_assistant(answer)],
                }
    return list(pairs.values())


class Feedbacks:
    """The rows of feedback; safe to use from any thread. Raises `NotFound` for others' ids."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, feedback: Feedback) -> Feedback:
        """Keep a feedback; an earlier one of the same turn is replaced under its own id."""

        def change(connection: Connection) -> Feedback:
            connection.execute(
                "INSERT INTO feedback (id, owner, turn_id, voice, model, adapter, conversation, "
                "answer, cited, citations, rating, edited, comment, status, created_at) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'pending', ?) "
                "ON CONFLICT (owner, turn_id) DO UPDATE SET voice = excluded.voice, "
                "rating = excluded.rating, edited = excluded.edited, comment = excluded.comment, "
                "status = 'pending', job_id = NULL, reviewed_at = NULL",
                (
                    feedback.id,
                    feedback.owner,
                    feedback.turn_id,
                    feedback.voice,
                    feedback.model,
                    feedback.adapter,
                    json.dumps(feedback.conversation),
                    feedback.answer,
                    feedback.cited,
                    json.dumps(feedback.citations),
                    feedback.rating,
                    feedback.edited,
                    feedback.comment,
                    feedback.created_at,
                ),
            )
            row = connection.execute(
                "SELECT * FROM feedback WHERE owner = ? AND turn_id = ?",
                (feedback.owner, feedback.turn_id),
            ).fetchone()
            return _feedback(row)

        return self._database.write(change)

    def get(self, owner: str, feedback_id: str) -> Feedback:
        """One feedback."""
        with self._database.read() as connection:
            return _find(connection, owner, feedback_id)

    def page(
        self,
        owner: str,
        window: Window,
        *,
        voice: str | None = None,
        status: Status | None = None,
        rating: Rating | None = None,
    ) -> Page[Feedback]:
        """A page of the owner's feedback."""
        where, parameters = "owner = ?", [owner]
        for name, value in (("voice", voice), ("status", status), ("rating", rating)):
            if value is not None:
                where += f" AND {name} = ?"
                parameters.append(value)
        with self._database.read() as connection:
            return read_page(
                connection, window, _feedback, table="feedback", where=where, parameters=parameters
            )

    def review(
        self, owner: str, feedback_id: str, status: Status, *, edited: str | None, now: int
    ) -> Feedback:
        """Approve or reject; `edited` replaces the edit. What changes is to be learned anew."""

        def change(connection: Connection) -> Feedback:
            known = _find(connection, owner, feedback_id)
            new = edited if edited is not None else known.edited
            same = (known.status, known.edited) == (status, new)
            connection.execute(
                "UPDATE feedback SET status = ?, edited = ?, reviewed_at = ?, job_id = ? "
                "WHERE id = ?",
                (status, new, now, known.job_id if same else None, feedback_id),
            )
            return _find(connection, owner, feedback_id)

        return self._database.write(change)

    def approved(self, owner: str, voice: str | None) -> list[Feedback]:
        """What was approved for a voice (None: for any), oldest first."""
        with self._database.read() as connection:
            rows = connection.execute(
                "SELECT * FROM feedback WHERE owner = ? AND (voice = ? OR ? IS NULL) "
                "AND status = 'approved' ORDER BY seq",
                (owner, voice, voice),
            ).fetchall()
        return [_feedback(row) for row in rows]

    def judged(self, owner: str, voice: str | None) -> list[Feedback]:
        """What was approved for a voice (None: any), or only rated down; oldest first."""
        with self._database.read() as connection:
            rows = connection.execute(
                "SELECT * FROM feedback WHERE owner = ? AND (voice = ? OR ? IS NULL) "
                "AND (status = 'approved' OR (status = 'pending' AND rating = 'down')) "
                "ORDER BY seq",
                (owner, voice, voice),
            ).fetchall()
        return [_feedback(row) for row in rows]

    def waiting(self, owner: str, voice: str) -> int:
        """How many approved ones no version has learned or is learning.

        Those of a job that failed or was cancelled count again beside a new one; alone they do
        not, as what has ended one job would end the next one, too.
        """
        with self._database.read() as connection:
            new, again = connection.execute(
                "SELECT COUNT(*) FILTER (WHERE feedback.job_id IS NULL), "
                "COUNT(*) FILTER (WHERE jobs.status IN ('failed', 'cancelled')) "
                "FROM feedback LEFT JOIN jobs ON jobs.id = feedback.job_id "
                "WHERE feedback.owner = ? AND feedback.voice = ? AND feedback.status = 'approved'",
                (owner, voice),
            ).fetchone()
        return new + again if new else 0

    def take(self, owner: str, feedback_ids: list[str], *, job_id: str) -> None:
        """Remember which job learns from them."""
        self._database.write(
            lambda connection: connection.executemany(
                "UPDATE feedback SET job_id = ? WHERE owner = ? AND id = ?",
                [(job_id, owner, feedback_id) for feedback_id in feedback_ids],
            )
        )

    def forget(self, owner: str, feedback_id: str) -> None:
        """Delete one; the next version of its voice does not learn from it."""

        def change(connection: Connection) -> None:
            _find(connection, owner, feedback_id)
            connection.execute("DELETE FROM feedback WHERE id = ?", (feedback_id,))

        self._database.write(change)

    def expire(self, *, before: int) -> int:
        """Delete what was not approved and is from before a time; returns how many."""
        return self._database.write(
            lambda connection: (
                connection.execute(
                    "DELETE FROM feedback WHERE status <> 'approved' AND created_at < ?", (before,)
                ).rowcount
            )
        )


def _said(feedback: Feedback) -> str:
    """What two answers must have in common to be compared: the voice and what was said before."""
    return json.dumps([feedback.voice, feedback.conversation], sort_keys=True)


def _assistant(content: str) -> Message:
    return {"role": "assistant", "content": content}


def _find(connection: Connection, owner: str, feedback_id: str) -> Feedback:
    row = connection.execute(
        "SELECT * FROM feedback WHERE owner = ? AND id = ?", (owner, feedback_id)
    ).fetchone()
    if row is None:
        raise NotFound("feedback", feedback_id)
    return _feedback(row)


def _feedback(row: Row) -> Feedback:
    values = {name: row[name] for name in Feedback.__dataclass_fields__}
    values["conversation"] = json.loads(values["conversation"])
    values["citations"] = json.loads(values["citations"] or "null")
    return Feedback(**{**values, "cited": bool(values["cited"])})
