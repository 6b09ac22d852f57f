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
import random
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


def touch_page_cache(root: pathlib.Path, drop: bool):
    """The files below root are brought into the system's page cache, or dropped from it."""
    for path in root.rglob("*"):
        if path.is_file():
            fd = os.open(path, os.O_RDONLY)
            os.fsync(fd)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            while not drop and os.read(fd, 1 << 20):
                pass
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
                touch_page_cache(cache, is_dropped)
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
    try:  # or it would measure its own waits for a core that the server computes on
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except PermissionError:
        print("the reader may not run at real-time priority: the times hold its own waits for a core", file=sys.stderr)
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
        self.process = multiprocessing.Process(target=read_streams, args=(port, models, seconds, self.queue), daemon=True)
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
        with serve(options.work, cache, "--allow-private-host", f"127.0.0.1:{hole_port}", "--adapter-ready-bytes", options.ready,
                   *(f"--adapter={a.name}={a}" for a in streamed)) as server:
            client, admin = Client(server.port), Client(admin_port(server))
            spans, usable = {"quiet": [], "loads": [], "hangs": []}, []
            quiet_s, hang_s = options.seconds, options.hang
            time.sleep(3)  # its memory is made ready
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
    print(f"8 streams of 8 adapters; {len(loaded)} others of {adapter_bytes(loaded[0]) / 1e6:.1f} MB registered and used back to back; --adapter-ready-bytes {options.ready}\n")
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


# ---- more adapters than there is room for

def zipf(options):
    adapters = make_model(options.work, options.known)
    num_bytes = adapter_bytes(adapters[0])
    cache = pathlib.Path(tempfile.mkdtemp(prefix="cache", dir=options.work))
    log = cache / "steps.csv"
    in_pool, on_disk, streams = 50, 200, 16
    pool_bytes = in_pool * num_bytes + 64 * 2**20  # and the KV cache of the streams
    host_bytes = 256 * 2**20
    try:
        with serve(options.work, cache, "--kv-memory", str(pool_bytes), "--adapter-cache-bytes", str(on_disk * num_bytes),
                   "--adapter-host-bytes", str(host_bytes), "--step-log", str(log)) as server:
            admin = Client(admin_port(server))
            budget = memory_budget(server)
            for adapter in adapters:
                register(admin, adapter)
            base_us = calibrate(server, streams, log)
            rate = read_rate()
            marks = (now_us(), 0)
            answers, errors = zipf_load(server.port, [a.name for a in adapters], streams, options.minutes * 60, options.exponent)
            marks = (marks[0], now_us())
            peak = peak_resident(server.process.pid)
            counters = metrics(server.port)
            stopped = server.stop()
        steps = [s for s in read_steps(log) if marks[0] <= s["end_us"] <= marks[1]]
    finally:
        shutil.rmtree(cache)
    print(f"{len(adapters)} adapters of {num_bytes / 1e6:.1f} MB known, room for {on_disk} on the disk and about {in_pool} in the pool; "
          f"Zipf {options.exponent}, {streams} streams, {options.minutes:g} minutes\n")
    print(f"answers {answers}, errors {errors} (target: none), exit code {stopped}")
    print(f"peak resident memory {peak / 1e6:,.0f} MB of the {budget / 1e6:,.0f} MB printed at start (target: within)")
    for line in counters.splitlines():
        if re.match(r"lorry:adapter_(hits_total|loads_total|evictions_total|tier_count|tier_bytes)", line):
            print("  " + line)
    decode = [s for s in steps if s["prompt_rows"] == 0 and s["decode_rows"] > 0]
    ratios = [s["forward_us"] / (base_us[min(s["decode_rows"], streams)] + s["adapters"] * num_bytes / rate * 1e6) for s in decode]
    within = sum(r <= 1.25 for r in ratios) / len(ratios)
    print(f"\n{len(steps)} steps, {len(decode)} of them without prompts, with {statistics.mean(s['adapters'] for s in decode):.1f} adapters "
          f"and {statistics.mean(s['decode_rows'] for s in decode):.1f} rows; forward {statistics.median(s['forward_us'] for s in decode) / 1e3:.2f} ms")
    print(f"time over what its rows on the base and its adapters' bytes at {rate / 1e9:.1f} GB/s allow: median {statistics.median(ratios):.2f}, "
          f"p90 {quantile(ratios, 0.9):.2f}, p99 {quantile(ratios, 0.99):.2f}; {100 * within:.1f} % within 1.25 (target: each)")


def memory_budget(server: RunningServer) -> int:
    found = re.findall(r"^  (weights|page pool|host|waiting|scratch) +([\d,]+)", "".join(server.log), re.M)
    return sum(int(number.replace(",", "")) for _, number in found)


