"""Tiny models built from configs, and real servers on real sockets. Nothing is mocked."""

from __future__ import annotations

import json
import os
import shutil
import socket
import string
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import uvicorn
from openai import OpenAI

from server.app import create_app
from server.services import Services
from server.settings import Settings
from server.voices import Version
from tuning.adapter import Card, adapter_digest, new_adapter, save_adapter
from tuning.generator import load_generator
from tuning.records import VoiceConfig

hypothesis.settings.register_profile("any machine", deadline=None)  # a loaded one is no fault
hypothesis.settings.load_profile("any machine")

if "PYTEST_XDIST_WORKER" in os.environ:  # several processes share the processor
    os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One process runs a whole file, and all files that share the voice which `taught` teaches."""
    sharing = {item.path for item in items if "taught" in getattr(item, "fixturenames", ())}
    for item in items:
        group = "taught" if item.path in sharing else str(item.path)
        item.add_marker(pytest.mark.xdist_group(group))


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Bytes do not name a test: a DOCX made now holds the time, and every process has its own."""
    return argname if isinstance(val, bytes) else None


TINY_WORDS = (
    "the a of and to in is are for with our your days return returns refund shipping order bag "
    "bags rack lamp rain tent price color colour green blue red house store open closed hours"
).split()


@pytest.fixture(scope="session")
def tiny_embedder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sentence-transformers folder with a random two-layer BERT: 32 dimensions, 256 tokens."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = tmp_path_factory.mktemp("tiny-embedder")
    letters = string.ascii_lowercase + string.digits
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary += [*letters, *(f"##{letter}" for letter in letters), *string.punctuation]
    vocabulary += [word for word in TINY_WORDS if len(word) > 1]
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    BertTokenizerFast(str(folder / "vocab.txt"), do_lower_case=True).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=256,
    )
    BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    steps = "sentence_transformers.models"
    _write_json(
        folder / "modules.json",
        [
            {"idx": 0, "name": "0", "path": "", "type": f"{steps}.Transformer"},
            {"idx": 1, "name": "1", "path": "1_Pooling", "type": f"{steps}.Pooling"},
            {"idx": 2, "name": "2", "path": "2_Normalize", "type": f"{steps}.Normalize"},
        ],
    )
    _write_json(
        folder / "1_Pooling" / "config.json",
        {"word_embedding_dimension": 32, "pooling_mode_mean_tokens": True},
    )
    (folder / "2_Normalize").mkdir()
    _write_json(folder / "sentence_bert_config.json", {"max_seq_length": 256})
    return folder


@pytest.fixture(scope="session")
def build_cross_encoder(tiny_embedder: Path) -> Callable[..., Path]:
    """`build_cross_encoder(folder, labels=1)` writes a random two-layer BERT that reads pairs."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

    def build(folder: Path, *, labels: int = 1) -> Path:
        tokenizer = BertTokenizerFast.from_pretrained(tiny_embedder)
        tokenizer.save_pretrained(folder)
        torch.manual_seed(1)
        config = BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=64,
            max_position_embeddings=256,
            num_labels=labels,
            initializer_range=0.3,
        )
        BertForSequenceClassification(config).save_pretrained(folder)
        return folder

    return build


@pytest.fixture(scope="session")
def cross_encoder_folder(
    build_cross_encoder: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    return build_cross_encoder(tmp_path_factory.mktemp("cross-encoder"))


CHAT_TEMPLATE = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


@pytest.fixture(scope="session")
def tiny_generator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random two-layer llama with a byte-level tokenizer and a chat template.

    Its weights are large enough to prefer some letter clearly, so that greedy answers are
    legible, and a few seconds of training can teach it a sentence.
    """
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("tiny-llama")
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>")
    fast.add_special_tokens(
        {"additional_special_tokens": ["<|system|>", "<|user|>", "<|assistant|>"]}
    )
    fast.chat_template = CHAT_TEMPLATE
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(fast),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=4096,
        eos_token_id=fast.eos_token_id,
        bos_token_id=None,
        tie_word_embeddings=True,
        initializer_range=0.3,
    )
    model = LlamaForCausalLM(config)
    legible = [*string.ascii_letters, *string.digits, ".", ",", "\u0120", "<|end|>"]
    size = torch.full((len(fast), 1), 0.1)
    size[fast.convert_tokens_to_ids(legible)] = 1.0
    model.model.embed_tokens.weight.data = torch.randn(len(fast), 32) * size
    model.save_pretrained(folder)
    return folder


@dataclass(frozen=True)
class RunningServer:
    """The real app under uvicorn in a thread, on a loopback port of its own."""

    settings: Settings
    services: Services
    client: OpenAI

    @property
    def url(self) -> str:
        return self.settings.url


StartServer = Callable[..., RunningServer]


