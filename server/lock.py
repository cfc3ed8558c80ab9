"""One server per data directory: a locked file that says who holds it and where to reach it.

The lock itself belongs to the kernel, so a killed server leaves nothing to clean up.
"""

from __future__ import annotations

import fcntl
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from server.errors import AlreadyRunning


@dataclass(frozen=True, slots=True)
class Holder:
    """The running server of a data directory."""

    pid: int
    url: str


class DataLock:
    """Holds `data_dir` for this process; `AlreadyRunning` names the one who has it."""

    def __init__(self, data_dir: Path, *, url: str) -> None:
        data_dir.mkdir(parents=True, exist_ok=True)
        self._file: IO[str] = open(data_dir / "lock", "a+", encoding="utf-8")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _read(self._file)
            self._file.close()
            who = f"pid {holder.pid} at {holder.url}" if holder else "another process"
            raise AlreadyRunning(
                f"{data_dir} is in use by a server ({who}): use that one, stop it, "
                "or set HOUSEWORD_DATA_DIR to another folder"
            ) from None
        self._file.truncate(0)
        json.dump(asdict(Holder(os.getpid(), url)), self._file)
        self._file.flush()

    def release(self) -> None:
        """Give the directory back; a second call does nothing."""
        if not self._file.closed:
            self._file.truncate(0)
            self._file.close()


def find_server(data_dir: Path) -> Holder | None:
    """The running server of `data_dir`, or None where nobody holds it."""
    try:
        file = open(data_dir / "lock", encoding="utf-8")
    except FileNotFoundError:
        return None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _read(file)
        return None


def _read(file: IO[str]) -> Holder | None:
    file.seek(0)
    try:
        return Holder(**json.load(file))
    except (ValueError, TypeError):
        return None
