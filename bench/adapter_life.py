#!/usr/bin/env python3
"""Measures what it costs that adapters come and go: a server of its own, random adapters of about 10 MB, over HTTP.

    bench/adapter_life.py cold           first token of an adapter in each tier, over the warm one
    bench/adapter_life.py beside         streams while 50 adapters are registered and loaded back to back, and while a source hangs
    bench/adapter_life.py zipf           many more adapters than the disk cache and the pool hold

Needs a built lorry ($LORRY_BINARY, or build/release/lorry), Python, and room in --work for the model and the adapters.
"""

import argparse
import http.client
import json
import multiprocessing
import os
import pathlib
import platform
import re
import selectors
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests/e2e"))
from running_server import RunningServer, binary  # noqa: E402

PROMPT = list(range(100, 116))


class Client:
    """One kept-alive connection."""

    def __init__(self, port: int):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)

    def call(self, method: str, path: str, body: dict | None = None) -> dict:
        self.connection.request(method, path, json.dumps(body) if body is not None else None,
                                {"Content-Type": "application/json"})
        answer = self.connection.getresponse()
        text = answer.read()
        if answer.status >= 400:
            raise RuntimeError(f"{method} {path}: {answer.status} {text.decode()}")
        return json.loads(text)

    def first_token_ms(self, model: str) -> float:
        body = {"model": model, "prompt": PROMPT, "max_tokens": 1, "temperature": 0, "ignore_eos": True}
        begin = time.perf_counter()
        self.call("POST", "/v1/completions", body)
        return (time.perf_counter() - begin) * 1e3


def admin_port(server: RunningServer) -> int:
    found = re.search(r"adapters are managed on \S+ port (\d+)", "".join(server.log))
    assert found, "no management port in the log:\n" + "".join(server.log)
    return int(found[1])


def make_model(work: pathlib.Path, count: int, rank: int = 16) -> list[pathlib.Path]:
    """The base in work/base, adapters in work/adapters; only what is missing is made."""
    have = sorted((work / "adapters").glob("a*")) if (work / "adapters").is_dir() else []
    if len(have) < count:
        print(f"making {count} adapters in {work} ...", file=sys.stderr)
        subprocess.run([binary(), "bench", "make-model", "--shape", "135m", "--adapters", str(count),
                        "--rank", str(rank), "--output", str(work)], check=True, stderr=subprocess.DEVNULL)
        have = sorted((work / "adapters").glob("a*"))
    return have[:count]


def drop_page_cache(root: pathlib.Path):
    """Of the files below root; what is dirty is written first."""
    for path in root.rglob("*"):
        if path.is_file():
            fd = os.open(path, os.O_RDONLY)
            os.fsync(fd)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(fd)


def serve(work: pathlib.Path, cache: pathlib.Path, *more: str) -> RunningServer:
    return RunningServer("--model", str(work / "base"), "--adapter-cache", str(cache), "--admin-port", "0",
                         "--no-access-log", *more)


def machine() -> str:
    for line in open("/proc/cpuinfo"):
        if line.startswith("model name"):
            return f"{line.split(':')[1].strip()}, {os.cpu_count()} cores, Linux {platform.release()}"
    return platform.platform()


def quantile(values: list[float], q: float) -> float:
    return sorted(values)[min(len(values) - 1, int(q * len(values)))]


def row(name: str, values: list[float], target: str):
    print(f"{name:<58} {statistics.median(values):8.1f} {quantile(values, 0.9):8.1f} {max(values):8.1f}   {target}", flush=True)


# ---- first tokens

