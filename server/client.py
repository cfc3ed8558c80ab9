"""The way of every command to the server: HTTP, to the running one or to one started here.

`connect` finds the server of a data directory by its lock file; where there is none, the same
app runs in this process, on a loopback port of its own, for as long as the block lasts. So
there is one code path, and this module knows no command.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx

from server.errors import ServerError
from server.settings import Settings

START_SECONDS = 120  # the longest start: a model is imported, once


class ClientError(ServerError):
    """What a command tells its user in one line."""


class Client:
    """The API, as the commands need it. `in_process` says whether the server ends with them."""

    def __init__(self, url: str, api_key: str | None, *, in_process: bool) -> None:
        self.url = url
        self.in_process = in_process
        headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
        self._http = httpx.Client(base_url=url, headers=headers, timeout=600)

    def get(self, path: str, **query: Any) -> Any:
        return self._call("GET", path, params=query)

    def read(self, path: str) -> str:
        """What is no JSON: a picture or a table, as text."""
        return self._request("GET", path).text

    def post(self, path: str, body: Any = None) -> Any:
        return self._call("POST", path, json=body if body is not None else {})

    def delete(self, path: str) -> Any:
        return self._call("DELETE", path)

    def pages(self, path: str, **query: Any) -> Iterator[dict[str, Any]]:
        """Every item of a list, page by page."""
        after: dict[str, Any] = {}
        while True:
            page = self.get(path, limit=100, **query, **after)
            yield from page["data"]
            if not page.get("has_more") or not page["data"]:
                return
            after = {"after": page["data"][-1]["id"]}

    def upload(self, path: Path, *, purpose: str) -> dict[str, Any]:
        """Upload a file."""
        with path.open("rb") as file:
            uploaded: dict[str, Any] = self._call(
                "POST", "/v1/files", files={"file": (path.name, file)}, data={"purpose": purpose}
            )
        return uploaded

    def chat(self, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """The deltas of a streamed answer, as they come, each with the turn's `id`."""
        asked = {**body, "stream": True}
        with (
            self._reaching(),
            self._http.stream("POST", "/v1/chat/completions", json=asked) as response,
        ):
            if response.status_code >= 400:
                response.read()
                raise ClientError(_message(response))
            for line in response.iter_lines():
                if not line.startswith("data: {"):
                    continue
                event = json.loads(line[6:])
                if "error" in event:
                    raise ClientError(event["error"]["message"])
                if event["choices"]:
                    yield {**event["choices"][0]["delta"], "id": event["id"]}

    def store_id(self, name_or_id: str | None, *, create: bool = False) -> str:
        """The id of a store by its name or id (None: the default one); `create` makes a name."""
        if name_or_id is None:
            return str(self.get("/v1/vector_stores/default")["id"])
        for store in self.pages("/v1/vector_stores"):
            if name_or_id in (store["id"], store["name"]):
                return str(store["id"])
        if create and not name_or_id.startswith("vs_"):
            return str(self.post("/v1/vector_stores", {"name": name_or_id})["id"])
        raise ClientError(
            f"no store is called '{name_or_id}': make it with "
            f"`houseword ingest PATH --store {name_or_id}`"
        )

    def close(self) -> None:
        self._http.close()

    def _call(self, method: str, path: str, **parts: Any) -> Any:
        return self._request(method, path, **parts).json()

    def _request(self, method: str, path: str, **parts: Any) -> httpx.Response:
        with self._reaching():
            response = self._http.request(method, path, **parts)
        if response.status_code >= 400:
            raise ClientError(_message(response))
        return response

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        try:
            yield
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise ClientError(f"no answer from {self.url}: {error}") from error


@contextmanager
def connect(settings: Settings, *, url: str | None = None) -> Iterator[Client]:
    """The client of a running server, or of the same app started here.

    A server that is still starting is waited for.
    """
    from server.lock import find_server

    if url is None and (holder := find_server(settings.data_dir)):
        url = holder.url
        _await_start(url, settings.data_dir)
    if url is not None:
        client = Client(url, settings.api_key, in_process=False)
        try:
            yield client
        finally:
            client.close()
        return
    with _app_in_process(settings) as own_url:
        client = Client(own_url, settings.api_key, in_process=True)
        try:
            yield client
        finally:
            client.close()


def _await_start(url: str, data_dir: Path) -> None:
    """Return when `url` takes connections, or its server no longer holds the directory."""
    from server.lock import find_server

    address = httpx.URL(url)
    deadline = time.monotonic() + START_SECONDS
    while find_server(data_dir) and time.monotonic() < deadline:
        try:
            socket.create_connection((address.host, address.port or 80), timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return


@contextmanager
def _app_in_process(settings: Settings) -> Iterator[str]:
    from server.starting import Runner, listen

    with listen("127.0.0.1", 0) as listener:
        settings = replace(settings, host="127.0.0.1", port=listener.getsockname()[1])
        runner = Runner(settings)
        failures: list[BaseException] = []

        def run() -> None:
            try:
                runner.run(listener)
            except BaseException as error:
                failures.append(error)

        thread = threading.Thread(target=run, name="server")
        thread.start()
        try:
            while not runner.started:
                if not thread.is_alive():
                    raise failures[0] if failures else ClientError("the server ended at once")
                time.sleep(0.02)
            yield settings.url
        finally:
            runner.stop()
            thread.join()


def _message(response: httpx.Response) -> str:
    try:
        return str(response.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"the server answered {response.status_code}"
