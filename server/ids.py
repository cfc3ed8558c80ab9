"""Identifiers: OpenAI's prefixes and 24 characters that nobody can guess."""

from __future__ import annotations

import secrets
import string

_ALPHABET = string.ascii_letters + string.digits
_SEPARATORS = {"file": "-", "ftjob": "-", "ftevent": "-", "ftckpt": "-", "chatcmpl": "-"}


def new_id(kind: str) -> str:
    """A new id such as `file-...` or `vs_...`, from the system's source of randomness."""
    return kind + _SEPARATORS.get(kind, "_") + "".join(secrets.choice(_ALPHABET) for _ in range(24))
