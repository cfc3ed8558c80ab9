"""What the README promises exists: commands, options, files, settings, endpoints, the example."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from server.app import create_app
from server.cli import main
from server.settings import Settings, explained

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)
SHELL = [line for kind, text in BLOCKS if kind == "bash" for line in text.splitlines()]
TICKED = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", README, flags=re.M | re.S))


def commands(program: str) -> list[list[str]]:
    """The words behind `program`, for every command line of the README."""
    found = []
    for line in [*SHELL, *TICKED]:
        words = shlex.split(line, comments=True)
        if words and Path(words[0]).name == program and len(words) > 1:
            found.append(words[1:])
    return found


def leaves(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every command that does something, as its words."""
    for name, command in group.commands.items():
        if not isinstance(command, click.Group) or command.invoke_without_command:
            yield (*path, name)
        if isinstance(command, click.Group):
            yield from leaves(command, (*path, name))


def test_the_commands_and_their_options_exist() -> None:
    lines = commands("houseword")
    assert lines
    for words in lines:
        if words[0].isupper():
            continue  # a placeholder
        command: click.Command = main
        for word in words:
            known = {option for parameter in command.params for option in parameter.opts}
            if word.startswith("--"):
                assert word in known | {"--help"}, (words, word)
            elif isinstance(command, click.Group) and word in command.commands:
                command = command.commands[word]
        assert command is not main, words


def test_every_command_is_in_the_readme() -> None:
    written = {tuple(words) for words in commands("houseword")}
    for path in leaves(main):
        assert any(words[: len(path)] == path for words in written), f"houseword {' '.join(path)}"


def test_the_targets_of_make_exist() -> None:
    targets = set(re.findall(r"^(\w+):", MAKEFILE, flags=re.MULTILINE))
    named = {words[0] for words in commands("make")}
    assert {"demo", "test", "serve"} <= named <= targets


def test_the_benchmarks_exist() -> None:
    named = {
        words[words.index("-m") + 1] for words in commands("python") if words[:1] == ["-m"]
    } | set(re.findall(r"-m (benchmarks\.\w+)", README + MAKEFILE))
    assert named
    for module in named:
        assert (ROOT / (module.replace(".", "/") + ".py")).is_file(), module


def test_the_tree_exists() -> None:
    (tree,) = (text for _, text in BLOCKS if text.startswith("retrieval/"))
    folder = ROOT
    for line in tree.splitlines():
        name = line.split()[0]
        folder = folder if line.startswith(" ") else ROOT / name
        assert (folder / name if line.startswith(" ") else folder).exists(), line


def test_links_lead_to_files() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert target.startswith("https://") or (ROOT / target).is_file(), target


def test_the_settings_are_all_there_with_their_defaults() -> None:
    rows = dict(re.findall(r"^\| `(HOUSEWORD_\w+)` \|([^|]*)\|", README, flags=re.MULTILINE))
    told = {name: default.strip(" `") for name, default in rows.items()}
    assert told == {
        name: "" if default is None else str(default) for name, default, _ in explained()
    }
    assert set(re.findall(r"HOUSEWORD_[A-Z_]+[A-Z]", README)) <= set(told)


def test_the_endpoints_are_all_there(tmp_path: Path) -> None:
    app = create_app(Settings(data_dir=tmp_path))
    served = {
        path: {method.upper() for method in methods}
        for path, methods in app.openapi_schema.to_schema()["paths"].items()
    }
    rows = re.findall(r"^\| `(/[^`]*)` \| ([A-Z, ]+)", README, flags=re.MULTILINE)
    assert {path: set(re.findall(r"[A-Z]{2,}", told)) for path, told in rows} == served


def test_the_example_runs(server, capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = (text for kind, text in BLOCKS if kind == "python")
    assert len(example.split("\n\n", 1)[1].splitlines()) <= 5
    for written, here in (
        ("http://127.0.0.1:8321", server.url),
        ('model="support"', f"model={server.client.models.list().data[0].id!r}"),
    ):
        assert written in example
        example = example.replace(written, here)
    scope: dict[str, object] = {}
    exec(example, scope)
    scope["client"].close()  # type: ignore[attr-defined]
    assert "There are no documents yet" in capsys.readouterr().out
