"""Settings from defaults, TOML, environment and arguments."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from server.errors import SettingsError
from server.settings import Settings, explained


def test_each_source_outranks_the_one_before(tmp_path: Path) -> None:
    toml = tmp_path / "houseword.toml"
    toml.write_text('port = 9001\nhits = 6\nthreads = 3\ndata_dir = "/srv/house"\n')
    environ = {"HOUSEWORD_HITS": "7", "HOUSEWORD_THREADS": "", "HOUSEWORD_TEST_DATA": "/x"}
    settings = Settings.load(toml, environ, port=9002, host=None)
    assert (settings.port, settings.hits, settings.threads) == (9002, 7, None)
    assert settings.data_dir == Path("/srv/house") and settings.host == "127.0.0.1"


def test_every_field_is_explained() -> None:
    assert len(explained()) == len(fields(Settings))
    assert all(name.startswith("HOUSEWORD_") and meaning for name, _, meaning in explained())


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "house.example"])
def test_an_open_address_needs_a_key(host: str) -> None:
    with pytest.raises(SettingsError, match="HOUSEWORD_API_KEY"):
        Settings(host=host)
    assert Settings(host=host, api_key="k").host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_loopback_needs_no_key(host: str) -> None:
    assert Settings(host=host).url.startswith("http://")


@pytest.mark.parametrize(
    ("toml", "environ", "word"),
    [
        ("prot = 1", {}, "prot"),
        ("port = ", {}, "cannot be read"),
        ('port = "many"', {}, "port"),
        ("host = 5", {}, "host"),
        ("api_key = true", {}, "api_key"),
        ("", {"HOUSEWORD_PORT": "0"}, "port"),
        ("", {"HOUSEWORD_HITS": "-1"}, "hits"),
        ("", {"HOUSEWORD_HITS": "41"}, "at most 40"),
        ("", {"HOUSEWORD_PASSAGE_TOKENS": "500"}, "passage_tokens"),
        ("", {"HOUSEWORD_LOG_LEVEL": "loud"}, "log_level"),
        ("", {"HOUSEWORD_API_KEY": " "}, "api_key"),
    ],
)
def test_what_cannot_work_is_refused(tmp_path: Path, toml: str, environ: dict, word: str) -> None:
    path = tmp_path / "houseword.toml"
    path.write_text(toml)
    with pytest.raises(SettingsError, match=word):
        Settings.load(path, environ)


def test_the_key_is_not_shown() -> None:
    assert "secret" not in repr(Settings(api_key="secret"))
