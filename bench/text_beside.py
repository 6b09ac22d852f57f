#!/usr/bin/env python3
"""How long a request of 10 tokens takes from its arrival to the engine's queue, alone and beside each of the largest
loads on text that one client can make: a server of its own with the demo, over HTTP.

    bench/text_beside.py [--count 200] [--load NAME ...]

Needs a built lorry ($LORRY_BINARY, or build/release/lorry) and Python. The times are the server's own, of its access log.
"""

import argparse
import json
import os
import pathlib
import platform
import shutil
import statistics
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests/e2e"))
from running_server import RunningServer, eventually  # noqa: E402

TOKENS = list(range(65, 75))
PAUSE_S = 0.01


def chat(**more) -> dict:
    return {"messages": [{"role": "user", "content": "x"}], "max_tokens": 1, **more}


def largest_accepted(server: RunningServer, path: str, body_of, most: int) -> bytes:
    """The body of the largest count, up to `most`, that the server does not refuse."""
    low, high = 0, most + 1
    while high - low > 1:
        middle = (low + high) // 2
        if server.request("POST", path, body_of(middle))[0] == 200:
            low = middle
        else:
            high = middle
    return json.dumps(body_of(low)).encode()


def largest_tokenize(server: RunningServer):
    text = "the quick brown fox " * (1 << 17)
    body = largest_accepted(server, "/tokenize", lambda n: {"prompt": text[:n], "return_token_strs": True}, len(text))
    return "/tokenize", body, {200}


def million_parts(_server: RunningServer):
    part = '{"type":"text","text":"x"}'
    parts = ",".join([part] * 1_000_000)
    return "/v1/chat/completions", f'{{"messages":[{{"role":"user","content":[{parts}]}}]}}'.encode(), {400}


def largest_kwargs(server: RunningServer):
    body = largest_accepted(server, "/v1/chat/completions", lambda n: chat(chat_template_kwargs={"x": [0] * n}), 1 << 20)
    return "/v1/chat/completions", body, {200}


def logprobs(_server: RunningServer):
    body = {"prompt": [list(range(1, 256)) * 8] * 16, "max_tokens": 1, "echo": True, "logprobs": 20}
    return "/v1/completions", json.dumps(body).encode(), {200}


def slow_tokenizer(_server: RunningServer):
    return "/tokenize", json.dumps({"model": "slow", "prompt": "a" * 20_000}).encode(), {200, 422}


LOADS = {
    "tokenize": ("the largest /tokenize that is accepted", largest_tokenize),
    "parts": ("a million content parts", million_parts),
    "kwargs": ("chat_template_kwargs at their limit", largest_kwargs),
    "logprobs": ("20 logprobs of 32,640 tokens of prompts", logprobs),
    "tokenizer": ("an adapter's tokenizer at its budget", slow_tokenizer),
}


def make_adapter(directory: pathlib.Path, name: str, pattern: str) -> pathlib.Path:
    """The demo's sql with a tokenizer of its own, which splits by a pattern first."""
    adapter = directory / name
    shutil.copytree(ROOT / "demo/adapters/sql", adapter)
    shutil.copy(ROOT / "demo/base/tokenizer_config.json", adapter)
    tokenizer = json.loads((ROOT / "demo/base/tokenizer.json").read_text())
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    tokenizer["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [split, tokenizer["pre_tokenizer"]]}
    (adapter / "tokenizer.json").write_text(json.dumps(tokenizer))
    return adapter


def serve(directory: pathlib.Path) -> RunningServer:
    slow = make_adapter(directory, "slow", r"\p{L}+\p{N}")  # takes the square of the text
    own = make_adapter(directory, "own", r"\p{N}")
    return RunningServer("--adapter-cache", "none", "--log-format", "json", "--adapter", f"slow={slow}",
                         "--adapter", f"own={own}")


class Load:
    """One client that sends the same request again and again."""

    def __init__(self, server: RunningServer, path: str, body: bytes):
        self.statuses: list[int] = []
        self.seconds: list[float] = []
        self._request = lambda: server.request("POST", path, body)[0]
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self):
        while not self._end.is_set():
            begin = time.monotonic()
            self.statuses.append(self._request())
            self.seconds.append(time.monotonic() - begin)

    def end(self):
        self._end.set()
        self._thread.join()


def queued_ms(server: RunningServer, name: str, count: int, until=lambda: True) -> list[float]:
    """From arrival to the engine's queue, of `count` requests, and more until the condition holds."""
    num_sent = 0
    while num_sent < count or not until():
        body = {"prompt": TOKENS, "max_tokens": 1}
        status, _, text = server.request("POST", "/v1/completions", body, {"X-Request-Id": f"{name}-{num_sent}"})
        assert status == 200, text
        num_sent += 1
        time.sleep(PAUSE_S)

    def entries():
        lines = [line for line in server.log if f'"{name}-' in line]
        return [json.loads(line)["queued_ms"] for line in lines]

    assert eventually(lambda: len(entries()) == num_sent), "requests are missing in the access log"
    return entries()


def memory_bytes(server: RunningServer, field: str) -> int:
    for line in open(f"/proc/{server.process.pid}/status"):
        if line.startswith(field + ":"):
            return int(line.split()[1]) << 10
    raise AssertionError(f"no {field}")


def forget_peak(server: RunningServer):
    pathlib.Path(f"/proc/{server.process.pid}/clear_refs").write_text("5")


def beside(server: RunningServer, name: str, count: int):
    """(times in ms, the load, the most memory meanwhile, the load's body in bytes)."""
    path, body, expected = LOADS[name][1](server)
    forget_peak(server)
    load = Load(server, path, body)
    try:
        times = queued_ms(server, name, count, until=lambda: load.statuses)
    finally:
        load.end()
    assert set(load.statuses) <= expected, (name, load.statuses)
    return times, load, memory_bytes(server, "VmHWM"), len(body)


def machine() -> str:
    for line in open("/proc/cpuinfo"):
        if line.startswith("model name"):
            return f"{line.split(':')[1].strip()}, {os.cpu_count()} cores, Linux {platform.release()}"
    return platform.platform()


def quantile(values: list[float], q: float) -> float:
    return sorted(values)[min(len(values) - 1, int(q * len(values)))]


def row(what: str, times: list[float], more: str = ""):
    print(f"{what:<46} {statistics.median(times):8.2f} {quantile(times, 0.99):8.2f} {max(times):8.2f}   {more}".rstrip(),
          flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200, help="requests beside each load, at least")
    parser.add_argument("--load", nargs="*", choices=LOADS, default=list(LOADS))
    options = parser.parse_args()
    print(machine())
    print(f"from arrival to the engine's queue, ms, of a request of {len(TOKENS)} tokens")
    print(f"{'':<46} {'median':>8} {'p99':>8} {'max':>8}   the load's requests")
    with tempfile.TemporaryDirectory() as directory, serve(pathlib.Path(directory)) as server:
        row("alone", queued_ms(server, "alone", options.count))
        idle_bytes = memory_bytes(server, "VmRSS")
        for name in options.load:
            times, load, peak_bytes, body_bytes = beside(server, name, options.count)
            row(f"beside {LOADS[name][0]}", times,
                f"{len(load.statuses)} of {body_bytes / 2**20:.2f} MiB, each {statistics.median(load.seconds):.2f} s, "
                f"answer {load.statuses[0]}; memory at most {(peak_bytes - idle_bytes) / 2**20:.0f} MiB over idle")


if __name__ == "__main__":
    main()
