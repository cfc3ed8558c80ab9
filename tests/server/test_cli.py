"""The command line, against a running server and with the app in its own process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from server.cli import main
from server.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
Run = Callable[..., Result]


def environment(settings: Settings) -> dict[str, str]:
    """The settings as a user's shell would hold them."""
    return {
        "HOUSEWORD_DATA_DIR": str(settings.data_dir),
        "HOUSEWORD_GENERATOR": settings.generator,
        "HOUSEWORD_EMBEDDER": settings.embedder,
        "HOUSEWORD_DEVICE": "cpu",
        "HOUSEWORD_THREADS": "1",
        "HOUSEWORD_WORKER_THREADS": "1",
        "HOUSEWORD_CONTEXT_TOKENS": str(settings.context_tokens),
        # Not a terminal, wherever the tests run; wide, so that no line is wrapped.
        "COLUMNS": "200",
        "TERM": "dumb",
    }


@pytest.fixture(scope="module")
def house(server) -> Run:
    """Run a command as a user whose data directory a server holds."""

    def run(*arguments: Any, status: int = 0, **more: str) -> Result:
        env = {**environment(server.settings), **more}
        result = CliRunner().invoke(main, [str(a) for a in arguments], env=env)
        assert result.exit_code == status, (result.output, result.exception)
        assert "Traceback" not in result.output
        return result

    return run


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    """A folder with two good files, one that cannot be read, and one that is hidden."""
    folder = tmp_path / "documents"
    (folder / "deeper").mkdir(parents=True)
    (folder / "returns.md").write_text("# Returns\n\nReturns are open for 45 days.\n")
    (folder / "deeper" / "hours.txt").write_text("The store is open on Saturdays.\n")
    (folder / "empty.md").write_text("")
    (folder / ".hidden.md").write_text("not to be read")
    return folder


@pytest.fixture
def replies(tmp_path: Path) -> Path:
    """Chat JSONL of twelve rows."""
    path = tmp_path / "replies.jsonl"
    rows = [
        [
            {"role": "user", "content": f"What of bag {number}?"},
            {"role": "assistant", "content": f"Bag {number} is green, friend. The bench."},
        ]
        for number in range(12)
    ]
    path.write_text("".join(json.dumps({"messages": row}) + "\n" for row in rows))
    return path


def told(result: Result) -> str:
    """The one line that a failed command leaves on standard error."""
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("houseword: ")]
    return line


def test_help_names_every_command(house: Run) -> None:
    text = house("--help").stdout
    context = click.Context(main)
    for name in main.list_commands(context):
        command = main.get_command(context, name)
        assert command is not None and command.help
        assert f"\n  {name} " in text
        house(name, "--help")


def test_a_folder_is_read_and_failures_do_not_stop_the_others(house: Run, documents: Path) -> None:
    result = house("ingest", documents, "--store", "walk", "--json", status=1)
    report = json.loads(result.stdout)
    assert (report["files"], report["completed"], report["unchanged"]) == (3, 2, 0)
    (failure,) = report["failed"]
    assert failure["file"] == "empty.md" and "empty" in failure["reason"]
    assert "\x1b" not in result.output

    (documents / "empty.md").unlink()
    again = json.loads(house("ingest", documents, "--store", "walk", "--json").stdout)
    assert (again["completed"], again["unchanged"], again["failed"]) == (2, 2, [])
    assert again["store"] == report["store"]


def test_a_changed_file_replaces_its_older_version(house: Run, documents: Path) -> None:
    file = documents / "returns.md"
    house("ingest", file, "--store", "changing")
    file.write_text("# Returns\n\nReturns are open for 60 days.\n")
    house("ingest", file, "--store", "changing")
    found = json.loads(house("search", "returns days", "--store", "changing", "--json").stdout)
    texts = [part["text"] for hit in found for part in hit["content"]]
    assert len(found) == 1 and "60 days" in texts[0]


def test_a_search_shows_scores_and_places(house: Run, documents: Path) -> None:
    house("ingest", documents / "returns.md", "--store", "shown")
    (hit,) = json.loads(
        house("search", "returns days", "--store", "shown", "--k", "1", "--json").stdout
    )
    assert hit["score"] == hit["fused"] and hit["rerank"] is None
    assert 0 < hit["dense"] <= 1 and hit["lexical"] > 0
    assert hit["passage"]["start"] == 0 < hit["passage"]["end"]
    assert hit["heading"] == "Returns" and hit["page"] is None and hit["generation"]
    told = house("search", "returns days", "--store", "shown").stdout
    assert f"dense {hit['dense']:.3f}  lexical {hit['lexical']:.3f}" in told
    assert "returns.md, Returns, characters 0-" in told and hit["generation"] in told
    house("search", "x", "--store", "shown", "--k", "51", status=2)


def test_the_reasons_of_failures_are_told(house: Run, documents: Path) -> None:
    result = house("ingest", documents, "--store", "told", status=1)
    assert "2 of 3 files ready" in result.stdout
    assert "empty.md: " in result.stdout


