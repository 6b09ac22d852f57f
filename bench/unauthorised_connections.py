#!/usr/bin/env python3
"""Measures what connections without a key cost a server that asks for one: its memory, and the time of those who have the key.

    bench/unauthorised_connections.py            4,096 connections of each kind, and of all kinds at once

Needs a built lorry ($LORRY_BINARY, or build/release/lorry) and 4,200 file descriptors. Ends with 1 when the limit is passed.
"""

import argparse
import http.client
import json
import os
import pathlib
import platform
import re
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests/e2e"))
from running_server import RunningServer, binary  # noqa: E402
from unauthorised_flood import KINDS, Flood, allow_descriptors, resident_bytes  # noqa: E402

LIMIT_MIB = 64


class KeyHolder(threading.Thread):
    """Asks over and over, on a new connection each time, at both listeners."""

    def __init__(self, server: RunningServer, admin_port: int):
        super().__init__(daemon=True)
        self.server, self.admin_port = server, admin_port
        self.seconds: list[float] = []
        self.failures: list[str] = []
        self.is_done = False

    def run(self):
        while not self.is_done:
            self._ask(self.server.port, "POST", "/tokenize", "key", {"prompt": "abc"})
            self._ask(self.admin_port, "GET", "/v1/adapters", "admin", None)
            time.sleep(0.05)

    def _ask(self, port, method, path, key, body):
        begin = time.perf_counter()
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            connection.request(method, path, json.dumps(body) if body else None, {"Authorization": f"Bearer {key}"})
            status = connection.getresponse().status
            if status != 200:
                self.failures.append(f"{path}: {status}")
        except OSError as error:
            self.failures.append(f"{path}: {error!r}")
        finally:
            connection.close()
        self.seconds.append(time.perf_counter() - begin)


def processor() -> str:
    text = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8")
    found = re.search(r"model name\s*: (.*)", text)
    return found[1] if found else platform.machine()


def measure(name: str, contents: list[bytes], number: int, seconds: float) -> bool:
    with RunningServer("--api-key", "key", "--admin-key", "admin", "--admin-port", "0", "--adapter-cache", "none",
                       "--no-access-log", "--max-connections", str(number), "--adapter-ready-bytes", "0") as server:
        found = re.search(r"adapters are managed on \S+ port (\d+)", "".join(server.log))
        time.sleep(0.5)
        idle = resident_bytes(server.process.pid)
        highest = idle

        def look():
            nonlocal highest
            highest = max(highest, resident_bytes(server.process.pid))

        holder = KeyHolder(server, int(found[1]))
        holder.start()
        floods = [Flood(server.port, number, contents), Flood(int(found[1]), 256, contents)]
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for flood in floods:
                flood.run(0.1, look)
        holder.is_done = True
        holder.join()
        num_open = len(floods[0].open)
        for flood in floods:
            flood.close()
    over = (highest - idle) / (1 << 20)
    asked = sorted(holder.seconds)
    print(f"{name:<46} {over:>7.1f} {num_open:>7} {floods[0].num_opened:>8} {len(asked):>7} {len(holder.failures):>6}"
          f" {asked[len(asked) // 2] * 1e3:>8.1f} {asked[-1] * 1e3:>8.1f}", flush=True)
    for failure in holder.failures[:3]:
        print("   ", failure)
    return over <= LIMIT_MIB and not holder.failures


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--connections", type=int, default=4096)
    parser.add_argument("--seconds", type=float, default=15, help="of each kind")
    options = parser.parse_args()
    allow_descriptors(2 * options.connections + 1024)
    version = subprocess.run([binary(), "version"], capture_output=True, text=True, check=True).stdout.splitlines()[0]
    print(f"{version}\n{platform.node()}: {processor()}, {os.cpu_count()} cores, Linux {platform.release()}\n")
    print(f"{options.connections} connections without a key, {options.seconds:g} s each; 256 more at the admin listener\n")
    print(f"{'what each sends':<46} {'MiB over':>7}{'open':>8} {'opened':>8} {'asked':>7} {'failed':>6} {'median':>8} {'max':>8}")
    print(f"{'':<46} {'idle':>7} {'at end':>7} {'':>8} {'with the keys':>14} {'ms':>8} {'ms':>8}")
    kinds = {name: [make()] for name, make in KINDS.items()}
    kinds["all of these at once"] = [content for contents in kinds.values() for content in contents]
    good = [measure(name, contents, options.connections, options.seconds) for name, contents in kinds.items()]
    print(f"\nlimit: {LIMIT_MIB} MiB over idle, and nobody who has a key is refused: {'kept' if all(good) else 'PASSED'}")
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
