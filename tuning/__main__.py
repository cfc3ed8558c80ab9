"""The training worker: `python -m tuning RUN_DIR` carries out one run folder.

Exit status 0: result/ is complete. 1: error.json says why. Killed: it goes on from the last
complete checkpoint when started again. Runs at low priority so that chat stays usable, and ends
when its standard input does: a worker never outlives the server that started it.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import stat
import sys
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tuning.errors import TuningError, is_out_of_memory
from tuning.records import VoiceConfig
from tuning.run import Run

NICENESS = 10


def main(folder: str) -> int:
    run = Run(Path(folder))
    config = run.config()
    os.nice(NICENESS)
    if stat.S_ISFIFO(os.fstat(0).st_mode):  # started by a server, not by hand
        threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        _train(run, config)
    except TuningError as error:
        run.fail(str(error))
        return 1
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        run.fail("the machine ran out of memory: lower batch_tokens or choose a smaller model")
        return 1
    except OSError as error:
        run.fail(f"the disk failed the training: {error}")
        return 1
    return 0


def _end_with_parent() -> None:
    # Not sys.stdin: its lock, held at exit, aborts the interpreter.
    while os.read(0, 1024):
        pass
    os._exit(3)


def _train(run: Run, config: dict[str, Any]) -> None:
    from tuning.adapter import Card, adapter_digest, fsync_folder
    from tuning.checkpoint import Checkpoints
    from tuning.generator import load_generator
    from tuning.voice import train_voice

    generator = load_generator(
        config["generator"],
        models_dir=Path(config["models_dir"]),
        device=config["device"],
        threads=config["threads"],
    )
    settings = VoiceConfig.from_json(config["voice_config"])
    checkpoints = Checkpoints(run.checkpoints)
    outcome = asdict(
        train_voice(generator, run.rows(), settings, checkpoints=checkpoints, report=run.report)
    )
    aside = run.folder / "result.part"
    shutil.rmtree(aside, ignore_errors=True)
    shutil.copytree(checkpoints.best, aside / "adapter")
    digest = adapter_digest(aside / "adapter")
    Card(
        voice=config["voice"],
        base=generator.name,
        base_fingerprint=generator.fingerprint,
        prompt_digest=config["prompt_digest"],
        data_digest=config["data_digest"],
        config=asdict(settings),
        metrics=outcome,
    ).save(aside / "adapter")
    (aside / "outcome.json").write_text(json.dumps({**outcome, "digest": digest}))
    fsync_folder(aside)
    aside.rename(run.result)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    sys.exit(main(sys.argv[1]))
