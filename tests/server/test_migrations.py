"""The story of the schema, read in the middle: what an older data directory becomes."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from retrieval.database import Database
from server.errors import ApiError
from server.migrations import MIGRATIONS
from server.turns import Turns
from server.voices import Voices


def before_feedback(path: Path) -> Database:
    """A database of the time before feedback and the history of activations."""
    database = Database(path)
    names = [migration.__name__ for migration in MIGRATIONS]
    database.migrate("server", MIGRATIONS[: names.index("m006_create_feedback")])
    return database


def test_a_voice_from_before_the_history_can_be_rolled_back_once(tmp_path: Path) -> None:
    database = before_feedback(tmp_path / "houseword.db")
    for name, state in (("old", "retired"), ("new", "active")):
        row = (name, "local", "support", name, "base", json.dumps({}), state, 1)
        database.write(
            lambda connection, row=row: connection.execute(
                "INSERT INTO adapters (id, owner, voice, digest, base, card, state, created_at) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                row,
            )
        )
    database.write(
        lambda connection: connection.execute(
            "INSERT INTO voices VALUES ('local', 'support', 'new', 'old', 1, 2)"
        )
    )
    database.migrate("server", MIGRATIONS)
    voices = Voices(database)
    known = voices.voice("local", "support").activations
    assert [activation.version for activation in known] == ["old", "new"]
    assert voices.rollback("local", "support", now=3).active == "old"
    with pytest.raises(ApiError, match="nothing to bring back"):
        voices.rollback("local", "support", now=4)
    database.close()


def test_a_turn_from_before_feedback_has_no_conversation(tmp_path: Path) -> None:
    database = before_feedback(tmp_path / "houseword.db")
    row = ("chatcmpl-old", "local", int(time.time()), "m", "[]", "[]", "Yes.")
    database.write(
        lambda connection: connection.execute(
            "INSERT INTO turns (id, owner, created_at, model, messages, hits, answer) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            row,
        )
    )
    database.migrate("server", MIGRATIONS)
    turn = Turns(database).turn("local", "chatcmpl-old")
    assert turn is not None and turn.answer == "Yes." and turn.conversation is None
    assert Turns(database).turn("somebody", "chatcmpl-old") is None
    database.close()
