"""One SQLite file: many readers, one writer, migrations per namespace.

It knows nothing of documents or jobs. Every change is one function run inside
`BEGIN IMMEDIATE` by `Database.write`, so that two packages can change their rows in one
transaction; read `write` first. SQLite comes from `pysqlite3`, because the system's own may
hold a bug that corrupts databases in WAL mode.
"""

from __future__ import annotations

import errno
import logging
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pysqlite3 as sqlite3
from pysqlite3 import Connection, Row

from retrieval.errors import OutdatedSQLite, StorageFull

__all__ = ["Connection", "Database", "Row"]

logger = logging.getLogger(__name__)
T = TypeVar("T")
Migration = Callable[[Connection], None]

# The first release without the WAL-reset bug: https://sqlite.org/wal.html#walresetbug
OLDEST_SAFE_SQLITE = (3, 51, 3)
_NEARLY_NOTHING_BYTES = 1_000_000


class Database:
    """The one database of a data directory; safe to use from any thread.

    Raises `OutdatedSQLite` where the SQLite library is too old for WAL mode.
    """

    def __init__(self, path: Path | str) -> None:
        if sqlite3.sqlite_version_info < OLDEST_SAFE_SQLITE:
            oldest = ".".join(map(str, OLDEST_SAFE_SQLITE))
            raise OutdatedSQLite(
                f"SQLite {sqlite3.sqlite_version} can corrupt a database in WAL mode; "
                f"{oldest} or newer is needed: pip install --upgrade pysqlite3"
            )
        self.path = Path(path)
        self._writing = threading.RLock()
        self._idle_readers: list[Connection] = []
        self._readers_lock = threading.Lock()
        self._closed = False
        with self._told_when_full():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._writer = self._connect()

    def write(self, function: Callable[[Connection], T]) -> T:
        """Run `function(connection)` as one transaction and return its result.

        Writers queue for each other. An exception rolls everything back and is raised again;
        a full disk is raised as `StorageFull`. Not to be called inside another `write`.
        """
        with self._writing, self._told_when_full():
            if self._writer.in_transaction:
                raise RuntimeError("write() was called inside write(): pass the connection on")
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                result = function(self._writer)
                self._writer.execute("COMMIT")
            except BaseException:
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
                raise
            return result

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Lend a connection that cannot write and sees one moment of the database."""
        with self._readers_lock:
            if self._closed:
                raise sqlite3.ProgrammingError("the database is closed")
            connection = self._idle_readers.pop() if self._idle_readers else None
        if connection is None:
            connection = self._connect()
            connection.execute("PRAGMA query_only = ON")
        connection.execute("BEGIN")
        try:
            yield connection
        finally:
            connection.execute("ROLLBACK")
            with self._readers_lock:
                if self._closed:
                    connection.close()
                else:
                    self._idle_readers.append(connection)

    def migrate(self, namespace: str, migrations: Sequence[Migration]) -> None:
        """Run those of `migrations` that this namespace has not seen, each in a transaction.

        A migration is known by its name (`m001_create_stores`); never edit one that has shipped.
        """
        self.write(
            lambda connection: connection.execute(
                "CREATE TABLE IF NOT EXISTS migrations (namespace TEXT NOT NULL, "
                "name TEXT NOT NULL, PRIMARY KEY (namespace, name)) WITHOUT ROWID"
            )
        )
        for migration in migrations:
            self.write(lambda connection, step=migration: _apply(connection, namespace, step))  # type: ignore[misc]

    def erase(self) -> None:
        """Overwrite what was deleted: old pages also linger in the write-ahead log.

        A reader may still hold the log; then the rest goes with the next call.
        """
        with self._writing, self._told_when_full():
            self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def close(self) -> None:
        """Close every connection that is not lent out; a second call does nothing."""
        with self._writing, self._readers_lock:
            if self._closed:
                return
            self._closed = True
            for connection in self._idle_readers:
                connection.close()
            self._idle_readers.clear()
            self._writer.close()

    def _connect(self) -> Connection:
        connection = sqlite3.connect(
            str(self.path), timeout=30, isolation_level=None, check_same_thread=False
        )
        connection.row_factory = Row
        for pragma in (
            "journal_mode = WAL",
            "synchronous = FULL",
            "foreign_keys = ON",
            "secure_delete = ON",
            "journal_size_limit = 67108864",
            "trusted_schema = OFF",
        ):
            connection.execute(f"PRAGMA {pragma}").fetchall()
        return connection

    @contextmanager
    def _told_when_full(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            if isinstance(error, StorageFull) or not self._is_full(error):
                raise
            message = (
                f"the disk that holds {self.path} is full: free some space and try again; "
                "nothing of this change was kept"
            )
            raise StorageFull(errno.ENOSPC, message) from error

    def _is_full(self, error: Exception) -> bool:
        if isinstance(error, OSError):
            return error.errno in (errno.ENOSPC, errno.EDQUOT)
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_FULL:
            return True
        # A full disk can also show as a plain I/O error (fsync, shared memory).
        if code != sqlite3.SQLITE_IOERR:
            return False
        return shutil.disk_usage(self.path.parent).free < _NEARLY_NOTHING_BYTES


def _apply(connection: Connection, namespace: str, migration: Migration) -> None:
    name: Any = getattr(migration, "__name__", None)
    row = (namespace, name)
    if connection.execute(
        "SELECT 1 FROM migrations WHERE namespace = ? AND name = ?", row
    ).fetchone():
        return
    logger.info("migrating %s: %s", namespace, name)
    migration(connection)
    connection.execute("INSERT INTO migrations VALUES (?, ?)", row)
