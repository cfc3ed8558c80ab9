"""/v1/files through the official client over a real socket."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import openai
import pytest
from openai import OpenAI

CONTENT = b"Returns are free for 45 days.\r\n\x00\xff the last line"
FORM = {"content-type": "multipart/form-data; boundary=x"}


def part(disposition: bytes, value: bytes) -> dict[str, object]:
    head = b"--x\r\nContent-Disposition: form-data; " + disposition + b"\r\n\r\n"
    return {"content": head + value, "headers": FORM}


def upload(client: OpenAI, name: str, content: bytes = CONTENT, **more: object) -> str:
    return client.files.create(file=(name, content), purpose="user_data", **more).id  # type: ignore[arg-type]


def test_upload_retrieve_content_delete(client: OpenAI, strict) -> None:
    uploaded = strict(
        client.files.with_raw_response.create(file=("a.txt", CONTENT), purpose="assistants")
    )
    assert (uploaded.filename, uploaded.bytes, uploaded.purpose) == (
        "a.txt",
        len(CONTENT),
        "assistants",
    )
    assert uploaded.id.startswith("file-") and len(uploaded.id) == 29
    assert strict(client.files.with_raw_response.retrieve(uploaded.id)) == uploaded
    assert client.files.content(uploaded.id).read() == CONTENT
    assert strict(client.files.with_raw_response.delete(uploaded.id)).deleted is True
    with pytest.raises(openai.NotFoundError) as error:
        client.files.retrieve(uploaded.id)
    assert error.value.code == "not_found" and error.value.param == "id"


def test_files_are_listed_page_by_page(client: OpenAI, strict) -> None:
    ids = [upload(client, f"{index}.txt") for index in range(5)]
    first = strict(client.files.with_raw_response.list(limit=2, order="asc", purpose="user_data"))
    assert first.has_more and first.last_id == first.data[-1].id
    walked = [file.id for file in client.files.list(limit=2, order="asc", purpose="user_data")]
    assert [file_id for file_id in walked if file_id in ids] == ids
    newest = [file.id for file in client.files.list(limit=3)]
    assert newest[:5] == ids[::-1]
    assert [file.id for file in client.files.list(purpose="fine-tune")] == []
    for file_id in ids:
        client.files.delete(file_id)


def test_files_with_equal_content_live_apart(client: OpenAI) -> None:
    one, two = upload(client, "same.txt"), upload(client, "same.txt")
    assert one != two
    client.files.delete(one)
    assert client.files.content(two).read() == CONTENT
    client.files.delete(two)


def test_bytes_leave_the_disk_with_the_last_file(client: OpenAI, server) -> None:
    content = b"only once"
    path = server.settings.folder("files") / hashlib.sha256(content).hexdigest()
    one, two = upload(client, "x.txt", content), upload(client, "y.txt", content)
    client.files.delete(one)
    assert path.exists()
    client.files.delete(two)
    assert not path.exists()


def test_many_uploads_and_deletions_of_one_content_lose_nothing(client: OpenAI) -> None:
    def cycle(index: int) -> bytes:
        kept = upload(client, f"kept-{index}.txt", b"contended")
        client.files.delete(upload(client, f"gone-{index}.txt", b"contended"))
        return client.files.content(kept).read()

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(cycle, range(24))) == {b"contended"}


@pytest.mark.parametrize(
    "name",
    ["../../etc/passwd", "a\x00b.txt", "ünï.txt", 'quote".txt', "<img src=x>.txt", "x" * 600],
)
def test_a_filename_is_only_a_name(client: OpenAI, server, name: str) -> None:
    file_id = upload(client, name)
    assert client.files.retrieve(file_id).filename.isprintable()
    answer = client.files.with_raw_response.content(file_id)
    assert answer.content == CONTENT
    assert answer.headers["content-disposition"].startswith("attachment")
    names = {path.name for path in server.settings.folder("files").iterdir()}
    assert all(len(entry) == 64 for entry in names)
    client.files.delete(file_id)


def test_a_file_expires(client: OpenAI, server) -> None:
    file = client.files.create(
        file=("soon.txt", CONTENT),
        purpose="user_data",
        expires_after={"anchor": "created_at", "seconds": 3600},
    )
    assert file.expires_at == file.created_at + 3600
    ledger = server.services.ledger
    assert [expired.id for expired in ledger.expired_files(file.expires_at)] == [file.id]
    assert ledger.expired_files(file.expires_at - 1) == []
    client.files.delete(file.id)


@pytest.mark.parametrize(
    ("form", "param"),
    [
        ({"files": {"file": ("a.txt", b"a")}}, "purpose"),
        ({"files": {"file": ("a.txt", b"a")}, "data": {"purpose": "fun"}}, "purpose"),
        ({"files": {"other": ("a.txt", b"a")}, "data": {"purpose": "user_data"}}, "file"),
        ({"files": {"file": ("a.txt", b"a")}, "data": {"purpose": "x" * 9000}}, "purpose"),
        (
            {
                "files": {"file": ("a.txt", b"a")},
                "data": {"purpose": "user_data", "expires_after[anchor]": "created_at"},
            },
            "expires_after",
        ),
        ({"json": {"purpose": "user_data"}}, None),
        ({"content": b"", "headers": FORM}, None),
        (part(b'name="file"; filename="a"', b"cut off"), None),
        (part(b'name="purpose"', b"\xff\xfe\r\n--x--\r\n"), None),
    ],
)
def test_a_bad_form_is_refused_and_leaves_nothing(server, form: dict, param: str | None) -> None:
    before = set(server.settings.folder("files").iterdir())
    answer = httpx.post(f"{server.url}/v1/files", **form)
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, param), error
    assert set(server.settings.folder("files").iterdir()) == before


@pytest.mark.parametrize("size", [1_001, 3_000_000])
def test_a_file_over_the_limit_is_refused(start_server, tmp_path: Path, size: int) -> None:
    server = start_server(tmp_path, max_upload_bytes=1_000)
    assert upload(server.client, "fits.bin", b"x" * 1_000)
    with pytest.raises(openai.APIStatusError) as error:
        upload(server.client, "large.bin", b"x" * size)
    assert error.value.status_code == 413
    assert error.value.code == "file_too_large"
    assert len(list(server.settings.folder("files").iterdir())) == 1


def test_what_an_earlier_run_left_aside_is_cleaned(start_server, tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    stray = tmp_path / "files" / ".incoming-0123"
    stray.write_bytes(b"cut off")
    start_server(tmp_path)
    assert not stray.exists()


def test_a_large_file_comes_back_whole(client: OpenAI) -> None:
    content = b"0123456789abcdef" * 1_250_000  # 20 MB
    file_id = upload(client, "big.bin", content)
    assert client.files.retrieve(file_id).bytes == len(content)
    assert (
        hashlib.sha256(client.files.content(file_id).read()).digest()
        == hashlib.sha256(content).digest()
    )
    client.files.delete(file_id)
