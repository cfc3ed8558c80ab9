"""Reads files in a child process with limits, so that a hostile one cannot hurt the server.

The child imports no model and is started when it is first needed, renewed every so many files,
and killed at its limits of time and memory. What it answers is data (JSON), never objects. The
formats are in `formats.py`; read `Parser.parse` first.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import struct
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO, Any

from retrieval.errors import InvalidFile, ParseTimeout, UnsupportedFile
from retrieval.records import Text

logger = logging.getLogger(__name__)

_ERRORS = {error.__name__: error for error in (InvalidFile, ParseTimeout, UnsupportedFile)}
_LENGTH = struct.Struct(">Q")


class Parser:
    """Turns file bytes into text; safe to use from any thread, one file at a time."""

    def __init__(
        self,
        *,
        timeout_seconds: float = 60,
        memory_bytes: int = 1_500_000_000,
        renew_after: int = 100,
    ) -> None:
        self._timeout_seconds = timeout_seconds
        self._memory_bytes = memory_bytes
        self._renew_after = renew_after
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._files_read = 0

    def parse(self, data: bytes, filename: str) -> Text:
        """Return what the file says.

        Raises `UnsupportedFile` for a type that is not read, `InvalidFile` for a file that holds
        no readable text, and `ParseTimeout` for one that passes the limit of time or memory.
        """
        with self._lock:
            if self._files_read >= self._renew_after:
                self._stop()
            child = self._running_child()
            timed_out = threading.Event()

            def kill() -> None:
                timed_out.set()
                child.kill()

            timer = threading.Timer(self._timeout_seconds, kill)
            timer.start()
            try:
                answer = _exchange(child, data, filename)
            finally:
                timer.cancel()
                timer.join()
            self._files_read += 1
            if answer is None or timed_out.is_set():
                code = self._stop()
                if answer is None:
                    raise self._death(code, timed_out=timed_out.is_set())
        return _text_or_raise(answer)

    def close(self) -> None:
        """End the child process; a later `parse` starts a new one."""
        with self._lock:
            self._stop()

    def _running_child(self) -> subprocess.Popen[bytes]:
        if self._child is not None and self._child.poll() is not None:
            self._stop()
        if self._child is None:
            root = str(Path(__file__).resolve().parent.parent)
            paths = [root, os.environ.get("PYTHONPATH", "")]
            environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
            limits = [str(self._memory_bytes), str(self._timeout_seconds)]
            self._child = subprocess.Popen(
                [sys.executable, "-m", "retrieval.parse", *limits],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environment,
            )
            self._files_read = 0
        return self._child

    def _stop(self) -> int:
        child, self._child = self._child, None
        if child is None:
            return 0
        child.kill()
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except BrokenPipeError:
                    logger.debug("the parser died before it had read all of the file")
        return child.wait()

    def _death(self, code: int, *, timed_out: bool) -> InvalidFile:
        if timed_out:
            return ParseTimeout(
                f"reading the file took longer than {self._timeout_seconds:g} s: split it into "
                "smaller files, or raise the time limit"
            )
        logger.warning("the parser died with code %s", code)
        return ParseTimeout(
            "reading the file crashed its reader, most likely for want of memory (limit "
            f"{self._memory_bytes // 1_000_000} MB): split it into smaller files"
        )


def _exchange(child: subprocess.Popen[bytes], data: bytes, filename: str) -> dict[str, Any] | None:
    """Send one file and return the answer; None if the child died."""
    assert child.stdin is not None and child.stdout is not None
    try:
        _send(child.stdin, json.dumps({"filename": filename}).encode())
        _send(child.stdin, data)
        answer = _receive(child.stdout)
    except BrokenPipeError:
        return None
    return None if answer is None else json.loads(answer)


def _text_or_raise(answer: dict[str, Any]) -> Text:
    if "error" in answer:
        raise _ERRORS.get(answer["error"], InvalidFile)(answer["message"])
    return Text(
        text=answer["text"],
        pages=tuple((int(start), int(number)) for start, number in answer["pages"]),
        headings=tuple((int(start), str(words)) for start, words in answer["headings"]),
        media_type=answer["media_type"],
    )


def _send(pipe: IO[bytes], content: bytes) -> None:
    pipe.write(_LENGTH.pack(len(content)))
    pipe.write(content)
    pipe.flush()


def _receive(pipe: IO[bytes]) -> bytes | None:
    head = pipe.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(head)
    content = pipe.read(length)
    return content if len(content) == length else None


# -- the child's side


def _answer(data: bytes, filename: str) -> dict[str, Any]:
    from retrieval.formats import read

    try:
        text = read(data, filename)
    except (InvalidFile, UnsupportedFile) as error:
        return {"error": type(error).__name__, "message": str(error)}
    except MemoryError:
        return {
            "error": "ParseTimeout",
            "message": "reading the file takes more memory than it may: split it",
        }
    except Exception as error:  # a parser's own bug on a damaged file
        message = f"the file is damaged or cannot be read ({type(error).__name__})"
        return {"error": "InvalidFile", "message": message}
    return {
        "text": text.text,
        "pages": text.pages,
        "headings": text.headings,
        "media_type": text.media_type,
    }


def _serve(memory_bytes: int, timeout_seconds: float) -> None:
    """Answer files from standard input until it ends, within the limits."""
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not mix with the answers
    while (request := _receive(sys.stdin.buffer)) is not None:
        data = _receive(sys.stdin.buffer)
        if data is None:
            return
        # Should the server be killed while a file loops for ever, the processor time runs out.
        used = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
        limit = int(used + timeout_seconds) + 5
        resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.RLIM_INFINITY))
        _send(answers, json.dumps(_answer(data, json.loads(request)["filename"])).encode())


if __name__ == "__main__":
    _serve(int(sys.argv[1]), float(sys.argv[2]))
