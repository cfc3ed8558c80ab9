"""The worker: `python -m tuning RUN_DIR` carries out one run folder.

Its kind is `voice` or `preference` (train an adapter, from examples or from preferences, then
write what the gate needs), `judge` (write that again), `generate` (only write) or `search` (train
an embedder or a query adapter).
Exit status 0: result/ is complete. 1: error.json says why. Killed: it goes on from the last
complete checkpoint when started again. Runs at low priority so that chat stays usable, and ends
when its standard input does: a worker never outlives the server that started it.
"""

from __future__ import annotations

import logging
import os
import shutil
import stat
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuning.errors import TuningError, is_out_of_memory
from tuning.records import PreferenceConfig, Prompt, VoiceConfig
from tuning.run import Run
from tuning.source import find_source

if TYPE_CHECKING:
    from tuning.generator import Generator

NICENESS = 10
IDS_PER_ROUND = 32  # prompts that base and candidate write before the clock is looked at


def main(folder: str) -> int:
    run = Run(Path(folder))
    config = run.config()
    os.nice(NICENESS)
    if stat.S_ISFIFO(os.fstat(0).st_mode):  # started by a server, not by hand
        threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        if config["kind"] != "search":
            find_source(config["generator"])  # told before torch is imported
        run.finish(_WORK[config["kind"]](run, config))
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


def _voice(run: Run, config: dict[str, Any]) -> dict[str, Any]:
    """Train an adapter, put it into its place, and let base and candidate write for the gate."""
    outcome = run.trained() or _train(run, config)
    texts = _generate(run, config, candidate=outcome["digest"])
    return {**outcome, "texts": texts}


def _train(run: Run, config: dict[str, Any]) -> dict[str, Any]:
    from tuning.adapter import Card, adapter_digest, check_parent, place_adapter
    from tuning.checkpoint import Checkpoints
    from tuning.full import round_weights
    from tuning.preference import train_preferences
    from tuning.replay import replay_rows
    from tuning.voice import train_voice

    generator = _generator(config)
    kind = PreferenceConfig if config["kind"] == "preference" else VoiceConfig
    settings = kind.from_json(config["voice_config"])
    parent = Path(config["parent_adapter"]) if config.get("parent_adapter") else None
    if parent is not None:
        settings = check_parent(
            parent,
            settings,
            base_fingerprint=generator.fingerprint,
            prompt_digest=config["prompt_digest"],
        )
    checkpoints = Checkpoints(run.checkpoints)
    rows = run.rows()
    if config["replay"]:
        run.report(
            {"step": 0, "stage": "The base writes answers of its own, which the voice shall keep."}
        )
        learned, _ = replay_rows(generator, config["replay"], cache=Path(config["models_dir"]))
        run.keep_replay(learned)
        rows += learned
    how: dict[str, Any] = {"checkpoints": checkpoints, "report": run.report, "parent": parent}
    if isinstance(settings, PreferenceConfig):
        outcome = asdict(train_preferences(generator, rows, settings, **how))
    else:
        outcome = asdict(train_voice(generator, rows, settings, **how))
    aside = run.folder / "adapter.part"
    shutil.rmtree(aside, ignore_errors=True)
    shutil.copytree(checkpoints.best, aside)
    if settings.adapter == "full":
        round_weights(aside, generator.dtype)
    outcome["digest"] = adapter_digest(aside)
    Card(
        voice=config["voice"],
        base=generator.name,
        base_fingerprint=generator.fingerprint,
        prompt_digest=config["prompt_digest"],
        data_digest=config["data_digest"],
        config=asdict(settings),
        metrics=outcome,
        task=config.get("task", {}),
        adapter=settings.adapter,
        parent=parent.name if parent else None,
    ).save(aside)
    place_adapter(aside, Path(config["adapters_dir"]) / outcome["digest"])
    run.keep_trained(outcome)
    return outcome


def _generate(run: Run, config: dict[str, Any], *, candidate: str | None = None) -> dict[str, Any]:
    """Write what is still missing of the run's prompts, in rounds until the time is over.

    A prompt of the adapter "candidate" is meant for the one that is to be judged; it and the
    base also read the base's held-out answers, which shows how much was forgotten. A prompt that
    leaves no room for a text does not end a training that is done: it is left out, and counted.
    """
    from tuning.adapter import AdapterSet
    from tuning.replay import replay_rows
    from tuning.writer import write

    asked = run.prompts()
    if not asked:
        return {"written": 0, "wanted": 0, "too_long": 0, "stopped": "complete", "seconds": 0.0}
    generator = _generator(config)
    context = config["voice_config"]["row_tokens"]
    too_long: set[str] = set()
    if candidate:
        lengths = {p.id: len(generator.template.prompt(p.messages)) for p in asked}
        too_long = {id_ for id_, tokens in lengths.items() if tokens >= context}
        asked = [prompt for prompt in asked if prompt.id not in too_long]
        run.report({"step": 0, "stage": "Base and candidate write for the gate."})
        _, held_out = replay_rows(generator, 0, cache=Path(config["models_dir"]))
        asked = [
            *(
                Prompt(f"replay:{number}", row.messages, who, reply=row.reply)
                for number, row in enumerate(held_out)
                for who in (None, "candidate")
            ),
            *asked,
        ]
    prompts = [
        replace(prompt, adapter=candidate) if prompt.adapter == "candidate" else prompt
        for prompt in asked
    ]
    done = {(text.id, text.adapter) for text in run.texts()}
    missing = [prompt for prompt in prompts if (prompt.id, prompt.adapter) not in done]
    began, stopped = time.monotonic(), "complete"
    if missing:
        adapters = AdapterSet(
            generator,
            folder=Path(config["adapters_dir"]),
            prompt_digest=config["prompt_digest"],
            idle_allowed=True,  # that a candidate changes nothing is for the gate to say
        )
        limit = 60 * config["gate_minutes"] if config.get("gate_minutes") else float("inf")
        ids = list(dict.fromkeys(prompt.id for prompt in missing))
        round_seconds = 0.0
        for start in range(0, len(ids), IDS_PER_ROUND):
            if time.monotonic() - began + round_seconds > limit:
                stopped = "minutes"
                break
            now = set(ids[start : start + IDS_PER_ROUND])
            of_round = [prompt for prompt in missing if prompt.id in now]
            round_began = time.monotonic()
            for text in write(
                generator,
                of_round,
                select=adapters.select,
                context_tokens=context,
            ):
                run.add_text(text)
                done.add((text.id, text.adapter))
            round_seconds = time.monotonic() - round_began
            run.report({"texts": len(done), "of": len(prompts)})
    return {
        "written": len(done),
        "wanted": len(prompts),
        "too_long": len(too_long),
        "stopped": stopped,
        "seconds": time.monotonic() - began,
    }


def _generator(config: dict[str, Any]) -> Generator:
    from tuning.generator import load_generator

    return load_generator(
        config["generator"],
        models_dir=Path(config["models_dir"]),
        device=config["device"],
        threads=config["threads"],
    )


def _judge(run: Run, config: dict[str, Any]) -> dict[str, Any]:
    """Let base (or active version) and a version that is there write for the gate."""
    return _generate(run, config, candidate=config["candidate"])


def _search(run: Run, config: dict[str, Any]) -> dict[str, Any]:
    """Train a store's search."""
    from tuning.search import train_search

    return train_search(run, config)


_WORK: dict[str, Callable[[Run, dict[str, Any]], dict[str, Any]]] = {
    "voice": _voice,
    "preference": _voice,
    "judge": _judge,
    "generate": _generate,
    "search": _search,
}


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    sys.exit(main(sys.argv[1]))
