"""Whether a trained version can speak here: its base, its prompt format, and its files.

It loads nothing: fingerprints are compared, and the adapter's folder is looked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from server.errors import ApiError
from server.voices import Version


@dataclass(frozen=True, slots=True)
class Running:
    """What runs now: the base, the format of its prompts, and where adapters lie."""

    base: str
    base_fingerprint: str
    prompt_digest: str
    adapters: Path

    def misfit(self, version: Version) -> str | None:
        """Why a version cannot speak here, naming both sides; None where it can."""
        card = version.card
        if card["base_fingerprint"] != self.base_fingerprint:
            return (
                f"Version {version.id} was trained on base {version.base} "
                f"({card['base_fingerprint']}), and this server runs {self.base} "
                f"({self.base_fingerprint})"
            )
        if card["prompt_digest"] != self.prompt_digest:
            return (
                f"Version {version.id} was trained with prompt format {card['prompt_digest']}, "
                f"and this server builds {self.prompt_digest}"
            )
        if not (self.adapters / version.digest / "card.json").is_file():
            return f"The files of version {version.id} are gone"
        return None

    def check(self, version: Version) -> None:
        """Raise a 409 where a version cannot speak here."""
        if reason := self.misfit(version):
            raise ApiError(409, f"{reason}: train the voice again.", code="adapter_mismatch")
