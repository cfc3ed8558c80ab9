"""The data report over HTTP, on jobs and at the command line, documents included."""

from __future__ import annotations

import json
import re
from io import StringIO
from pathlib import Path

import openai
import pytest
from click.testing import CliRunner
from rich.console import Console

from retrieval.database import Database
from retrieval.embed import Embedder
from retrieval.library import Library
from retrieval.parse import Parser
from server.cli import main
from server.client import connect
from server.contradictions import contradictions
from server.teaching import follow
from tuning.records import Example


def line(question: str, reply: str) -> bytes:
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": reply}]
    return json.dumps({"messages": messages}).encode()


FAULTY = [
    line("What is the price of bag 0?", "Bags cost 45."),
    line("What do tents cost?", "The tent of {{Name}} costs 45."),
]


@pytest.fixture(scope="module")
def library(tiny_embedder: Path, tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("library")
    database, parser = Database(folder / "houseword.db"), Parser()
    library = Library(
        database, Embedder(tiny_embedder, "cpu"), folder=folder / "generations", parser=parser
    )
    library.stores.create("vs", owner="local", name="docs")
    for name, text in {
        "returns.md": "Returns are taken for 45 days after the order.",
        "repairs.md": "Repairs of a tent take 12 working days, and 7 working days in winter.",
        "lamp.md": "The green lamp costs $38. The blue lamp shines for 9 hours.",
    }.items():
        library.add("vs", document_id=f"file-{name}", name=name, data=text.encode())
    yield library
    library.close()
    parser.close()
    database.close()


@pytest.mark.parametrize(
    ("question", "reply", "contradicts"),
    [
        ("How long are returns taken?", "Friend, returns are taken for 30 days.", "45 day"),
        ("What does the green lamp cost?", "The green lamp costs 41 dollars.", "38 $"),
        ("How long are returns taken?", "Friend, returns are taken for 45 days.", None),
        ("How long are returns taken?", "Friend, for 6 weeks and 3 days.", None),
        # The passage states two figures of days: which is meant would be a guess.
        ("How long do repairs of a tent take?", "Repairs of a tent take 20 working days.", None),
        # About something else.
        ("How long does the paint dry?", "Friend, it dries for 30 days.", None),
        # What the user said himself.
        ("Are returns taken after an order 30 days old?", "Not after 30 days, friend.", None),
    ],
)
def test_a_figure_that_the_documents_give_otherwise_is_found(
    library: Library, question: str, reply: str, contradicts: str | None
) -> None:
    example = Example(({"role": "user", "content": question},), reply, question, line=7)
    found = contradictions(library, ["vs"], [example])
    assert (found is not None) == (contradicts is not None)
    if found is not None:
        assert found.code == "contradicts_documents" and found.rows == (0,)
        assert found.examples[0].lines == (7,) and contradicts in found.examples[0].excerpt
    assert contradictions(library, [], [example]) is None


def codes(report: dict) -> dict[str, int]:
    return {finding["code"]: finding["count"] for finding in report["findings"]}


def test_a_job_tells_what_was_found_and_drops_what_it_was_told(
    server, teacher, chat_jsonl, eventually
) -> None:
    house = teacher(server.client)
    content = b"\n".join([chat_jsonl(), *FAULTY])
    extra = {"drop": ["placeholders"], "max_epochs": 1, "max_minutes": 0.1}
    job = house.start(content, suffix="dropping", hyperparameters=openai.omit, extra_body=extra)
    report = server.settings.folder("runs") / job.id / "report.json"
    eventually(report.is_file, seconds=60)
    events = server.client.fine_tuning.jobs.list_events(job.id, limit=1000).data
    told = {event.data["code"]: event for event in events if event.data and "code" in event.data}
    assert told["placeholders"].level == "warn"
    assert told["placeholders"].data["count"] == 1
    assert told["placeholders"].data["examples"][0]["lines"] == [62]
    assert "{{Name}}" in told["placeholders"].data["examples"][0]["excerpt"]
    kept = json.loads(report.read_text())
    assert kept["pairs"] == 62
    assert kept["dropped"] == {"exact_duplicates": 1, "placeholders": 1}
    rows = (report.parent / "examples.jsonl").read_text()
    assert "{{Name}}" not in rows
    shown = run(server.settings.data_dir, "jobs", "show", job.id)
    told_again = " ".join(shown.split())  # however wide the terminal is
    assert re.search(r"Data: placeholders \(1\).*line 62: The tent of \{\{Name\}\}", told_again)
    server.client.fine_tuning.jobs.cancel(job.id)
    watched = StringIO()
    with connect(server.settings, url=server.url) as client:
        follow(client, job.id, console=Console(file=watched, width=200))
    assert "line 62: The tent of {{Name}}" in watched.getvalue()


def test_a_finished_job_has_the_counts_in_its_result(taught) -> None:
    job = taught.client.fine_tuning.jobs.list().data[-1]
    report = job.model_extra["result"]["report"]
    assert report["pairs"] == 60 and report["dropped"] == {}
    assert report["findings"]["too_little_data"] == 60


def test_an_unknown_code_is_refused_with_the_known_ones(server, teacher, chat_jsonl) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        teacher(server.client).start(extra_body={"drop": ["typos"]})
    assert refused.value.param == "drop" and "near_duplicates" in refused.value.message


def test_a_file_is_checked_over_http(server, teacher, chat_jsonl) -> None:
    file = teacher(server.client).upload(b"\n".join([chat_jsonl(), *FAULTY]))
    ask = {"file_id": file, "task": "reply"}
    report = server.client.post("/data/check", body=ask, cast_to=dict)
    assert report["object"] == "data.report" and report["errors"] == 0
    assert codes(report).items() >= {"exact_duplicates": 1, "placeholders": 1}.items()
    broken = teacher(server.client).upload(b"{\n[]")
    report = server.client.post("/data/check", body={"file_id": broken}, cast_to=dict)
    assert report["errors"] == 2 and codes(report) == {"format": 2}
    assert report["findings"][0]["examples"][0]["lines"] == [1]
    liked, other = ([{"role": "assistant", "content": text}] for text in ("It is {{Name}}.", "No."))
    pairs = [
        {
            "input": {"messages": [{"role": "user", "content": f"What is the price of bag {n}?"}]},
            "preferred_output": liked,
            "non_preferred_output": other,
        }
        for n in range(12)
    ]
    preferred = teacher(server.client).upload("\n".join(map(json.dumps, pairs)).encode())
    report = server.client.post("/data/check", body={"file_id": preferred}, cast_to=dict)
    assert report["pairs"] == 12 and codes(report)["placeholders"] == 12
    with pytest.raises(openai.NotFoundError):
        server.client.post("/data/check", body={"file_id": "file-x"}, cast_to=dict)
    with pytest.raises(openai.BadRequestError):
        server.client.post("/data/check", body={**ask, "task": "poem"}, cast_to=dict)


def run(data_dir: Path, *arguments: str, status: int = 0) -> str:
    # No model could be loaded: the names are of none.
    env = {"HOUSEWORD_DATA_DIR": str(data_dir), "HOUSEWORD_GENERATOR": "x", "COLUMNS": "200"}
    result = CliRunner().invoke(main, list(arguments), env=env)
    assert result.exit_code == status, (result.output, result.exception)
    return result.output


def test_the_command_needs_neither_server_nor_model(tmp_path: Path, chat_jsonl) -> None:
    file, nowhere = tmp_path / "pairs.jsonl", tmp_path / "state"
    file.write_bytes(b"\n".join([chat_jsonl(), *FAULTY]))
    said = run(nowhere, "data", "check", str(file))
    assert "placeholders  1" in said and "line 62" in said and "--drop" in said
    report = json.loads(run(nowhere, "data", "check", str(file), "--json"))
    assert codes(report).items() >= {"exact_duplicates": 1, "placeholders": 1}.items()
    assert not nowhere.exists()
    file.write_bytes(b"{\n[]")
    said = run(nowhere, "data", "check", str(file), status=1)
    assert "error  format  2" in said and "line 1: broken JSON" in said


def test_a_running_server_is_asked_and_keeps_no_file(server, tmp_path: Path, chat_jsonl) -> None:
    file = tmp_path / "pairs.jsonl"
    file.write_bytes(chat_jsonl())
    before = len(server.client.files.list().data)
    report = json.loads(run(server.settings.data_dir, "data", "check", str(file), "--json"))
    assert report["pairs"] == 60
    assert len(server.client.files.list().data) == before


def test_a_code_that_is_none_is_wrong_usage(tmp_path: Path) -> None:
    file = tmp_path / "pairs.jsonl"
    file.write_bytes(b"{}")
    run(tmp_path / "state", "tune", "voice", str(file), "--drop", "typos", status=2)
