"""Finding a server that is still starting."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from server.client import ClientError, connect
from server.lock import DataLock
from server.settings import Settings
from server.starting import listen


class Answer(BaseHTTPRequestHandler):
    """Says yes, in JSON."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"ready": true}')


def test_a_command_waits_for_a_server_that_is_starting(tmp_path: Path) -> None:
    with listen("127.0.0.1", 0) as listener:  # bound, and not listening while models are loaded
        port = listener.getsockname()[1]
        server = HTTPServer(("127.0.0.1", port), Answer, bind_and_activate=False)
        server.socket.close()
        server.socket = listener
        lock = DataLock(tmp_path, url=f"http://127.0.0.1:{port}")

        def start() -> None:
            server.server_activate()
            server.handle_request()  # the command's look whether anybody listens
            server.handle_request()

        starting = threading.Timer(0.5, start)
        starting.start()
        with connect(Settings.load(data_dir=tmp_path)) as client:
            assert client.get("/healthz") == {"ready": True}
        starting.join()
        lock.release()


def test_a_server_that_ends_before_it_listens_is_not_waited_for(tmp_path: Path) -> None:
    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        lock = DataLock(tmp_path, url=f"http://127.0.0.1:{port}")
        threading.Timer(0.5, lock.release).start()
        with (
            connect(Settings.load(data_dir=tmp_path)) as client,
            pytest.raises(ClientError, match="no answer from http"),
        ):
            client.get("/healthz")