def cold(options):
    adapters = make_model(options.work, options.count)
    print(f"first token over the warm one, ms; {len(adapters)} adapters of {adapter_bytes(adapters[0]) / 1e6:.1f} MB, idle server")
    print(f"{'':<58} {'median':>8} {'p90':>8} {'max':>8}   target of the median")
    cache = pathlib.Path(tempfile.mkdtemp(prefix="cache", dir=options.work))
    try:
        with serve(options.work, cache) as server:
            client, admin = Client(server.port), Client(admin_port(server))
            client.first_token_ms("")
            for adapter in adapters:
                register(admin, adapter)
            row("a PEFT directory never seen before", over_warm(client, adapters), "<= 60")
            row("the page pool", [client.first_token_ms(a.name) - client.first_token_ms(a.name) for a in adapters], "0")
            wait_until_written(admin, len(adapters))
        for title, target, is_dropped in (("the disk cache, not in the system's page cache", "<= 30", True),
                                          ("the disk cache", "<= 8", False)):
            with serve(options.work, cache) as server:
                client = Client(server.port)
                client.first_token_ms("")
                if is_dropped:
                    drop_page_cache(cache)
                row(title, over_warm(client, adapters), target)
    finally:
        shutil.rmtree(cache)


def over_warm(client: Client, adapters) -> list[float]:
    """Cold less warm, where warm is the median of the three requests after it."""
    times = []
    for adapter in adapters:
        first = client.first_token_ms(adapter.name)
        times.append(first - statistics.median(client.first_token_ms(adapter.name) for _ in range(3)))
    return times


def adapter_bytes(path: pathlib.Path) -> int:
    return (path / "adapter_model.safetensors").stat().st_size


def register(admin: Client, adapter: pathlib.Path, source: str | None = None, load: bool = False):
    return admin.call("POST", "/v1/adapters", {"name": adapter.name, "source": source or str(adapter), "load": load})


def wait_until_written(admin: Client, count: int):
    for _ in range(600):
        if metric(admin, "lorry:adapter_tier_count", 'tier="disk"') >= count:
            return
        time.sleep(0.1)
    raise AssertionError("the disk cache was not written")


def metrics(port: int) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/metrics")
    return connection.getresponse().read().decode()


def metric(client: Client, name: str, labels: str = "") -> float:
    client.connection.request("GET", "/metrics")
    text = client.connection.getresponse().read().decode()
    values = [float(line.rsplit(" ", 1)[1]) for line in text.splitlines()
              if line.startswith(name) and labels in line]
    return sum(values)


# ---- beside streams

