"""The bytes of uploaded files, kept once per content: `folder/<sha256>`.

It knows no rows; whoever keeps or drops bytes passes the function that changes the row, and
both happen under one lock, so that an upload and a deletion of equal content cannot cross.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from retrieval.errors import StorageFull

logger = logging.getLogger(__name__)
T = TypeVar("T")

_INCOMING = ".incoming-"


class Incoming:
    """A file that is being received: written aside, hashed on the way."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.bytes = 0
        self._hash = hashlib.sha256()
        with full_disk_told(path):
            self._file = open(path, "wb")

    def write(self, data: bytes) -> None:
        """Append `data`; raises `StorageFull`."""
        with full_disk_told(self.path):
            self._file.write(data)
        self._hash.update(data)
        self.bytes += len(data)

    def finish(self) -> str:
        """Force the bytes to the disk and return their sha256."""
        with full_disk_told(self.path):
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
        return self._hash.hexdigest()

    def discard(self) -> None:
        """Take away what was not kept; after `FileContent.keep` there is nothing to do."""
        try:
            self._file.close()
        except OSError:
            logger.warning("closing %s failed", self.path, exc_info=True)
        self.path.unlink(missing_ok=True)


class FileContent:
    """The folder of uploaded bytes; safe to use from any thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._changing = threading.Lock()
        folder.mkdir(parents=True, exist_ok=True)

    def receive(self) -> Incoming:
        """Open a place beside the kept files to write to."""
        return Incoming(self._folder / f"{_INCOMING}{secrets.token_hex(12)}")

    def keep(self, incoming: Incoming, record: Callable[[str], T]) -> T:
        """Put the received bytes in their place, then run `record(digest)` for the row."""
        digest = incoming.finish()
        with self._changing:
            with full_disk_told(incoming.path):
                os.replace(incoming.path, self._folder / digest)
                self._sync()
            return record(digest)

    def drop(self, forget: Callable[[], str | None]) -> None:
        """Run `forget()`, which deletes a row and returns the digest if it was the last."""
        with self._changing:
            if (digest := forget()) is not None:
                (self._folder / digest).unlink(missing_ok=True)
                self._sync()

    def path(self, digest: str) -> Path:
        """Where the bytes of `digest` lie."""
        return self._folder / digest

    def read(self, digest: str) -> bytes:
        """The bytes themselves."""
        return self.path(digest).read_bytes()

    def clean(self, *, keep: set[str]) -> None:
        """Remove what no row names: uploads that were cut off and half-done deletions."""
        for path in self._folder.iterdir():
            if path.is_file() and path.name not in keep:
                logger.info("removing the stray file %s", path.name)
                path.unlink()

    def _sync(self) -> None:
        # A renamed file survives a power loss only once its directory is on the disk, too.
        descriptor = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def full_disk_told(path: Path) -> Iterator[None]:
    """Raise a full disk as `StorageFull`, saying what to do."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise StorageFull(
            errno.ENOSPC,
            f"the disk that holds {path.parent} is full: free some space and try again",
        ) from error