def test_answers_are_printed_and_read_by_programs(house: Run, documents: Path) -> None:
    house("ingest", documents / "returns.md", "--store", "asked")
    question = ("ask", "How many days for returns?", "--store", "asked", "--max-tokens", 8)
    answer = json.loads(house(*question, "--json").stdout)
    assert answer["answer"] and answer["question"] == "How many days for returns?"
    assert isinstance(answer["citations"], list)
    assert house(*question).stdout.strip()
    bare = json.loads(house(*question, "--no-documents", "--json").stdout)
    assert bare["citations"] == []


@pytest.mark.workers
def test_a_voice_is_taught_listed_asked_and_activated(house: Run, replies: Path) -> None:
    options = ("--name", "bench", "--epochs", 1, "--minutes", 1, "--task", "text", "--json")
    result = house("tune", "voice", replies, *options)
    job = json.loads(result.stdout)
    assert job["status"] == "succeeded" and job["suffix"] == "bench"
    assert "held-out loss" in result.stderr and "\x1b" not in result.output
    assert job["result"]["task"] == {"kind": "text", "uses_documents": False, "labels": []}
    version = job["fine_tuned_model"]

    (voice,) = json.loads(house("voices", "--json").stdout)
    assert [entry["id"] for entry in voice["versions"]] == [version]
    assert version in house("voices", "activate", "bench", version).stdout
    assert "bench" in house("voices").stdout
    asked = house("ask", "A bag?", "--model", "bench", "--max-tokens", 4, "--json")
    assert json.loads(asked.stdout)["model"] == "bench"

    assert [entry["id"] for entry in json.loads(house("jobs", "--json").stdout)] == [job["id"]]
    shown = json.loads(house("jobs", "show", job["id"], "--json").stdout)
    assert shown["events"] and shown["status"] == "succeeded"
    assert "succeeded" in house("jobs", "show", job["id"]).stdout
    assert job["id"] in house("jobs").stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("ask", "Why?", "--model", "nobody"), "nobody"),
        (("ask", "Why?", "--store", "vs_nothing"), "vs_nothing"),
        (("ask", " "), "empty"),
        (("jobs", "show", "ftjob-x"), "ftjob-x"),
        (("jobs", "cancel", "ftjob-x"), "ftjob-x"),
        (("voices", "activate", "nobody", "ft:x:nobody:y"), "nobody"),
        (("--url", "http://127.0.0.1:9", "search", "x"), "http://127.0.0.1:9"),
        (("--url", "http://127.0.0.1:9", "ask", "x", "--model", "y"), "http://127.0.0.1:9"),
        (("--url", "nonsense", "search", "x"), "nonsense"),
    ],
)
def test_a_mistake_is_told_in_one_line(house: Run, arguments: tuple[str, ...], said: str) -> None:
    assert said in told(house(*arguments, status=1))


@pytest.mark.parametrize(
    "arguments",
    [
        ("ingest",),
        ("ingest", "/no/such/folder"),
        ("ask",),
        ("tune", "voice", "/no/such/file"),
        ("sing",),
    ],
)
def test_wrong_usage_exits_with_2(house: Run, arguments: tuple[str, ...]) -> None:
    house(*arguments, status=2)


def test_asking_in_a_store_that_is_not_there_makes_none(house: Run) -> None:
    before = house("search", "x", "--store", "mistyped", status=1)
    assert "mistyped" in told(before)
    assert "mistyped" in told(house("ask", "x", "--store", "mistyped", status=1))


def test_a_faulty_line_of_the_examples_is_named(house: Run, tmp_path: Path, replies: Path) -> None:
    file = tmp_path / "broken.jsonl"
    file.write_text(replies.read_text() + "{oops\n")
    assert "line 13" in told(house("tune", "voice", file, status=1))


def test_a_bad_setting_is_told_in_one_line(house: Run) -> None:
    assert "port" in told(house("voices", status=1, HOUSEWORD_PORT="many"))


def test_the_key_is_taken_from_the_options_or_the_environment(start_server, tmp_path) -> None:
    server = start_server(tmp_path, api_key="secret-1")
    env = environment(server.settings)
    run = CliRunner().invoke
    assert run(main, ["voices"], env=env).exit_code == 1
    assert run(main, ["--api-key", "secret-1", "voices"], env=env).exit_code == 0
    assert run(main, ["voices"], env={**env, "HOUSEWORD_API_KEY": "secret-1"}).exit_code == 0


def test_without_a_server_the_same_app_runs_in_process(
    tiny_settings: Settings, tmp_path: Path, documents: Path
) -> None:
    env = {**environment(tiny_settings), "HOUSEWORD_DATA_DIR": str(tmp_path / "own")}

    def run(*arguments: str) -> Any:
        result = CliRunner().invoke(main, arguments, env=env)
        assert result.exit_code == 0, (result.output, result.exception)
        return json.loads(result.stdout)

    assert run("ingest", str(documents / "returns.md"), "--json")["completed"] == 1
    (hit,) = run("search", "returns", "--json")
    assert hit["filename"] == "returns.md"


