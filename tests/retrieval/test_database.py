from __future__ import annotations

import threading
from pathlib import Path

import pysqlite3 as sqlite3
import pytest

from retrieval import database as database_module
from retrieval.database import Connection, Database
from retrieval.errors import OutdatedSQLite, StorageFull


def m001_create_notes(connection: Connection) -> None:
    connection.execute("CREATE TABLE notes (text TEXT)")


def insert(text: str):
    return lambda connection: connection.execute("INSERT INTO notes VALUES (?)", (text,)) and None


def notes(database: Database) -> list[str]:
    with database.read() as connection:
        return [row["text"] for row in connection.execute("SELECT text FROM notes ORDER BY rowid")]


@pytest.fixture
def noted(database: Database) -> Database:
    database.migrate("test", [m001_create_notes])
    return database


def test_a_migration_runs_once(noted: Database) -> None:
    noted.write(insert("kept"))
    noted.migrate("test", [m001_create_notes])
    assert notes(noted) == ["kept"]


def test_a_failed_migration_leaves_nothing_and_is_tried_again(noted: Database) -> None:
    def m002_breaks(connection: Connection) -> None:
        connection.execute("CREATE TABLE half (x)")
        raise ValueError("no")

    with pytest.raises(ValueError):
        noted.migrate("test", [m001_create_notes, m002_breaks])

    def m002_works(connection: Connection) -> None:
        connection.execute("CREATE TABLE half (x)")

    noted.migrate("test", [m001_create_notes, m002_works])


def test_an_exception_rolls_the_whole_change_back(noted: Database) -> None:
    def change(connection: Connection) -> None:
        connection.execute("INSERT INTO notes VALUES ('half')")
        raise ValueError("stop")

    with pytest.raises(ValueError):
        noted.write(change)
    assert notes(noted) == []


def test_a_reader_cannot_write_and_sees_one_moment(noted: Database) -> None:
    with noted.read() as connection:
        assert connection.execute("SELECT count(*) FROM notes").fetchone()[0] == 0
        noted.write(insert("later"))
        assert connection.execute("SELECT count(*) FROM notes").fetchone()[0] == 0
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            connection.execute("INSERT INTO notes VALUES ('x')")
    assert notes(noted) == ["later"]


def test_write_inside_write_is_refused(noted: Database) -> None:
    with pytest.raises(RuntimeError, match="pass the connection on"):
        noted.write(lambda connection: noted.write(insert("inner")))


def test_sixteen_writers_never_find_the_database_locked(noted: Database) -> None:
    def work(number: int) -> None:
        for _ in range(10):
            noted.write(insert(str(number)))
            notes(noted)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(notes(noted)) == 160


def test_a_full_disk_is_said_in_words_and_the_next_write_works(noted: Database) -> None:
    pages = noted.write(lambda c: c.execute("PRAGMA page_count").fetchone()[0])
    noted._writer.execute(f"PRAGMA max_page_count = {pages + 2}")
    with pytest.raises(StorageFull, match="free some space"):
        noted.write(insert("x" * 100_000))
    assert isinstance(StorageFull(), OSError)
    noted._writer.execute("PRAGMA max_page_count = 1000000")
    noted.write(insert("fits"))
    assert notes(noted) == ["fits"]


def test_an_old_sqlite_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(database_module, "OLDEST_SAFE_SQLITE", (99, 0, 0))
    with pytest.raises(OutdatedSQLite, match=r"99\.0\.0 or newer"):
        Database(tmp_path / "x.db")


def test_close_twice_is_harmless_and_reading_after_it_is_refused(tmp_path: Path) -> None:
    database = Database(tmp_path / "x.db")
    database.close()
    database.close()
    with pytest.raises(sqlite3.ProgrammingError), database.read():
        pass
