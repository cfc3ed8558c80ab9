"""The import rule of the house, read from the sources: server -> retrieval, server -> tuning."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("retrieval", "tuning", "server")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
MODEL_LIBRARIES = {"torch", "faiss", "transformers", "peft", "sentence_transformers"}
FORBIDDEN = {
    "retrieval": {"tuning", "server", "litestar", "uvicorn", "httpx"},
    "tuning": {"retrieval", "server", "litestar", "uvicorn", "httpx", "faiss"},
    "server": MODEL_LIBRARIES,
}
LONGEST_FILE = 400
VAGUE_NAMES = {"utils", "helpers", "common", "base", "manager"}


def imported(path: Path) -> set[str]:
    """The top-level names that a file imports anywhere, inside functions as well."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} imports relatively"
            names.add((node.module or "").partition(".")[0])
    return names


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_follow_the_rule(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    assert not imported(path) & FORBIDDEN[package]
    assert not imported(path) & {"tests", "benchmarks"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_is_one_noun_and_says_what_it_does(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert ast.get_docstring(ast.parse(text)), "a module docstring says what it does"
    assert text.count("\n") <= LONGEST_FILE, "look for the second noun"
    assert path.stem not in VAGUE_NAMES


def test_the_rule_sees_a_forbidden_import(tmp_path: Path) -> None:
    source = tmp_path / "sly.py"
    source.write_text("def run():\n    import torch.nn\n    from server.settings import Settings\n")
    assert imported(source) == {"torch", "server"}


@pytest.mark.parametrize(
    "module",
    [
        *("retrieval", "retrieval.parse", "tuning", "tuning.source"),
        *("server", "server.cli", "server.client", "server.serve"),
    ],
)
def test_importing_does_no_work(module: str) -> None:
    # `houseword --help`, the parsing child and a server's refusal to start take a fraction of a
    # second only without these.
    code = f"import {module}, sys; print(*{MODEL_LIBRARIES!r}.intersection(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == ""
