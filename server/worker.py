"""The worker subprocess: carries out one run folder at low priority, watched from here.

Server and worker share the run folder alone. The worker ends with the server, and a killed one
is told by its signal. It knows no jobs and no database. Read `carry_out` first.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tuning.run import Run


def carry_out(run: Run, *, watch: Callable[[], bool]) -> str | None:
    """Run the worker to its end; returns why it failed, None if it did not or was stopped.

    `watch` is called a few times a second, and once more at the end; the worker is killed as
    soon as it returns false.
    """
    environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}  # leave the cores to chat
    with (run.folder / "worker.log").open("ab") as log:
        worker = subprocess.Popen(
            [sys.executable, "-m", "tuning", str(run.folder.resolve())],
            stdin=subprocess.PIPE,  # the worker ends when this pipe does: never an orphan
            stdout=log,
            stderr=log,
            env=environment,
            cwd=Path(__file__).resolve().parent.parent,
        )
    try:
        while True:
            code = worker.poll()
            going = watch()
            if code is not None:
                return _reason(code, run)
            if not going:
                return None
    finally:
        if worker.poll() is None:
            worker.kill()
            worker.wait()
        if worker.stdin:
            worker.stdin.close()


def _reason(code: int, run: Run) -> str | None:
    if code == 0:
        return None if run.outcome() else "the training process left no result"
    if (said := run.failure()) is not None:
        return said
    if code < 0:
        name = signal.Signals(-code).name
        return (
            f"the training process was killed by {name}. If nobody did that, the machine ran out "
            "of memory (lower batch_tokens or choose a smaller model) or the process crashed; "
            "worker.log in its run folder tells more. Then create the job again."
        )
    return f"the training process ended with status {code}; see worker.log in its run folder"
