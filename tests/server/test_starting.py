"""How the app comes up: the socket, and the reason where it does not start."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path

import pytest

from retrieval import read, verify
from server import doctor
from server.errors import AlreadyRunning
from server.settings import Settings
from server.starting import Runner, StartError, listen


def test_a_taken_port_is_told_before_any_model_is_loaded() -> None:
    with (
        listen("127.0.0.1", 0) as taken,
        pytest.raises(StartError, match="HOUSEWORD_PORT"),
    ):
        taken.listen()
        listen("127.0.0.1", taken.getsockname()[1])


def test_answers_are_not_held_back() -> None:
    # Without the protocol's name asyncio left Nagle's algorithm on: 40 ms for every answer.
    with listen("127.0.0.1", 0) as listener:
        assert listener.proto == socket.IPPROTO_TCP


def test_a_model_that_is_not_there_is_the_reason(tiny_settings: Settings, tmp_path: Path) -> None:
    missing = str(tmp_path / "missing")
    with listen("127.0.0.1", 0) as listener, pytest.raises(StartError, match="missing"):
        Runner(replace(tiny_settings, data_dir=tmp_path, generator=missing)).run(listener)


def test_a_reranker_that_is_not_there_is_the_reason(
    tiny_settings: Settings, tmp_path: Path
) -> None:
    settings = replace(tiny_settings, data_dir=tmp_path, reranker=str(tmp_path / "missing"))
    with listen("127.0.0.1", 0) as listener, pytest.raises(StartError, match="no reranker"):
        Runner(settings).run(listener)


def test_the_doctor_looks_where_reader_and_verifier_are() -> None:
    assert doctor.DATA / "reader" == read.BUILT_IN
    assert doctor.DATA / "verifier" == verify.BUILT_IN


def test_a_reader_that_is_not_there_is_the_reason(tiny_settings: Settings, tmp_path: Path) -> None:
    settings = replace(tiny_settings, data_dir=tmp_path, reader=str(tmp_path / "missing"))
    with listen("127.0.0.1", 0) as listener, pytest.raises(StartError, match="no reader"):
        Runner(settings).run(listener)


def test_a_held_directory_is_the_reason(server) -> None:
    with listen("127.0.0.1", 0) as listener, pytest.raises(AlreadyRunning, match="in use"):
        Runner(server.settings).run(listener)