def peak_resident(pid: int) -> int:
    return int(re.search(r"VmHWM:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text())[1]) * 1024


def read_rate() -> float:
    """Bytes a second, as `lorry bench limits` measures it."""
    with tempfile.NamedTemporaryFile(suffix=".json") as out:
        subprocess.run([binary(), "bench", "limits", "--json", out.name], check=True, capture_output=True)
        return json.load(open(out.name))["read_bytes_per_s"]


def now_us() -> int:
    return time.monotonic_ns() // 1000


def read_steps(log: pathlib.Path) -> list[dict]:
    names, *lines = log.read_text().splitlines()
    names = names.split(",")
    rows = [line.split(",") for line in lines]
    return [dict(zip(names, map(int, row))) for row in rows if len(row) == len(names)]


def calibrate(server: RunningServer, streams: int, log: pathlib.Path) -> dict[int, float]:
    """The median time of a step by rows, on the base alone."""
    medians = {}
    counts = [1, 2, 4, 8, 12, 16]
    spans = []
    for count in counts:
        begin = now_us()
        load = [threading.Thread(target=Client(server.port).call, args=("POST", "/v1/completions", {
            "model": "", "prompt": PROMPT, "max_tokens": 96, "temperature": 0, "ignore_eos": True})) for _ in range(count)]
        for thread in load:
            thread.start()
        for thread in load:
            thread.join()
        spans.append((begin, now_us()))
    for _ in range(2):  # what the log holds back until its buffer is full
        Client(server.port).call("POST", "/v1/completions", {"model": "", "prompt": PROMPT, "max_tokens": 200, "ignore_eos": True})
    steps = read_steps(log)
    for count, (begin, end) in zip(counts, spans):
        times = [s["forward_us"] for s in steps
                 if begin <= s["end_us"] <= end and s["decode_rows"] == count and s["prompt_rows"] == 0]
        medians[count] = statistics.median(times)
    known = sorted(medians)
    for rows in range(1, streams + 1):  # between two counts: on the line
        low, high = max(c for c in known if c <= rows), min(c for c in known if c >= rows)
        part = (rows - low) / (high - low) if high > low else 0
        medians[rows] = medians[low] + part * (medians[high] - medians[low])
    return medians


def zipf_load(port: int, names: list[str], streams: int, seconds: float, exponent: float) -> tuple[int, int]:
    weights = [1 / (i + 1) ** exponent for i in range(len(names))]
    end = time.perf_counter() + seconds
    answers, errors = [0] * streams, [0] * streams

    def stream(idx: int):
        client, draw = Client(port), random.Random(idx)
        while time.perf_counter() < end:
            body = {"model": draw.choices(names, weights)[0], "prompt": [draw.randrange(100, 40000) for _ in range(32)],
                    "max_tokens": draw.randrange(16, 97), "temperature": 0, "ignore_eos": True}
            try:
                client.call("POST", "/v1/completions", body)
                answers[idx] += 1
            except (RuntimeError, OSError, http.client.HTTPException) as error:
                print(error, file=sys.stderr)
                errors[idx] += 1
                client = Client(port)

    threads = [threading.Thread(target=stream, args=(idx,)) for idx in range(streams)]
    for thread in threads:
        thread.start()
    begin = time.perf_counter()
    while any(thread.is_alive() for thread in threads):
        time.sleep(1)
        print(f"\r{time.perf_counter() - begin:.0f} s of {seconds:.0f}, {sum(answers)} answers, {sum(errors)} errors", end="", file=sys.stderr)
    print(file=sys.stderr)
    return sum(answers), sum(errors)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("cold", "beside", "zipf"))
    parser.add_argument("--work", type=pathlib.Path, default=ROOT / "build/bench/life")
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=15, help="of each quiet part of `beside`")
    parser.add_argument("--hang", type=float, default=60, help="seconds that its source hangs")
    parser.add_argument("--ready", default="64MiB", help="--adapter-ready-bytes of `beside`'s server")
    parser.add_argument("--known", type=int, default=2000, help="adapters of `zipf`, about 10 MB of disk each")
    parser.add_argument("--minutes", type=float, default=10, help="of `zipf`")
    parser.add_argument("--exponent", type=float, default=1.0, help="of `zipf`: popularity 1 / rank^EXPONENT")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    options.work = options.work.resolve()
    print(f"{subprocess.run([binary(), 'version'], capture_output=True, text=True).stdout.splitlines()[0]}, {machine()}\n")
    {"cold": cold, "beside": beside, "zipf": zipf}[options.what](options)


if __name__ == "__main__":
    main()
