"""The networks that learn to read: the default embedder's (reader) and generator's (verifier).

Both are given a question and a passage as `retrieval/read.py` and `retrieval/verify.py` do, and
have two outputs for each token. Read `Network.logits` first.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoModelForQuestionAnswering, AutoTokenizer

from benchmarks.reader_pairs import Kind, Pair
from retrieval.embed import DEFAULT_EMBEDDER, choose_device, default_embedder_folder
from retrieval.verify import BEGIN, BREAK, question_answerer
from tuning.generator import locate
from tuning.source import DEFAULT_GENERATOR

RANK, ALPHA = 32, 64
LAYERS = 30  # of the generator: all
OUTPUTS = "qa_outputs"
MAX_TOKENS = 256
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


@dataclass(frozen=True, slots=True)
class Example:
    """Token ids of a question and a passage, which begins at token `passage`.

    `first` and `last` are the answer's first and last token, 0 and 0 where there is none.
    """

    ids: list[int]
    passage: int
    first: int
    last: int
    kind: Kind


@dataclass(frozen=True, slots=True)
class Network:
    """A base with a LoRA adapter and its tokenizer; `begin` and `break_` frame what it reads."""

    base: str
    model: Any
    tokenizer: Any
    begin: int
    break_: int
    device: torch.device
    bf16: bool

    @classmethod
    def reader(cls, start: Path | None = None) -> Self:
        """The reader, as the adapter in the folder `start` has made it."""
        folder = default_embedder_folder()
        base = AutoModelForQuestionAnswering.from_pretrained(folder, attn_implementation="eager")
        for module in base.modules():
            if isinstance(module, nn.Dropout):
                module.p = (
                    0.0  # few epochs do not overfit, and drawing masks takes a fifth of a step
                )
        tokenizer = AutoTokenizer.from_pretrained(folder)
        frame = tokenizer.cls_token_id, tokenizer.sep_token_id
        targets = ["query", "key", "value", "dense"]
        return cls._of(DEFAULT_EMBEDDER, base, tokenizer, frame, targets, None, start)

    @classmethod
    def verifier(cls, models: Path, start: Path | None = None) -> Self:
        """The verifier; `models` is where the generator's weights are imported to."""
        folder = Path(locate(DEFAULT_GENERATOR, models_dir=models))
        tokenizer = AutoTokenizer.from_pretrained(folder)
        begin, break_ = tokenizer(BEGIN + BREAK)["input_ids"]
        targets = [f"{part}_proj" for part in ("q", "k", "v", "o", "gate", "up", "down")]
        base = question_answerer(folder, LAYERS)
        layers = list(range(LAYERS))
        return cls._of(DEFAULT_GENERATOR, base, tokenizer, (begin, break_), targets, layers, start)

    @classmethod
    def _of(
        cls,
        name: str,
        base: Any,
        tokenizer: Any,
        frame: tuple[int, int],
        targets: list[str],
        layers: list[int] | None,
        start: Path | None,
    ) -> Self:
        model: Any
        if start is not None:
            model = PeftModel.from_pretrained(base, str(start), is_trainable=True)
        else:
            config = LoraConfig(
                r=RANK,
                lora_alpha=ALPHA,
                target_modules=targets,
                modules_to_save=[OUTPUTS],
                layers_to_transform=layers,
            )
            model = get_peft_model(base, config)
        device, mode = choose_device("auto", "auto", "reader")
        return cls(name, model.to(device), tokenizer, *frame, torch.device(device), mode == "bf16")

    def encode(self, pairs: Sequence[Pair]) -> list[Example]:
        """Token ids of the pairs; one whose answer is cut off is left out."""
        options = {"add_special_tokens": False, "split_special_tokens": True, "verbose": False}
        asked = self.tokenizer([pair.question for pair in pairs], **options)["input_ids"]
        texts = self.tokenizer(
            [pair.passage for pair in pairs], return_offsets_mapping=True, **options
        )
        examples: list[Example] = []
        for row, pair in enumerate(pairs):
            before = [self.begin, *asked[row], self.break_]
            room = MAX_TOKENS - len(before) - 1
            ids = [*before, *texts["input_ids"][row][:room], self.break_]
            first = last = 0
            for token, (start, end) in enumerate(texts["offset_mapping"][row][:room], len(before)):
                while start < end and pair.passage[start].isspace():
                    start += 1
                if pair.end and start < end:
                    first = token if start <= pair.start < end else first
                    last = token if start < pair.end <= end else last
            if bool(pair.end) == bool(first and last):
                examples.append(Example(ids, len(before), first, last, pair.kind))
        return examples

    def logits(self, batch: Sequence[Example]) -> tuple[Tensor, Tensor]:
        """(batch, tokens) logits of first and last token.

        Only "no answer", which the first token stands for, and tokens of the passage can be chosen.
        """
        longest = max(len(example.ids) for example in batch)
        ids = torch.zeros(len(batch), longest, dtype=torch.long)
        types, real = torch.zeros_like(ids), torch.zeros_like(ids, dtype=torch.bool)
        for row, example in enumerate(batch):
            ids[row, : len(example.ids)] = torch.tensor(example.ids)
            types[row, example.passage : len(example.ids)] = 1
            real[row, : len(example.ids)] = True
        ids, types, real = (tensor.to(self.device) for tensor in (ids, types, real))
        inputs: dict[str, Any] = {"token_type_ids": types, "attention_mask": real}
        if self.base == DEFAULT_GENERATOR:  # every token sees every other
            inputs = {"attention_mask": real[:, None, None, :].expand(-1, 1, longest, longest)}
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.bf16):
            found = self.model(input_ids=ids, **inputs)
        allowed = (types == 1) & real
        allowed[:, 0] = True
        begins, ends = (
            logits.float().masked_fill(~allowed, -1e4)
            for logits in (found.start_logits, found.end_logits)
        )
        return begins, ends

    def save(self, out: Path) -> None:
        """Write the adapter in bfloat16, without the folder that its base lay in."""
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as temporary:  # peft writes a card of its own, too
            self.model.save_pretrained(temporary, save_embedding_layers=False)
            config = json.loads(Path(temporary, CONFIG).read_text(encoding="utf-8"))
            weights = load_file(Path(temporary, WEIGHTS))
        config |= {"base_model_name_or_path": self.base, "task_type": "QUESTION_ANS"}
        config["modules_to_save"] = [OUTPUTS]  # peft names them once more in every training
        (out / CONFIG).write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
        halved = {name: weight.to(torch.bfloat16).contiguous() for name, weight in weights.items()}
        save_file(halved, out / WEIGHTS, metadata={"format": "pt"})
