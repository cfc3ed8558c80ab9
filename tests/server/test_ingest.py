"""Ingestion under faults: a full disk, a removal in the middle, a deletion of the store."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import openai
import pytest
from rich.console import Console

from retrieval.database import Connection
from retrieval.errors import StorageFull
from server.client import Client
from server.ingestion import ingest_paths

TEXT = b"The green tent is for rain and our refund takes days. " * 2000


def limit_pages(services, more: int | None) -> None:
    """Let the database grow by so many pages, or freely: SQLite's own way to a full disk."""

    def change(connection: Connection) -> None:
        count = connection.execute("PRAGMA page_count").fetchone()[0]
        limit = 1_000_000_000 if more is None else count + more
        connection.execute(f"PRAGMA max_page_count = {limit}").fetchall()

    services.database.write(change)


def fill_to_the_brim(services) -> None:
    """Leave no page free and no room in that of the attachments, so that no failure fits."""

    def write(statement: str) -> None:
        services.database.write(lambda connection: connection.execute(statement))

    write("CREATE TABLE filler (bytes BLOB)")
    write(
        "INSERT INTO attachments (store_id, file_id, owner, status, chunking, queued_at, "
        "created_at) SELECT 'vs_other', id, 'other', 'completed', '{}', 0, 0 FROM files LIMIT 1"
    )
    limit_pages(services, more=0)
    grow = "UPDATE attachments SET source = COALESCE(source, '') || '%s' WHERE owner = 'other'"
    fill = "INSERT INTO filler VALUES (zeroblob(4000))"
    for statement in (fill, *(grow % ("." * size) for size in (512, 64, 8))):
        with pytest.raises(StorageFull):
            for _ in range(200):
                write(statement)


def wait_for(condition: Callable[[], object]) -> None:
    for _ in range(400):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("it did not happen within 20 s")


def test_a_full_disk_fails_the_file_and_the_next_one_goes_on(start_server, tmp_path: Path) -> None:
    server = start_server(tmp_path)
    client, files = server.client, server.client.vector_stores.files
    store_id = client.vector_stores.create(name="full").id
    file_id = client.files.create(file=("big.txt", TEXT), purpose="user_data").id
    limit_pages(server.services, more=8)
    try:
        file = files.create_and_poll(file_id, vector_store_id=store_id)
    finally:
        limit_pages(server.services, more=None)
    assert file.status == "failed" and file.last_error
    assert file.last_error.code == "server_error" and "full" in file.last_error.message
    assert client.vector_stores.search(store_id, query="tent").data == []
    assert files.create_and_poll(file_id, vector_store_id=store_id).status == "completed"
    assert client.vector_stores.search(store_id, query="tent").data


def test_an_upload_to_a_full_disk_is_told_in_words(start_server, tmp_path: Path) -> None:
    server = start_server(tmp_path)
    server.client.files.create(file=("a.txt", b"first"), purpose="user_data")
    limit_pages(server.services, more=0)
    try:
        with pytest.raises(openai.APIStatusError) as error:
            for n in range(200):
                server.client.files.create(file=(f"{n}.txt" * 60, b"%d" % n), purpose="user_data")
    finally:
        limit_pages(server.services, more=None)
    assert error.value.status_code == 507 and error.value.code == "storage_full"
    assert error.value.response.headers["x-should-retry"] == "false"
    assert server.client.files.create(file=("b.txt", b"again"), purpose="user_data").id


def test_a_disk_too_full_for_words_makes_the_queue_wait_and_says_so(
    start_server, tmp_path: Path
) -> None:
    server = start_server(tmp_path)
    house = tmp_path / "house.txt"
    house.write_bytes(3 * TEXT)  # seconds of work: the disk is full before it is done
    store_id = server.client.vector_stores.create(name="full").id
    client = Client(server.url, None, in_process=False)
    told = io.StringIO()
    console = Console(file=told, width=200)
    with ThreadPoolExecutor() as pool:
        ingesting = pool.submit(ingest_paths, client, [house], store_id=store_id, console=console)
        wait_for(lambda: server.services.ledger.attachments.count_waiting())
        fill_to_the_brim(server.services)
        try:
            wait_for(lambda: "waiting: " in told.getvalue())
            (file,) = server.client.vector_stores.files.list(store_id).data
            assert file.status == "in_progress" and not ingesting.done()
            assert "disk" in file.to_dict()["progress"]["waits_for"]
        finally:
            limit_pages(server.services, more=None)
        report = ingesting.result(timeout=60)
    client.close()
    assert (report["completed"], report["failed"]) == (1, [])
    (reason,) = [line for line in told.getvalue().splitlines() if line.startswith("waiting: ")]
    assert "is full: free some space" in reason
    (file,) = server.client.vector_stores.files.list(store_id).data
    assert file.to_dict()["progress"]["waits_for"] is None
    assert server.client.vector_stores.search(store_id, query="tent").data


@pytest.mark.parametrize("what", ["file", "attachment", "store"])
def test_what_is_removed_while_it_is_indexed_stays_removed(start_server, tmp_path, what) -> None:
    server = start_server(tmp_path)
    client, stores = server.client, server.client.vector_stores
    store_id = stores.create(name="house").id
    file_id = client.files.create(file=("big.txt", TEXT), purpose="user_data").id
    stores.files.create(store_id, file_id=file_id)
    wait_for(
        lambda: (
            stores.files.retrieve(file_id, vector_store_id=store_id).to_dict()["progress"]["stage"]
            != "waiting"
        )
    )
    {
        "file": lambda: client.files.delete(file_id),
        "attachment": lambda: stores.files.delete(file_id, vector_store_id=store_id),
        "store": lambda: stores.delete(store_id),
    }[what]()
    wait_for(lambda: server.services.ledger.attachments.next_waiting() is None)
    other = stores.create(name="other").id
    assert stores.files.upload_and_poll(vector_store_id=other, file=("t.txt", b"a tent")).id
    with server.services.database.read() as connection:
        names = [row["name"] for row in connection.execute("SELECT name FROM documents")]
    assert names == ["t.txt"]


def test_health_answers_while_documents_are_indexed(start_server, tmp_path: Path) -> None:
    server = start_server(tmp_path)
    client = server.client
    ids = [
        client.files.create(file=(f"{n}.txt", b"%d " % n + TEXT), purpose="user_data").id
        for n in range(3)
    ]
    store_id = client.vector_stores.create(name="house", file_ids=ids).id
    slowest = 0.0
    while client.vector_stores.retrieve(store_id).file_counts.in_progress:
        started = time.monotonic()
        assert httpx.get(f"{server.url}/healthz").status_code == 200
        slowest = max(slowest, time.monotonic() - started)
    assert 0 < slowest < 2
