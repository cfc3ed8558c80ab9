"""What every answer has in common: errors, keys, headers, the docs page, the lock."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import httpx
import openai
import pytest
from openai import OpenAI

from server.app import create_app
from server.errors import AlreadyRunning
from server.lock import find_server
from server.opening import open_services

ROUTES = [
    ("GET", "/v1/files"),
    ("POST", "/v1/files"),
    ("GET", "/v1/files/file-x"),
    ("GET", "/v1/files/file-x/content"),
    ("DELETE", "/v1/files/file-x"),
    ("POST", "/v1/vector_stores"),
    ("GET", "/v1/vector_stores/vs_x/files"),
    ("POST", "/v1/vector_stores/vs_x/search"),
    ("GET", "/v1/models"),
    ("POST", "/v1/embeddings"),
    ("GET", "/docs"),
    ("GET", "/docs/openapi.json"),
]


@pytest.fixture(scope="module")
def locked(start_server, tmp_path_factory):
    return start_server(tmp_path_factory.mktemp("locked"), api_key="sésame-1")


def error_of(answer: httpx.Response) -> dict:
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert answer.headers["x-request-id"].startswith("req_")
    return error


@pytest.mark.parametrize(("method", "path"), ROUTES)
@pytest.mark.parametrize(
    "header",
    [None, "", "Bearer", "Bearer wrong", "Basic sésame-1", "Bearer ' OR 1=1;--", "Bearer \x01"],
)
def test_every_route_needs_the_key(locked, method: str, path: str, header: str | None) -> None:
    headers = {} if header is None else {"authorization": header.encode()}
    answer = httpx.request(method, locked.url + path, headers=headers)
    if "\x01" in (header or "") and answer.status_code == 400:
        return  # refused by the HTTP parser already
    assert answer.status_code == 401
    assert error_of(answer)["code"] == "invalid_api_key"


def test_the_key_opens_and_health_needs_none(locked) -> None:
    assert httpx.get(f"{locked.url}/healthz").json()["status"] == "ok"
    headers = {"authorization": "Bearer sésame-1".encode()}
    assert httpx.get(f"{locked.url}/v1/files", headers=headers).status_code == 200
    with pytest.raises(openai.AuthenticationError):
        OpenAI(base_url=f"{locked.url}/v1", api_key="wrong", max_retries=0).models.list()


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (("GET", "/v1/nothing", {}), 404),
        (("GET", "/", {}), 404),
        (("PATCH", "/v1/files", {}), 405),
        (("POST", "/v1/vector_stores", {"content": b"{"}), 400),
        (("POST", "/v1/vector_stores", {"content": b"\xff\xfe"}), 400),
        (("POST", "/v1/vector_stores", {"content": b"[" * 100_000}), 400),
        (("POST", "/v1/vector_stores", {"content": b'{"a":' * 5_000 + b"1" + b"}" * 5_000}), 400),
        (("POST", "/v1/vector_stores", {"json": []}), 400),
        (("POST", "/v1/vector_stores", {"content": b"[" + b" " * 17_000_000 + b"]"}), 413),
        (("GET", "/v1/files?limit=0", {}), 400),
        (("GET", "/v1/files?limit=x", {}), 400),
        (("GET", "/v1/files?order=up", {}), 400),
        (("GET", "/v1/files?after=file-x", {}), 400),
        (("GET", "/v1/files", {"headers": {"origin": "https://evil.example"}}), 403),
        (("GET", "/v1/files", {"headers": {"host": "evil.example"}}), 403),
    ],
)
def test_errors_have_openais_shape(server, request_, status: int) -> None:
    method, path, more = request_
    answer = httpx.request(method, server.url + path, **more)
    assert answer.status_code == status, answer.text
    assert error_of(answer)["type"] in ("invalid_request_error", "permission_error")


def test_unknown_fields_are_ignored(client: OpenAI) -> None:
    store = client.vector_stores.create(name="x", extra_body={"colour": "blue"})
    client.vector_stores.delete(store.id)


def test_the_docs_page_needs_nothing_from_elsewhere(server) -> None:
    page = httpx.get(f"{server.url}/docs")
    script = httpx.get(f"{server.url}/docs/docs.js")
    style = httpx.get(f"{server.url}/docs/docs.css")
    assert (page.status_code, script.status_code, style.status_code) == (200, 200, 200)
    assert page.headers["content-type"].startswith("text/html")
    for text in (page.text, script.text, style.text):
        assert "http://" not in text and "https://" not in text and "//cdn" not in text
    assert "innerHTML" not in script.text
    api = httpx.get(f"{server.url}/docs/openapi.json").json()
    assert {"/v1/files", "/v1/vector_stores/{store_id}/search", "/healthz"} <= api["paths"].keys()
    upload = api["paths"]["/v1/files"]["post"]["requestBody"]["content"]["multipart/form-data"]
    assert {"file", "purpose"} <= upload["schema"]["properties"].keys()
    for path, item in api["paths"].items():
        for operation in item.values():
            assert operation.get("description"), path


def test_health_tells_what_serves(server) -> None:
    health = httpx.get(f"{server.url}/healthz").json()
    assert health["ready"] is True
    assert health["embedder"] == server.settings.embedder


def test_a_second_server_on_the_same_data_refuses(server) -> None:
    with pytest.raises(AlreadyRunning) as error:
        open_services(server.settings)
    assert server.url in str(error.value) and "pid" in str(error.value)
    holder = find_server(server.settings.data_dir)
    assert holder is not None and holder.url == server.url
    assert httpx.get(f"{server.url}/healthz").status_code == 200


def test_a_free_directory_has_no_server(tmp_path: Path) -> None:
    assert find_server(tmp_path) is None
    (tmp_path / "lock").write_text('{"pid": 1, "url": "http://127.0.0.1:1"}')
    assert find_server(tmp_path) is None


def test_a_start_that_fails_gives_everything_back(tiny_settings, tmp_path: Path) -> None:
    broken = replace(tiny_settings, data_dir=tmp_path, embedder=str(tmp_path))
    with pytest.raises(ValueError, match=r"config\.json"):
        open_services(broken)
    assert find_server(tmp_path) is None
    services = open_services(replace(tiny_settings, data_dir=tmp_path))
    services.close()


def test_nothing_is_opened_before_the_app_starts(tiny_settings, tmp_path: Path) -> None:
    create_app(replace(tiny_settings, data_dir=tmp_path / "unused"))
    assert not (tmp_path / "unused").exists()


def test_the_default_store_is_made_once_at_the_first_upload(start_server, tmp_path: Path) -> None:
    server = start_server(tmp_path)
    assert server.client.vector_stores.list().data == []
    for name in ("a.txt", "b.txt"):
        server.client.files.create(file=(name, b"text"), purpose="user_data")
    (store,) = server.client.vector_stores.list().data
    assert store.id == server.services.ledger.default_store("local")
    server.client.vector_stores.delete(store.id)
    assert server.services.default_store("local") != store.id
