"""The wire of chains."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct

from server.chains import Chain


class ChainCreate(Struct, kw_only=True):
    """A chain to name; `server.chain` says what a step may hold."""

    name: str
    steps: list[dict[str, Any]]


class ChainObject(Struct, kw_only=True):
    """A chain as it was given."""

    id: str
    object: Literal["chain"] = "chain"
    name: str
    created_at: int
    steps: list[dict[str, Any]]


def chain_object(chain: Chain) -> ChainObject:
    return ChainObject(
        id=chain.name, name=chain.name, created_at=chain.created_at, steps=chain.given
    )
