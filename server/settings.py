"""Environment and TOML become one frozen `Settings`, read once.

It knows no other module. Every field can be set as `HOUSEWORD_<FIELD>` in the environment or
as `<field>` in houseword.toml; what is passed to `load` wins, then the environment, then TOML.
"""

from __future__ import annotations

import ipaddress
import logging
import os
import tomllib
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any, get_args, get_type_hints

from server.errors import SettingsError

PREFIX = "HOUSEWORD_"
DEFAULT_TOML = Path("houseword.toml")
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
MOST_HITS = 40  # a search gives 50, and trainings look ten further for the right passage
MAX_PASSAGE_TOKENS = 240


def setting(default: Any, meaning: str) -> Any:
    """A field with its default and its meaning; units are part of the meaning."""
    return field(default=default, metadata={"meaning": meaning})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that can be configured; raises `SettingsError` for what cannot work."""

    data_dir: Path = setting(  # noqa: RUF009 (a path is immutable)
        Path("data/state"), "folder of everything the server keeps"
    )
    host: str = setting("127.0.0.1", "address to listen on; others than loopback need api_key")
    port: int = setting(8321, "TCP port to listen on")
    api_key: str | None = setting(None, "bearer key that every request must carry; none by default")
    generator: str = setting(
        "smollm2-135m-instruct",
        "base language model: the default wheel, a folder, a .gguf file or a hub name",
    )
    embedder: str = setting(
        "all-minilm-l6-v2", "search model: the default wheel, a folder or a hub name"
    )
    reranker: str | None = setting(
        None, "cross-encoder that orders what search found: a folder or a hub name; none by default"
    )
    reader: str = setting(
        "auto",
        "question answerer that judges whether passages answer: auto (the built-in English one "
        "beside the default embedder), none, a folder or a hub name",
    )
    verifier: str = setting(
        "auto",
        "language model that reads the best passages once more: auto (the built-in one beside the "
        "built-in reader) or none",
    )
    device: str = setting("auto", "auto, cpu or cuda")
    threads: int | None = setting(None, "CPU threads for serving; none lets torch choose")
    worker_threads: int | None = setting(
        None, "CPU threads of the training worker; none lets torch choose"
    )
    context_tokens: int = setting(2048, "longest prompt and answer together, in tokens")
    prompt_tokens: int = setting(160, "budget of a prompt for passages, in tokens")
    max_tokens: int = setting(256, "longest answer where the request names none, in tokens")
    hits: int = setting(
        4, "passages that a prompt may show; strict grounding looks at six at least"
    )
    grounding: str = setting(
        "strict", "what no passage says is replaced (strict), flagged (flag) or left (off)"
    )
    abstain_below: float | None = setting(
        None,
        "estimated chance that the hits answer, below which strict grounding declines; none lets "
        "each store's own calibration say",
    )
    passage_tokens: int = setting(64, "longest passage, in the embedder's tokens")
    overlap_tokens: int = setting(0, "tokens that neighbouring passages share")
    rows_gold_only: float = setting(0.2, "share of the rows with gold that show nothing else")
    rows_none: float = setting(0.2, "share of a voice's rows whose document is withheld")
    rows_varied: float = setting(0.5, "share of the rows with gold whose values are changed")
    rows_untold: float = setting(
        0.65, "share of the rows whose reply needs no passage that do not say that none is found"
    )
    rows_drills: float = setting(0.5, "share of a voice's rows that must read the documents")
    rows_replay: float = setting(0.2, "share of a voice's rows that are the base's own answers")
    queue_length: int = setting(32, "questions that may wait for the generator; more get 429")
    max_upload_bytes: int = setting(200_000_000, "largest file that may be uploaded, in bytes")
    parse_timeout_seconds: float = setting(60.0, "longest time to read one file, in seconds")
    parse_memory_bytes: int = setting(1_500_000_000, "most memory to read one file, in bytes")
    turn_retention_days: int = setting(30, "days for which answered questions are kept")
    retrain_after_feedback: int = setting(
        0, "newly approved replies after which a voice is trained again; 0 for never"
    )
    retrain_every_days: float = setting(
        0.0, "days after which a voice is trained again on all its data; 0 for never"
    )
    log_level: str = setting("INFO", "DEBUG, INFO, WARNING or ERROR")

    def __post_init__(self) -> None:
        object.__setattr__(self, "data_dir", Path(self.data_dir))
        for entry in fields(self):
            value = getattr(self, entry.name)
            if isinstance(value, int | float) and value < 0:
                raise SettingsError(f"{entry.name} is {value}: it cannot be negative")
        for name in ("queue_length", "context_tokens", "max_tokens", "hits"):
            if getattr(self, name) < 1:
                raise SettingsError(f"{name} is {getattr(self, name)}: it must be at least 1")
        if self.hits > MOST_HITS:
            raise SettingsError(f"hits is {self.hits}: use at most {MOST_HITS}")
        for entry in fields(self):
            value = getattr(self, entry.name)
            if entry.name.startswith("rows_") and value > 1:
                raise SettingsError(f"{entry.name} is {value}: a share is 0 to 1")
        if not 0 < self.port < 65536:
            raise SettingsError(f"port is {self.port}: choose one between 1 and 65535")
        if self.log_level not in LOG_LEVELS:
            raise SettingsError(f"log_level is {self.log_level!r}: use one of {LOG_LEVELS}")
        if self.grounding not in ("strict", "flag", "off"):
            raise SettingsError(f"grounding is {self.grounding!r}: use strict, flag or off")
        if self.verifier not in ("auto", "none"):
            raise SettingsError(f"verifier is {self.verifier!r}: use auto or none")
        if not 16 <= self.passage_tokens <= MAX_PASSAGE_TOKENS:
            raise SettingsError(
                f"passage_tokens is {self.passage_tokens}: use 16 to {MAX_PASSAGE_TOKENS}"
            )
        if self.overlap_tokens > self.passage_tokens // 2:
            raise SettingsError("overlap_tokens is more than half of passage_tokens: lower it")
        if self.api_key is not None and not self.api_key.strip():
            raise SettingsError("api_key is empty: unset it or give it a value")
        if self.api_key is None and not is_loopback(self.host):
            raise SettingsError(
                f"host {self.host} can be reached by others, so a key is needed: "
                f"set {PREFIX}API_KEY (or api_key in houseword.toml), or host to 127.0.0.1"
            )

    @classmethod
    def load(
        cls,
        toml_path: Path | str | None = None,
        environ: Mapping[str, str] | None = None,
        **overrides: Any,
    ) -> Settings:
        """Read houseword.toml (where there is one), the environment and `overrides`.

        An override of None counts as not given. Raises `SettingsError` for a file that is
        missing or malformed, an unknown field or a value of the wrong type.
        """
        environ = os.environ if environ is None else environ
        types = get_type_hints(cls)
        values = dict(_from_toml(toml_path))
        for entry in fields(cls):
            if (text := environ.get(PREFIX + entry.name.upper())) is not None:
                values[entry.name] = text
        values.update({name: value for name, value in overrides.items() if value is not None})
        if unknown := sorted(values.keys() - types.keys()):
            raise SettingsError(f"unknown setting {unknown[0]!r}; known are: {', '.join(types)}")
        return cls(**{name: _convert(name, value, types[name]) for name, value in values.items()})

    @property
    def url(self) -> str:
        """Where a client on this machine reaches the server."""
        host = "127.0.0.1" if self.host in ("0.0.0.0", "::", "") else self.host
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    def folder(self, name: str) -> Path:
        """The path of one part of the data directory, such as `files` or `adapters`."""
        return self.data_dir / name

    def __repr__(self) -> str:
        shown = ((entry.name, getattr(self, entry.name)) for entry in fields(self))
        # The key must not reach a log.
        pairs = (f"{n}={'***' if n == 'api_key' and v else repr(v)}" for n, v in shown)
        return f"Settings({', '.join(pairs)})"


def explained() -> list[tuple[str, Any, str]]:
    """Every setting as (environment name, default, meaning), in order."""
    entries: tuple[Field[Any], ...] = fields(Settings)
    return [(PREFIX + e.name.upper(), e.default, e.metadata["meaning"]) for e in entries]


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def configure_logging(settings: Settings) -> None:
    """Send one line per event to standard error."""
    logging.basicConfig(
        level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )


def _from_toml(toml_path: Path | str | None) -> dict[str, Any]:
    path = DEFAULT_TOML if toml_path is None else Path(toml_path)
    if toml_path is None and not path.is_file():
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path} cannot be read: {error}") from error


def _convert(name: str, value: Any, wanted: Any) -> Any:
    choices = [kind for kind in get_args(wanted) if kind is not type(None)]
    kind = choices[0] if choices else wanted
    if value is None or (value == "" and len(get_args(wanted)) > len(choices)):
        return None
    if isinstance(value, bool) or (kind is str and not isinstance(value, str)):
        raise SettingsError(f"{name} is {value!r}: it should be of type {kind.__name__}")
    try:
        return kind(value)
    except (TypeError, ValueError) as error:
        raise SettingsError(f"{name} is {value!r}: it should be of type {kind.__name__}") from error