def test_a_model_that_is_not_there_is_told_in_one_line(
    tiny_settings: Settings, tmp_path: Path
) -> None:
    env = {
        **os.environ,
        **environment(tiny_settings),
        "HOUSEWORD_DATA_DIR": str(tmp_path / "own"),
        "HOUSEWORD_GENERATOR": str(tmp_path / "no-such-model"),
    }
    for command in (["voices"], ["serve"]):
        done = houseword(command, env)
        output, errors = done.communicate(timeout=120)
        assert done.returncode == 1, errors
        assert "no-such-model" in errors and "Traceback" not in output + errors


@pytest.mark.workers
def test_ctrl_c_leaves_the_job_on_a_server(server, teacher, replies: Path) -> None:
    # A long job holds the queue, so that the user's own cannot end before the interrupt.
    busy = teacher(server.client).start(suffix="busy", hyperparameters={"n_epochs": 50})
    env = {**os.environ, **environment(server.settings)}
    process = houseword(["tune", "voice", str(replies), "--name", "left", "--minutes", "1"], env)
    output, errors = interrupted(process)
    (job,) = [job for job in server.client.fine_tuning.jobs.list() if job.id != busy.id][:1]
    assert process.returncode == 1 and f"houseword jobs show {job.id}" in errors
    assert "Traceback" not in output + errors
    assert server.client.fine_tuning.jobs.retrieve(job.id).status == "validating_files"
    server.client.fine_tuning.jobs.cancel(job.id)
    server.client.fine_tuning.jobs.cancel(busy.id)
    assert job.id in CliRunner().invoke(main, ["jobs"], env=env).output


@pytest.mark.workers
def test_ctrl_c_cancels_the_job_of_a_command_that_runs_by_itself(
    tiny_settings: Settings, workers, tmp_path: Path, replies: Path
) -> None:
    env = {**environment(tiny_settings), "HOUSEWORD_DATA_DIR": str(tmp_path / "own")}
    process = houseword(["tune", "voice", str(replies), "--name", "own"], {**os.environ, **env})
    output, errors = interrupted(process, after="Training.")
    assert process.returncode == 1 and "cancelled" in errors
    assert "Traceback" not in output + errors
    (job,) = json.loads(CliRunner().invoke(main, ["jobs", "--json"], env=env).stdout)
    assert (job["suffix"], job["status"]) == ("own", "cancelled")
    assert job["id"] in errors and not workers(job["id"])


def houseword(arguments: list[str], env: dict[str, str]) -> subprocess.Popen[str]:
    """The real command in a process of its own."""
    code = "from server.cli import main; main(prog_name='houseword')"
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A job in the background of a shell ignores interrupts, and so would its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def interrupted(process: subprocess.Popen[str], *, after: str = "") -> tuple[str, str]:
    """What the command says when it is interrupted as it follows its job.

    It follows once it has named the job and then told `after`, if that is anything.
    """
    assert process.stderr
    told = []
    for wanted in ("job ftjob-", after):
        while wanted and not any(wanted in line for line in told):
            line = process.stderr.readline()
            assert line, told
            told.append(line)
    # Again if need be: Python drops an interrupt that comes within a finalizer.
    for _ in range(10):
        time.sleep(0.5)  # for the most part, it sleeps between two questions
        process.send_signal(signal.SIGINT)
        try:
            process.wait(10)
            break
        except subprocess.TimeoutExpired:
            continue
    output, errors = process.communicate(timeout=30)
    return output, "".join(told) + errors


def test_the_doctor_says_what_is_missing_and_how_to_mend_it(
    tiny_settings: Settings, tmp_path: Path, house: Run
) -> None:
    healthy = json.loads(house("doctor", "--json").stdout)
    names = {finding["name"] for finding in healthy}
    assert {"python", "sqlite", "generator", "embedder", "device", "disk", "port"} <= names
    assert all(finding["ok"] for finding in healthy)
    gone = house("doctor", status=1, HOUSEWORD_EMBEDDER=str(tmp_path / "gone")).stdout
    fault = gone[gone.index("MISS ") :].splitlines()
    assert gone.count("MISS ") == 1 and fault[0].startswith("MISS embedder ")
    assert fault[1].startswith("     fix: set HOUSEWORD_EMBEDDER")
    gone = house("doctor", status=1, HOUSEWORD_RERANKER=str(tmp_path / "gone")).stdout
    assert gone.count("MISS ") == 1 and "MISS reranker " in gone and "HOUSEWORD_RERANKER" in gone
    gone = house("doctor", status=1, HOUSEWORD_READER=str(tmp_path / "gone")).stdout
    assert gone.count("MISS ") == 1 and "MISS reader " in gone and "HOUSEWORD_READER" in gone
