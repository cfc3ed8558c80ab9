"""A voice for the benchmarks that no training has made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from server.opening import open_services
from server.settings import Settings
from server.voices import Version
from tuning.adapter import Card, adapter_digest, new_adapter, save_adapter
from tuning.generator import load_generator
from tuning.records import VoiceConfig


@pytest.fixture
def add_voice() -> Callable[..., str]:
    return _add_voice


def _add_voice(settings: Settings, name: str, task: dict[str, Any]) -> str:
    """Add a voice of an adapter that changes next to nothing; returns its version's id."""
    services = open_services(settings)
    try:
        folder = settings.folder("adapters") / "new"
        base = services.engine.generator.name
        generator = load_generator(settings.generator, models_dir=folder, device="cpu", threads=1)
        model = new_adapter(generator, VoiceConfig(rank=4))
        for key, weight in model.named_parameters():
            if "lora_B" in key:  # nothing at all would be refused as no adapter
                weight.data.fill_(1e-3)
        save_adapter(model, folder)
        fits = {
            "base_fingerprint": generator.fingerprint,
            "prompt_digest": services.engine.prompt_digest,
        }
        Card(voice=name, base=base, data_digest="none", config={}, **fits).save(folder)
        digest = adapter_digest(folder)
        folder.rename(folder.with_name(digest))
        version = Version(
            id=f"ft:{base}:{name}:{digest}",
            owner="local",
            voice=name,
            digest=digest,
            job_id=None,
            base=base,
            card={"task": task},
            state="candidate",
            reasons=(),
            created_at=0,
        )

        def add(connection: Any) -> None:
            services.voices.add(connection, version)
            services.voices.activate_within(connection, "local", name, version.id, now=0)

        services.database.write(add)
        return version.id
    finally:
        services.close()
