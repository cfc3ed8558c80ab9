"""A voice for the benchmarks that no training has made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from server.opening import open_services
from server.settings import Settings


@pytest.fixture
def add_voice(add_untaught: Callable[..., str]) -> Callable[..., str]:
    """A function that adds a voice to a data directory; it returns its version's id."""

    def add(settings: Settings, name: str, task: dict[str, Any]) -> str:
        services = open_services(settings)
        try:
            return add_untaught(services, name, task)
        finally:
            services.close()

    return add
