#!/usr/bin/env python3
"""Compares two binaries of Lorry on one machine, in interleaved pairs: decode steps, prompts, and throughput over HTTP.

    bench/compare_binaries.py OLD NEW [--pairs 20] [--work build/bench]

Each pair measures both, the order drawn anew, and gives one ratio a figure: the new speed over the old one. What counts is the
median ratio and a lower bound that holds with at least 95 % confidence whatever the distribution: of 20 pairs the sixth smallest
(the chance that five or fewer of 20 ratios lie below the true median is 2.1 %).
The load over HTTP comes from the new binary's `lorry bench serve` for both servers. Exits with 1 if a bound is below --least.
"""

import argparse
import json
import math
import pathlib
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading

SERVE_MIXES = ["base", "same", "distinct"]


def lower_bound(ratios: list[float]) -> float:
    """The largest order statistic that lies below the true median with a confidence of 95 % or more."""
    n, below, rank = len(ratios), 0.0, 0
    while rank < n:
        below += math.comb(n, rank) / 2**n
        if below > 0.05:
            break
        rank += 1
    return sorted(ratios)[rank - 1] if rank else float("nan")


def run_json(command: list[str]) -> dict:
    with tempfile.NamedTemporaryFile(suffix=".json") as out:
        subprocess.run([*command, "--json", out.name], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return json.load(out)


def steps_of(binary: str, work: pathlib.Path) -> dict[str, float]:
    """Steps of each kind a second."""
    report = run_json([binary, "bench", "step", f"{work}/base", "--adapter", f"{work}/adapters", "--batch", "8", "--prompt", "512",
                       "--rounds", "5"])
    return {step["step"]: 1e3 / step["median_ms"] for step in report["steps"]}


class Server:
    def __init__(self, binary: str, work: pathlib.Path):
        adapters = [word for path in sorted((work / "adapters").iterdir()) for word in ("--adapter", f"{path.name}={path}")]
        self.process = subprocess.Popen(
            [binary, "serve", f"{work}/base", *adapters, "--port", "0", "--host", "127.0.0.1", "--no-access-log", "--kv-memory",
             "1GiB", "--adapter-cache", "none"], stderr=subprocess.PIPE, text=True)
        self.url, lines = "", []
        for line in self.process.stderr:
            lines.append(line)
            if found := re.search(r"ready on (http://\S+)", line):
                self.url = found[1]
                break
        if not self.url:
            raise SystemExit(f"{binary} did not start:\n{''.join(lines)}")
        threading.Thread(target=self.process.stderr.read, daemon=True).start()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)


def throughput_of(generator: str, server: Server) -> dict[str, float]:
    """Output tokens a second over HTTP, by mix."""
    rates = {}
    for mix in SERVE_MIXES:
        report = run_json([generator, "bench", "serve", "--url", server.url, "--streams", "8", "--requests", "32", "--mix", mix])
        rates[f"HTTP, 8 streams, {mix}"] = report["output_tokens_per_s"]
    return rates


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old")
    parser.add_argument("new")
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--work", type=pathlib.Path, default=pathlib.Path("build/bench"), help="where the random model is kept")
    parser.add_argument("--least", type=float, default=0.97)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()

    work = args.work / "135m"
    if not (work / "base").exists():
        subprocess.run([args.new, "bench", "make-model", "--shape", "135m", "--adapters", "8", "--rank", "16", "--output", str(work)],
                       check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    binaries = {"old": args.old, "new": args.new}
    servers = {name: Server(binary, work) for name, binary in binaries.items()}
    draw = random.Random(args.seed)
    ratios: dict[str, list[float]] = {}
    try:
        for pair in range(args.pairs):
            speeds = {}
            for name in draw.sample(["old", "new"], 2):
                speeds[name] = steps_of(binaries[name], work) | throughput_of(args.new, servers[name])
            for figure, speed in speeds["new"].items():
                ratios.setdefault(figure, []).append(speed / speeds["old"][figure])
            print(f"pair {pair + 1} of {args.pairs}", file=sys.stderr, flush=True)
    finally:
        for server in servers.values():
            server.stop()

    versions = {name: subprocess.run([binary, "version"], capture_output=True, text=True, check=True).stdout.splitlines()[0]
                for name, binary in binaries.items()}
    print(f"{versions['new']} over {versions['old']}, shape 135m, {args.pairs} interleaved pairs, new speed / old speed\n")
    print(f"{'figure':<40}{'median':>8}{'lower 95 % bound':>18}{'lowest':>8}{'highest':>9}")
    failed = False
    for figure, values in ratios.items():
        bound = lower_bound(values)
        failed |= not bound >= args.least
        print(f"{figure:<40}{statistics.median(values):>8.3f}{bound:>18.3f}{min(values):>8.3f}{max(values):>9.3f}")
    print(f"\n{'a bound is below' if failed else 'every bound is at least'} {args.least}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
