"""The commands of feedback: list, add, approve, reject."""

from __future__ import annotations

import json
from typing import Any

import click
from rich.table import Column, Table

from server.command import Context, as_json, out, told

edited_option = click.option("--edited", help="The better reply.")


@click.group()
def feedback() -> None:
    """Rate answers, and approve what a voice shall learn from them."""


@feedback.command("list")
@click.option("--voice", help="Of this voice alone.")
@click.option("--status", type=click.Choice(["pending", "approved", "rejected"]))
@click.option("--rating", type=click.Choice(["up", "down"]))
@as_json
@click.pass_obj
@told
def list_feedback(
    context: Context, voice: str | None, status: str | None, rating: str | None, as_json: bool
) -> None:
    """List the feedback, the newest first."""
    asked = {"voice": voice, "status": status, "rating": rating}
    query = {name: value for name, value in asked.items() if value}
    with context.client() as client:
        listed = list(client.pages("/v1/feedback", **query))
    if as_json:
        click.echo(json.dumps(listed))
        return
    table = Table(
        Column("feedback", no_wrap=True), "voice", "rating", "status", "question", "reply"
    )
    for one in listed:
        question = one["messages"][-1]["content"]
        reply = one["edited"] or one["answer"]
        marks = (one["voice"] or "", one["rating"], one["status"])
        table.add_row(one["id"], *marks, _short(question), _short(reply))
    out.print(table if listed else "No feedback: houseword feedback add TURN up")


@feedback.command("add")
@click.argument("turn")
@click.argument("rating", type=click.Choice(["up", "down"]))
@edited_option
@click.option("--comment", help="What was good or bad.")
@click.option("--voice", help="The voice that shall learn it [default: the one that spoke].")
@as_json
@click.pass_obj
@told
def add(
    context: Context,
    turn: str,
    rating: str,
    edited: str | None,
    comment: str | None,
    voice: str | None,
    as_json: bool,
) -> None:
    """Rate an answered turn by its id (`houseword ask` names it)."""
    body = {"turn": turn, "rating": rating, "edited": edited, "comment": comment, "voice": voice}
    _send(context, "/v1/feedback", body, as_json=as_json)


@feedback.command("approve")
@click.argument("feedback_id")
@edited_option
@as_json
@click.pass_obj
@told
def approve(context: Context, feedback_id: str, edited: str | None, as_json: bool) -> None:
    """Approve a feedback: its voice learns the reply when it is trained again."""
    body = {"status": "approved", "edited": edited}
    _send(context, f"/v1/feedback/{feedback_id}", body, as_json=as_json)


@feedback.command("reject")
@click.argument("feedback_id")
@as_json
@click.pass_obj
@told
def reject(context: Context, feedback_id: str, as_json: bool) -> None:
    """Reject a feedback: no voice learns from it."""
    _send(context, f"/v1/feedback/{feedback_id}", {"status": "rejected"}, as_json=as_json)


def _send(context: Context, path: str, body: dict[str, Any], *, as_json: bool) -> None:
    with context.client() as client:
        one = client.post(path, body)
    if as_json:
        click.echo(json.dumps(one))
        return
    out.print(f"{one['id']} {one['rating']} {one['status']}", markup=False)
    if one["job_id"]:
        out.print(f"The voice is trained again: houseword jobs show {one['job_id']}", markup=False)


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 60 else text[:59] + "\u2026"
