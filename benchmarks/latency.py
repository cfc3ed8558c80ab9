"""How long a user waits: start, first token, first checked sentence, voice switch; and the memory.

    python -m benchmarks.latency [--prompt-tokens 1000] [--repeats 5]

Starts the real server with the default models as a process of its own, on a loopback port and
in a temporary data directory, and asks it over HTTP. With `--data-dir DIR --model VOICE` (a
data directory in which a voice was trained) requests alternate between the voice and the base,
to time the switch. Prints a table and, last, one JSON line.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import psutil

WORDS = "the bench keeps copper rivets waxed thread and a ledger of every ride to the harbour "


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompt-tokens", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--data-dir", type=Path, help="a data directory that holds a voice")
    parser.add_argument("--model", help="the voice to alternate with the base")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        data_dir = options.data_dir or Path(folder)
        if not (data_dir / "models").exists():
            measure(data_dir, None, 1, 1)  # imports the default model once, untimed
        figures = measure(data_dir, options.model, options.prompt_tokens, options.repeats)
    for name, value in figures.items():
        print(f"{name:32}{value:10.2f}")
    print(json.dumps(figures))


def measure(
    data_dir: Path, voice: str | None, prompt_tokens: int, repeats: int
) -> dict[str, float]:
    """Start a server, measure it, stop it. Times in seconds, memory in GB."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        **os.environ,
        "HOUSEWORD_DATA_DIR": str(data_dir),
        "HOUSEWORD_PORT": str(port),
        "HOUSEWORD_LOG_LEVEL": "ERROR",
    }
    began = time.perf_counter()
    server = subprocess.Popen([sys.executable, "-m", "server"], env=environment)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=300) as client:
            _wait(client, server)
            ready = time.perf_counter() - began
            base = client.get("/healthz").json()["generator"]
            long = _long_question(prompt_tokens)
            first = [_first_token(client, base, long) for _ in range(repeats)]
            figures = {
                "ready_seconds": ready,
                "prompt_tokens": float(first[0][1]),
                "first_token_seconds": statistics.median(seconds for seconds, _ in first),
            }
            search = {"vector_store_ids": [_store(client)], "max_tokens": 64}
            checked = [_first_token(client, base, long, **search) for _ in range(repeats)]
            figures["checked_prompt_tokens"] = float(checked[0][1])
            figures["first_checked_sentence_seconds"] = statistics.median(s for s, _ in checked)
            rate = [_decode_rate(client, base) for _ in range(repeats)]
            figures["decode_tokens_per_second"] = statistics.median(rate)
            if voice:
                _first_token(client, voice, "Good morning")  # loads the adapter
                plain = [_first_token(client, base, "Good morning")[0] for _ in range(2)][-1]
                switched = []
                for _ in range(repeats):
                    switched.append(_first_token(client, voice, "Good morning")[0])
                    switched.append(_first_token(client, base, "Good morning")[0])
                figures["first_token_same_voice_seconds"] = plain
                figures["first_token_after_switch_seconds"] = statistics.median(switched)
            figures["resident_gb"] = psutil.Process(server.pid).memory_info().rss / 1e9
            return figures
    finally:
        server.terminate()
        server.wait(30)


def _wait(client: httpx.Client, server: subprocess.Popen[bytes]) -> None:
    while server.poll() is None:
        try:
            if client.get("/healthz").json()["ready"]:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    raise SystemExit("the server did not start")


def _long_question(tokens: int) -> str:
    # WORDS is 17 tokens for the default generator; the exact count is reported.
    return (WORDS * (tokens // 17))[: tokens * 5] + "\nWhat does the bench keep?"


def _store(client: httpx.Client) -> str:
    """A store of one document, by which answers are checked."""
    store: str = client.post("/v1/vector_stores", json={"name": "latency"}).json()["id"]
    file = client.post(
        "/v1/files",
        files={"file": ("bench.txt", f"{WORDS}. It is open from nine to five.".encode())},
        data={"purpose": "assistants"},
    ).json()["id"]
    path = f"/v1/vector_stores/{store}/files"
    client.post(path, json={"file_id": file})
    while client.get(f"{path}/{file}").json()["status"] == "in_progress":
        time.sleep(0.05)
    return store


def _first_token(client: httpx.Client, model: str, question: str, **more: Any) -> tuple[float, int]:
    """Seconds to the first piece of text, and the prompt's tokens.

    With documents the first piece is the first sentence that was checked against them.
    """
    body = {
        "model": model,
        "messages": [{"role": "user", "content": question}],
        "max_tokens": 2,
        "stream": True,
        "stream_options": {"include_usage": True},
        **(more or {"tool_choice": "none"}),
    }
    began = time.perf_counter()
    seconds, tokens = 0.0, 0
    with client.stream("POST", "/v1/chat/completions", json=body) as response:
        response.raise_for_status()
        for line in response.iter_lines():
            if not line.startswith("data: {"):
                continue
            event = json.loads(line[6:])
            if not seconds and event["choices"] and event["choices"][0]["delta"].get("content"):
                seconds = time.perf_counter() - began
            if event.get("usage"):
                tokens = event["usage"]["prompt_tokens"]
    return seconds, tokens


def _decode_rate(client: httpx.Client, model: str) -> float:
    """Tokens per second of a short question's answer, its prompt included."""
    began = time.perf_counter()
    answer = client.post(
        "/v1/chat/completions",
        json={
            "model": model,
            "messages": [{"role": "user", "content": "Tell me a long story about a harbour."}],
            "tool_choice": "none",
            "max_tokens": 64,
        },
    ).json()
    return float(answer["usage"]["completion_tokens"] / (time.perf_counter() - began))


if __name__ == "__main__":
    main()