def read_streams(port: int, models: list[str], seconds: float, results):
    """A process of its own: one stream a model, each begun again as soon as it ends. Puts [(time of a token, gap before it)]."""
    selector = selectors.DefaultSelector()
    last: dict = {}

    def begin(model: str, rest: int):
        body = json.dumps({"model": model, "prompt": PROMPT, "max_tokens": rest, "temperature": 0,
                           "ignore_eos": True, "stream": True})
        stream = socket.create_connection(("127.0.0.1", port))
        stream.sendall(f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
                       f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
        selector.register(stream, selectors.EVENT_READ, model)

    # Of different lengths, so that they do not begin anew together.
    for i, model in enumerate(models):
        begin(model, 400 + 100 * i)
    gaps, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end:
        for key, _ in selector.select(0.1):
            data, now = key.fileobj.recv(1 << 16), time.perf_counter()
            if b"data: {" in data:
                if key.fileobj in last:
                    gaps.append((now, now - last[key.fileobj]))
                last[key.fileobj] = now
            if not data or b"data: [DONE]" in data:
                selector.unregister(key.fileobj)
                last.pop(key.fileobj, None)
                key.fileobj.close()
                begin(key.data, 1000)
    results.put(gaps)


class Streams:
    """Eight streams for so long; gaps(begin, end) afterwards."""

    def __init__(self, port: int, models: list[str], seconds: float):
        self.queue = multiprocessing.Queue()
        self.process = multiprocessing.Process(target=read_streams, args=(port, models, seconds, self.queue))
        self.process.start()

    def gaps(self, *spans: tuple[float, float]) -> list[list[float]]:
        found = self.queue.get()
        self.process.join()
        return [[gap * 1e3 for at, gap in found if begin <= at <= end] for begin, end in spans]


def beside(options):
    adapters = make_model(options.work, options.count + 8)
    streamed, loaded = adapters[:8], adapters[8:]
    cache = pathlib.Path(tempfile.mkdtemp(prefix="cache", dir=options.work))
    hole = socket.create_server(("127.0.0.1", 0))  # accepts, and never answers
    hole_port = hole.getsockname()[1]
    try:
        with serve(options.work, cache, "--allow-private-host", f"127.0.0.1:{hole_port}",
                   *(f"--adapter={a.name}={a}" for a in streamed)) as server:
            client, admin = Client(server.port), Client(admin_port(server))
            spans, usable = {"quiet": [], "loads": [], "hangs": []}, []
            quiet_s, hang_s = options.seconds, options.hang
            streams = Streams(server.port, [a.name for a in streamed], 3 + 2 * quiet_s + hang_s + options.count * 0.5 + 10)
            time.sleep(3)
            begin = time.perf_counter()
            time.sleep(quiet_s)
            spans["quiet"].append((begin, time.perf_counter()))
            begin = time.perf_counter()
            for adapter in loaded:
                asked = time.perf_counter()
                register(admin, adapter)
                client.first_token_ms(adapter.name)
                usable.append((time.perf_counter() - asked) * 1e3)
            spans["loads"].append((begin, time.perf_counter()))
            wait_until_written(admin, len(adapters))
            time.sleep(1)
            begin = time.perf_counter()
            time.sleep(quiet_s)
            spans["quiet"].append((begin, time.perf_counter()))
            register(admin, adapters[0].with_name("hangs"), f"http://127.0.0.1:{hole_port}/hangs.tar.gz")
            threading.Thread(target=swallow, args=(Client(server.port), "hangs"), daemon=True).start()
            begin = time.perf_counter()
            time.sleep(hang_s)
            spans["hangs"].append((begin, time.perf_counter()))
            quiet, quiet_after, loads, hangs = streams.gaps(*spans["quiet"], *spans["loads"], *spans["hangs"])
    finally:
        hole.close()
        shutil.rmtree(cache)
    print(f"8 streams of 8 adapters; {len(loaded)} others of {adapter_bytes(loaded[0]) / 1e6:.1f} MB registered and used back to back\n")
    print(f"{'inter-token time, ms':<58} {'p50':>8} {'p90':>8} {'p99':>8} {'max':>8}  p99 x quiet   target")
    both = quantile(quiet + quiet_after, 0.99)
    for title, gaps, target in (("quiet", quiet, ""), ("while they are loaded", loads, "<= 1.25"),
                                ("quiet again", quiet_after, ""),
                                (f"while a source hangs for {hang_s:.0f} s", hangs, "<= 1.05")):
        p50, p90, p99 = (quantile(gaps, q) for q in (0.5, 0.9, 0.99))
        print(f"{title:<58} {p50:8.2f} {p90:8.2f} {p99:8.2f} {max(gaps):8.2f}  {p99 / both:11.2f}   {target}")
    print(f"\nfrom registration to the first token, ms: median {statistics.median(usable):.1f}, p90 {quantile(usable, 0.9):.1f}, "
          f"max {max(usable):.1f}   target: each <= 100")


def swallow(client: Client, model: str):
    try:
        client.first_token_ms(model)
    except Exception:  # the server ends before its source has answered
        pass


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("cold", "beside"))
    parser.add_argument("--work", type=pathlib.Path, default=ROOT / "build/bench/life")
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=15, help="of each quiet part of `beside`")
    parser.add_argument("--hang", type=float, default=60, help="seconds that its source hangs")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    options.work = options.work.resolve()
    print(f"{subprocess.run([binary(), 'version'], capture_output=True, text=True).stdout.splitlines()[0]}, {machine()}\n")
    {"cold": cold, "beside": beside}[options.what](options)


if __name__ == "__main__":
    main()