@pytest.fixture(scope="session")
def tiny_settings(tiny_embedder: Path, tiny_generator: Path) -> Settings:
    """Settings with tiny models; every server replaces data_dir and port."""
    return Settings(
        embedder=str(tiny_embedder),
        generator=str(tiny_generator),
        device="cpu",
        threads=1,
        context_tokens=4096,
        # So small a model learns one thing at a time: the house's own rows.
        rows_none=0,
        rows_varied=0,
        rows_drills=0,
        rows_replay=0,
        # What so small a model writes is never supported; tests of policies ask for them.
        grounding="off",
        log_level="WARNING",
    )


@pytest.fixture(scope="session")
def start_server(tiny_settings: Settings) -> Iterator[StartServer]:
    """A function that starts a server: `start_server(tmp_path, max_upload_bytes=100)`."""
    with ExitStack() as running:

        def start(data_dir: Path, **changes: Any) -> RunningServer:
            settings = replace(tiny_settings, data_dir=data_dir, port=_free_port(), **changes)
            return running.enter_context(serving(settings))

        yield start


@pytest.fixture(scope="module")
def server(start_server: StartServer, tmp_path_factory: pytest.TempPathFactory) -> RunningServer:
    """One server with an empty data directory for all tests of a module."""
    return start_server(tmp_path_factory.mktemp("state"))


@pytest.fixture(scope="module")
def client(server: RunningServer) -> OpenAI:
    """The official client, connected to `server`."""
    return server.client


class serving:
    """Runs the app of `settings` in a thread while the block lasts."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        app = create_app(settings)
        self._app = app
        config = uvicorn.Config(
            app, host=settings.host, port=settings.port, log_config=None, access_log=False
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, name="uvicorn")

    def __enter__(self) -> RunningServer:
        self._thread.start()
        while not self._server.started:
            assert self._thread.is_alive(), "the server did not start"
            time.sleep(0.01)
        self._client = OpenAI(
            base_url=f"{self._settings.url}/v1",
            api_key=self._settings.api_key or "none",
            max_retries=0,
        )
        return RunningServer(self._settings, self._app.state.services, self._client)

    def __exit__(self, *exception: object) -> None:
        self._client.close()
        self._server.should_exit = True
        self._thread.join(30)
        assert not self._thread.is_alive(), "the server did not stop"


@pytest.fixture(scope="session", name="serving")
def serving_fixture() -> type[serving]:
    """`with serving(settings) as server`: for tests that stop a server themselves."""
    return serving


@pytest.fixture
def free_port() -> int:
    """A loopback port that nobody listens on at this moment."""
    return _free_port()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _write_json(path: Path, value: object) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value))


@pytest.fixture(scope="session")
def strict() -> Callable[[Any], Any]:
    """Parse a raw response with the client's own model, in pydantic's strict mode."""

    def parse(response: Any) -> Any:
        parsed = response.parse()
        type(parsed).model_validate_json(response.content, strict=True)
        return parsed

    return parse


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of documents and questions by others; tests that need it skip without it."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("HOUSEWORD_TEST_DATA", beside))
    if not folder.is_dir():
        pytest.skip(f"no data by others in {folder} (set HOUSEWORD_TEST_DATA)")
    return folder


# -- voices that no training has made


def place_untaught(services: Services, *, weight: float = 1e-3) -> str:
    """Put an adapter that says the base's words into its place; each weight has its own digest."""
    settings, base = services.settings, services.engine.generator
    folder = settings.folder("adapters") / "new"
    adapter = load_generator(settings.generator, models_dir=folder, device="cpu", threads=1)
    model = new_adapter(adapter, VoiceConfig(rank=4))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:  # nothing at all would be refused as no adapter
            parameter.data.fill_(weight)  # less is lost where the model is in bfloat16
    save_adapter(model, folder)
    card = Card(
        voice="any",
        base=base.name,
        base_fingerprint=base.fingerprint,
        prompt_digest=services.engine.prompt_digest,
        data_digest="none",
        config={},
    )
    card.save(folder)
    digest = adapter_digest(folder)
    place = folder.with_name(digest)
    if place.exists():
        shutil.rmtree(folder)
    else:
        folder.rename(place)
    return digest


def add_untaught(services: Services, name: str, task: dict[str, Any]) -> str:
    """Let the base's words speak as a voice with this task; returns the id of its version."""
    base, digest = services.engine.generator.name, place_untaught(services)
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
        created_at=int(time.time()),
    )

    def add(connection: Any) -> None:
        services.voices.add(connection, version)
        services.voices.activate_within(connection, "local", name, version.id, now=0)

    services.database.write(add)
    return version.id


@pytest.fixture(scope="session", name="place_untaught")
def place_untaught_fixture() -> Callable[..., str]:
    return place_untaught


@pytest.fixture(scope="session", name="add_untaught")
def add_untaught_fixture() -> Callable[..., str]:
    return add_untaught
