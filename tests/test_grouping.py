"""That tests are spread over processes as tests/conftest.py means it: a file to a process."""

from __future__ import annotations

import pytest


def test_a_file_has_one_process(request: pytest.FixtureRequest) -> None:
    if request.config.getoption("loadgroup", default=False):  # as xdist's processes are told
        assert request.node.nodeid.endswith(f"@{request.node.path}")
