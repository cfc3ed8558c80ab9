"""Does tuning help? Any file of pairs, held out by topic, with documents and questions or without.

    python -m benchmarks.voice --pairs FILE.jsonl [--documents DIR] [--questions FILE.jsonl]
                               [--train N] [--minutes M]

Pairs are lines of `input` and `output` (or chat `messages`), with an optional `split` (train,
or anything else for held out) and an optional topic, intent, section or group. Houseword itself
ingests the documents and trains the voice; afterwards base, few-shot prompt and voice write for
the held-out inputs and answer the questions (`question`, `expected`, `answerable`), in prompts
built as they are served. What is too long for the context of any arm is left out and told.
Prints a table and, last, one JSON line.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.voice_report import ARMS, Asked, report, table
from server.answer import Prepared, Question, prepare
from server.auth import LOCAL_OWNER
from server.client import ClientError, connect
from server.ingestion import ingest_paths
from server.opening import open_services
from server.probing import PROBE_TOKENS, PROBES, probe, probed
from server.prompt import Message
from server.settings import Settings
from server.teaching import teach
from tuning.adapter import AdapterSet
from tuning.errors import PromptTooLong
from tuning.examples import assign_splits, question_key, read_examples
from tuning.generate import Sampling
from tuning.generator import load_generator
from tuning.records import Prompt, Text
from tuning.run import Run
from tuning.task_measures import routing_baseline
from tuning.writer import write

VOICE = "benchmark"
GROUPS = ("topic", "intent", "section", "document", "group")
SHOTS = 3
SHOT_CHARACTERS = 400
STYLE_TEXTS = 60
HELD_OUT, HELD_OUT_SHORT = 60, 200  # pairs; more where the replies are short
SHORT = 120  # characters
QUESTION_TOKENS = 96


@dataclass(frozen=True, slots=True)
class Pair:
    input: str
    output: str
    group: str
    held_out: bool

    def chat(self) -> str:
        messages = [
            {"role": "user", "content": self.input},
            {"role": "assistant", "content": self.output},
        ]
        return json.dumps({"messages": messages, "group": self.group}, ensure_ascii=False)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=Path, required=True)
    parser.add_argument("--documents", type=Path)
    parser.add_argument("--questions", type=Path)
    parser.add_argument("--train", type=int, default=400, help="pairs to train on, at most")
    parser.add_argument("--minutes", type=float, default=25.0, help="longest training")
    parser.add_argument("--epochs", type=int, help="passes over the pairs, at most")
    parser.add_argument("--held-out", type=int, help="pairs held out, at most")
    parser.add_argument("--data-dir", type=Path, help="kept and gone on with, if given")
    parser.add_argument("--texts", type=Path, help="write every text here, as JSON lines")
    options = parser.parse_args(arguments)
    console = Console(stderr=True)
    with tempfile.TemporaryDirectory() as temporary:
        settings = Settings.load(data_dir=options.data_dir or Path(temporary))
        train, held_out = read_pairs(options.pairs, train=options.train, held=options.held_out)
        console.print(f"{len(train)} pairs to train on, {len(held_out)} held out")
        job = teach_voice(settings, train, held_out, options, console)
        questions = read_lines(options.questions) if options.questions else []
        made, texts = measure(settings, job, train, held_out, questions, console)
        if options.texts:
            lines = [json.dumps({"id": id_, "text": text.text}) for id_, text in texts.items()]
            options.texts.write_text("\n".join(lines))
    print(table(made))
    print(json.dumps(made))


def read_pairs(path: Path, *, train: int, held: int | None) -> tuple[list[Pair], list[Pair]]:
    """The pairs to train on and those held out: by `split` where lines say so, else by group."""
    pairs = []
    splits: set[bool] = set()
    for line in read_lines(path):
        if "messages" in line:
            *before, reply = line["messages"]
            input_, output = before[-1]["content"], reply["content"]
        else:
            input_, output = line["input"], line["output"]
            if not isinstance(output, str):
                output = json.dumps(output, ensure_ascii=False)
        group = next((str(line[name]) for name in GROUPS if line.get(name)), input_)
        out = line.get("split", "train") not in ("train", "training")
        splits.add(out)
        pairs.append(Pair(input_, output, group, out))
    if splits == {False}:
        chat = "\n".join(pair.chat() for pair in pairs).encode()
        examples = read_examples(chat)
        assigned = assign_splits(examples)
        pairs = [
            replace(pair, held_out=assigned[question_key(example)] == "gate")
            for pair, example in zip(pairs, examples, strict=True)
        ]
    if held is None:
        short = statistics.median(len(pair.output) for pair in pairs) <= SHORT
        held = HELD_OUT_SHORT if short else HELD_OUT
    order = random.Random(0)
    chosen = [pair for pair in pairs if not pair.held_out]
    out_of_it = [pair for pair in pairs if pair.held_out]
    return (
        order.sample(chosen, min(train, len(chosen))),
        order.sample(out_of_it, min(held, len(out_of_it))),
    )


def teach_voice(
    settings: Settings,
    train: Sequence[Pair],
    held_out: Sequence[Pair],
    options: argparse.Namespace,
    console: Console,
    *,
    plain: bool = False,
) -> dict[str, Any]:
    """Ingest and train; the pairs held out are the validation file, not to lose pairs to a gate.

    A `plain` training knows no documents: they are ingested behind it.
    """
    with connect(settings) as client, tempfile.TemporaryDirectory() as folder:
        for job in client.pages("/v1/fine_tuning/jobs"):
            if job["suffix"] == VOICE and job["status"] == "succeeded":
                return job
        store = client.get("/v1/vector_stores/default")["id"]
        if options.documents and not plain:
            ingest_paths(client, [options.documents], store_id=store, console=console)
        file, held = Path(folder) / "pairs.jsonl", Path(folder) / "held-out.jsonl"
        file.write_text("\n".join(pair.chat() for pair in train), encoding="utf-8")
        held.write_text("\n".join(pair.chat() for pair in held_out), encoding="utf-8")
        job = teach(
            client,
            file,
            name=VOICE,
            hyperparameters={
                "max_minutes": options.minutes,
                "max_epochs": options.epochs,
                "gate_minutes": 0,
            },
            store_id=store,
            console=console,
            validation=held,
        )
        if options.documents and plain:
            ingest_paths(client, [options.documents], store_id=store, console=console)
    if job["status"] != "succeeded":
        raise ClientError(f"the training ended as {job['status']}: {job['error']}")
    return job


def measure(
    settings: Settings,
    job: Mapping[str, Any],
    train: Sequence[Pair],
    held_out: Sequence[Pair],
    questions: Sequence[Mapping[str, Any]],
    console: Console,
    *,
    arms: Sequence[str] = ARMS,
    known: Mapping[str, Text] | None = None,
) -> tuple[dict[str, Any], dict[str, Text]]:
    """Let the arms write what is not `known`; returns a report on it, and the texts by their id."""
    digest = job["fine_tuned_model"].rpartition(":")[2]
    run = Run(settings.folder("runs") / job["id"])
    shots = _shots(train)
    adapters: dict[str, str | None] = {"base": None, "few_shot": None, "tuned": digest}
    prompts: list[Prompt] = []
    services = open_services(settings)
    try:
        model = {"base": services.engine.generator.name, "tuned": job["fine_tuned_model"]}
        task = job["result"].get("task") or {"kind": "reply"}
        longest = _longest(train, characters=2 if task["kind"] == "json" else 4)

        store = services.default_store(LOCAL_OWNER)
        stores = (store,) if services.library.stores.get(store).documents else ()

        def built(arm: str, question: str, **how: Any) -> Prepared:
            history = shots if arm == "few_shot" else ()
            request = Question(
                # One form for all arms: what the voice's card says of documents counts for all.
                model=model["tuned"],
                messages=(*history, {"role": "user", "content": question}),
                sampling=Sampling(),
                **how,
            )
            return prepare(services, LOCAL_OWNER, request)

        def every(
            question: str, of: Sequence[str] = arms, **how: Any
        ) -> dict[str, Prepared] | None:
            """A question as the arms are asked it; None where it is too long for one of them."""
            try:
                return {arm: built(arm, question, **how) for arm in of}
            except PromptTooLong as error:
                console.print(f"left out: {error}", markup=False)
                return None

        pairs = [(pair, ready) for pair in held_out if (ready := every(pair.input))]
        if not pairs:
            raise ClientError("no pair held out fits into the context: there is nothing to measure")
        asked_of = [
            (question, ready)
            for question in questions
            if (ready := every(question["question"], stores=stores))
        ]
        styled = [ready for pair in train[:STYLE_TEXTS] if (ready := every(pair.input, ["base"]))]
        for arm in arms:
            adapter = adapters[arm]
            for number, (pair, own) in enumerate(pairs):
                prepared = own[arm]
                # A voice of labels or JSON is held to them when it is served; the others are not.
                grammar = prepared.question.sampling.grammar if adapter else None
                prompts.append(
                    Prompt(
                        f"{arm}:pair:{number}", prepared.messages, adapter, longest, grammar=grammar
                    )
                )
                if number < HELD_OUT:
                    prompts.append(
                        Prompt(
                            f"{arm}:loss:{number}", prepared.messages, adapter, reply=pair.output
                        )
                    )
            for number, (_, own) in enumerate(asked_of):
                messages = own[arm].messages
                prompts.append(
                    Prompt(f"{arm}:question:{number}", messages, adapter, QUESTION_TOKENS)
                )
        for number, own in enumerate(styled):
            prompts.append(Prompt(f"style:{number}", own["base"].messages, None, longest))
        probes = list(filter(probed, run.rows()))
        probes = random.Random(0).sample(probes, min(PROBES, len(probes)))
        for number, row in enumerate(probes):
            for arm in arms:
                bare = probe(row, shots=shots if arm == "few_shot" else ())
                prompts.append(Prompt(f"{arm}:probe:{number}", bare, adapters[arm], PROBE_TOKENS))
        routed: list[str] = []
        if task["kind"] == "label":
            routed = routing_baseline(
                [pair.input for pair in train],
                [pair.output for pair in train],
                [pair.input for pair, _ in pairs],
                services.embedder.embed,
            )
        count = services.engine.encode
        lengths = {prompt.id: len(count(prompt.messages)) for prompt in prompts}
        prompt_digest = services.engine.prompt_digest
    finally:
        services.close()
    missing = [prompt for prompt in prompts if prompt.id not in (known or {})]
    texts = {**(known or {}), **_written(settings, missing, prompt_digest, console)}
    asked = Asked(
        [pair.output for pair in train],
        [pair.output for pair, _ in pairs],
        [question for question, _ in asked_of],
        probes,
        lengths,
        task,
        routed,
    )
    made = {
        **report(asked, texts, arms),
        "task": task,
        "train_seconds": job["result"]["seconds"],
        "train_tokens_per_second": job["result"]["tokens_per_second"],
    }
    return made, texts


def _shots(train: Sequence[Pair]) -> tuple[Message, ...]:
    """The style prompt: a few short pairs of the house as turns that came before."""
    short = [p for p in train if len(p.input) + len(p.output) <= SHOT_CHARACTERS] or list(train)
    chosen = sorted(short, key=lambda pair: len(pair.output))[len(short) // 2 :][:SHOTS]
    return (
        {"role": "system", "content": "Reply in the same style as these earlier replies."},
        *(
            message
            for pair in chosen
            for message in (
                {"role": "user", "content": pair.input},
                {"role": "assistant", "content": pair.output},
            )
        ),
    )


def _longest(train: Sequence[Pair], *, characters: int) -> int:
    """Room for nine of ten replies of the house, in tokens of about so many characters."""
    lengths = sorted(len(pair.output) for pair in train)
    return max(16, min(256, lengths[int(0.9 * (len(lengths) - 1))] // characters + 8))


def _written(
    settings: Settings, prompts: Sequence[Prompt], prompt_digest: str, console: Console
) -> dict[str, Text]:
    generator = load_generator(
        settings.generator, models_dir=settings.folder("models"), device=settings.device
    )
    adapters = AdapterSet(
        generator, folder=settings.folder("adapters"), prompt_digest=prompt_digest
    )
    texts: dict[str, Text] = {}
    with console.status("writing") as status:
        for text in write(
            generator, prompts, select=adapters.select, context_tokens=settings.context_tokens
        ):
            texts[text.id] = text
            status.update(f"writing: {len(texts)} of {len(prompts)}")
    return texts


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]


if __name__ == "__main__":
    main()
