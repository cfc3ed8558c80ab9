"""The heavy libraries, imported sooner. Imports none of them itself; read `quick_imports`."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quick_imports() -> Iterator[None]:
    """Import torch and the libraries in some 6 s instead of 9 (measured in benchmarks/LOG.md).

    The collector would walk a million new objects that live as long as the process, and
    transformers would import torch's distributed tensors, which one process never uses.
    """
    gc.disable()
    import torch

    available = torch.distributed.is_available
    torch.distributed.is_available = lambda: False  # transformers asks once and remembers
    try:
        yield
    finally:
        torch.distributed.is_available = available
        gc.freeze()
        gc.enable()
