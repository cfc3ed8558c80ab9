"""Texts without questions to pairs: the base writes the request that each text answers.

Runs one worker of kind `generate` in a folder of its own, at low priority, beside a server or
without one. What it gives is a file for a person to review, not yet a training.
It knows no HTTP. Read `pair_texts` first.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from server.errors import ServerError
from server.settings import Settings
from server.worker import carry_out
from tuning.records import Prompt
from tuning.run import Run
from tuning.texts import REQUEST_TOKENS, HouseText, Paired, pair_up, requests_for

POLL_SECONDS = 0.3
CONTEXT_TOKENS = 2048


class PairingError(ServerError):
    """The worker that writes the requests failed."""


@dataclass(frozen=True, slots=True)
class Pairs:
    """The pairs whose request is good, and (line, reason) of each text that was left out."""

    kept: list[Paired]
    dropped: list[tuple[int, str]]


def pair_texts(
    settings: Settings, texts: list[HouseText], *, progress: Callable[[int, int], None]
) -> Pairs:
    """Let the base write a request for every text, and keep those that find their text again.

    Raises:
        PairingError: the worker failed; in words.
    """
    with tempfile.TemporaryDirectory() as folder:
        run = Run.create(
            Path(folder) / "run",
            config={
                "kind": "generate",
                "generator": settings.generator,
                "models_dir": str(settings.folder("models").resolve()),
                "adapters_dir": str(settings.folder("adapters").resolve()),
                "device": settings.device,
                "threads": settings.worker_threads,
                "prompt_digest": "",  # no adapter speaks
                "voice_config": {"row_tokens": CONTEXT_TOKENS},
            },
            prompts=(
                Prompt(str(number), messages, max_tokens=REQUEST_TOKENS)
                for number, messages in enumerate(requests_for(texts))
            ),
        )

        def watch() -> bool:
            time.sleep(POLL_SECONDS)
            progress(len(run.texts()), len(texts))
            return True

        if (reason := carry_out(run, watch=watch)) is not None:
            raise PairingError(reason)
        written = {text.id: text.text for text in run.texts()}
    kept, dropped = pair_up(texts, [written[str(number)] for number in range(len(texts))])
    return Pairs(kept, dropped)
