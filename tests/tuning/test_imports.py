"""Importing sooner leaves no trace."""

from __future__ import annotations

import gc

import pytest
import torch

from tuning.imports import quick_imports


def test_quick_imports_leave_torch_and_the_collector_as_they_were() -> None:
    available = torch.distributed.is_available
    with pytest.raises(ImportError), quick_imports():
        assert not torch.distributed.is_available() and not gc.isenabled()
        import houseword_has_no_such_module  # noqa: F401
    assert torch.distributed.is_available is available and gc.isenabled()
