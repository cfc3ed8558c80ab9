"""The commands of training data: data check, data pairs, data questions."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from server.command import Context, as_json, err, out, store_option, told
from tuning.task import KINDS


@click.group()
def data() -> None:
    """Look at training data before you train."""


@data.command("check")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--task", type=click.Choice(KINDS), help="What the voice does, if not recognised.")
@click.option(
    "--documents/--no-documents",
    default=True,
    help="Whether to look for replies that the documents contradict, where there are some.",
)
@store_option
@as_json
@click.pass_obj
@told
def check(
    context: Context,
    file: Path,
    task: str | None,
    documents: bool,
    store: str | None,
    as_json: bool,
) -> None:
    """Report duplicates, leakage, placeholders, secrets and other faults of chat JSONL."""
    if store or (documents and _has_documents(context)):
        report = _checked_by_server(context, file, task=task, store=store)
    else:
        from tuning.report import check as check_alone

        report = check_alone(file.read_bytes(), kind=task)[0].to_json()
    if as_json:
        click.echo(json.dumps(report))
    else:
        _print(report, file)
    if report["errors"]:
        sys.exit(1)


@data.command("pairs")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("pairs", type=click.Path(dir_okay=False, path_type=Path))
@as_json
@click.pass_obj
@told
def pair(context: Context, file: Path, pairs: Path, as_json: bool) -> None:
    """Make pairs from texts without questions (JSONL of {"text": ...}, .txt or .md).

    The base model writes the request that each text answers; review PAIRS before you train on it.
    """
    from rich.progress import Progress

    from server.pairing import pair_texts
    from tuning.texts import read_texts, to_jsonl

    texts = read_texts(file.read_bytes(), name=file.name)
    with Progress(console=err) as bars:
        bar = bars.add_task("requests", total=len(texts))
        made = pair_texts(
            context.settings, texts, progress=lambda done, total: bars.update(bar, completed=done)
        )
    pairs.write_text(to_jsonl(made.kept), encoding="utf-8")
    if as_json:
        dropped = [{"line": line, "reason": reason} for line, reason in made.dropped]
        click.echo(json.dumps({"kept": len(made.kept), "dropped": dropped}))
        return
    for line, reason in made.dropped:
        out.print(f"line {line} left out: {reason}", style="dim", markup=False)
    out.print(
        f"{len(made.kept)} of {len(texts)} texts have a request in {pairs}: read and mend it, then "
        f"houseword tune voice {pairs}",
        markup=False,
    )


@data.command("questions")
@click.argument("out_file", metavar="OUT", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--count", type=click.IntRange(min=1), default=200, help="Passages to ask about.")
@store_option
@as_json
@click.pass_obj
@told
def questions(
    context: Context, out_file: Path, count: int, store: str | None, as_json: bool
) -> None:
    """Let the base model write questions that a store's passages answer, to tune search on.

    Only questions whose passage is found by them are kept; review OUT before you tune.
    """
    from rich.progress import Progress

    from server.question_writing import FOUND_WITHIN, draw, write_questions
    from server.search_pairs import WRITTEN_BY_BASE

    with context.client() as client, Progress(console=err) as bars:
        path = f"/v1/vector_stores/{client.store_id(store)}"
        files = [file for file in client.pages(f"{path}/files") if file["status"] == "completed"]
        passages = [client.get(f"{path}/files/{file['id']}/passages")["data"] for file in files]
        texts = draw([[passage["text"] for passage in own] for own in passages], str, count=count)

        def finds(question: str, at: int) -> bool:
            asked = {"query": question, "max_num_results": FOUND_WITHIN}
            hits = client.post(f"{path}/search", asked)["data"]
            return any(part["text"] == texts[at] for hit in hits for part in hit["content"])

        bar = bars.add_task("questions", total=None)
        written = write_questions(
            context.settings,
            texts,
            finds=finds,
            progress=lambda done, total: bars.update(bar, completed=done, total=total),
        )
    lines = [
        {"question": one.question, "passage": texts[one.passage], **WRITTEN_BY_BASE}
        for one in written
    ]
    content = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    out_file.write_text(content, encoding="utf-8")
    if as_json:
        click.echo(json.dumps({"kept": len(lines), "asked": len(texts)}))
        return
    out.print(
        f"{len(lines)} of {len(texts)} passages have a question in {out_file}: read and mend it, "
        f"then houseword tune search {out_file}",
        markup=False,
    )


def _has_documents(context: Context) -> bool:
    """Whether a server runs, which may hold some, or the data directory does."""
    from server.lock import find_server

    if context.url or find_server(context.settings.data_dir):
        return True
    path = context.settings.folder("houseword.db")
    if not path.is_file():
        return False
    from retrieval.database import Database
    from retrieval.store import holds_documents

    database = Database(path)
    try:
        with database.read() as connection:
            return holds_documents(connection)
    finally:
        database.close()


def _checked_by_server(
    context: Context, file: Path, *, task: str | None, store: str | None
) -> dict[str, Any]:
    with context.client() as client:
        body = {"vector_store_id": client.store_id(store), "task": task}
        uploaded = client.upload(file, purpose="fine-tune")
        try:
            report: dict[str, Any] = client.post(
                "/v1/data/check", {**body, "file_id": uploaded["id"]}
            )
        finally:
            client.delete(f"/v1/files/{uploaded['id']}")
    return report


def _print(report: dict[str, Any], file: Path) -> None:
    for finding in report["findings"]:
        colour = "red" if finding["severity"] == "error" else "yellow"
        out.print(f"{finding['severity']}  {finding['code']}  {finding['count']}", style=colour)
        out.print(f"    {finding['advice']}", markup=False)
        for example in finding["examples"]:
            lines = ", ".join(map(str, example["lines"]))
            place = f"line {lines}: " if lines else ""
            out.print(f"    {place}{example['excerpt']}", style="dim", markup=False)
    if report["errors"]:
        return
    out.print(f"{report['pairs']} pairs. {report['expect']}", markup=False)
    from tuning.findings import ALWAYS_DROPPED, DROPPABLE

    codes = [finding["code"] for finding in report["findings"]]
    droppable = [code for code in codes if code in DROPPABLE and code not in ALWAYS_DROPPED]
    if droppable:
        out.print(
            f"To leave such pairs out: houseword tune voice {file} --drop {droppable[0]}",
            markup=False,
        )
