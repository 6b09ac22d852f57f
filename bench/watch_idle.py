#!/usr/bin/env python3
"""Measures an idle server that watches many adapter directories: its processor time, and how soon it sees a change.

    bench/watch_idle.py [--directories 5000] [--seconds 60] [--changes 20]

With --watches N the server runs where the system gives it only N inotify watches (a user namespace of its own, so
`unshare -Ur` must be allowed): most changes are then seen by looking at everything every 20 s.
Needs a built lorry ($LORRY_BINARY, or build/release/lorry); serves the demo.
"""

import argparse
import os
import pathlib
import platform
import shutil
import stat
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests/e2e"))
from running_server import RunningServer, binary, processor_seconds  # noqa: E402

SQL = ROOT / "demo/adapters/sql"


def make(directory: pathlib.Path, weights: pathlib.Path):
    """An adapter whose weights are one file with all others': disks are not what is measured."""
    directory.mkdir(parents=True)
    os.link(weights, directory / "adapter_model.safetensors")
    shutil.copy(SQL / "adapter_config.json", directory)


def in_place(directory: pathlib.Path):
    with open(directory / "adapter_config.json", "a", encoding="utf-8") as file:
        file.write("\n")


def by_rename(directory: pathlib.Path):
    shutil.copy(SQL / "adapter_config.json", directory / "new")
    (directory / "new").rename(directory / "adapter_config.json")


def delay(server: RunningServer, begin_line: int, text: str, limit_s: float) -> float:
    begin = time.monotonic()
    while not any(text in line for line in server.log[begin_line:]):
        if time.monotonic() - begin > limit_s:
            raise SystemExit(f"after {limit_s} s the server has not said: {text}")
        time.sleep(0.005)
    return time.monotonic() - begin


def limited_binary(folder: pathlib.Path, watches: int) -> str:
    script = folder / "lorry-limited"
    script.write_text(f"#!/bin/sh\nexec unshare -Ur sh -c 'echo {watches} > /proc/sys/user/max_inotify_watches; "
                      f"exec \"$0\" \"$@\"' {binary()} \"$@\"\n", encoding="ascii")
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return str(script)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--directories", type=int, default=5000)
    parser.add_argument("--seconds", type=float, default=60, help="idle, measured")
    parser.add_argument("--changes", type=int, default=20, help="of each kind")
    parser.add_argument("--watches", type=int, default=0, help="that the system gives; 0: as many as it has")
    arguments = parser.parse_args()
    limit_s = 60 if arguments.watches else 20
    with tempfile.TemporaryDirectory(prefix="lorry-watch-") as folder_name:
        folder = pathlib.Path(folder_name)
        weights = folder / "weights"
        shutil.copy(SQL / "adapter_model.safetensors", weights)
        watched = folder / "watched"
        for i in range(arguments.directories):
            make(watched / f"team-{i % 50}" / f"adapter-{i}", weights)
        if arguments.watches:
            os.environ["LORRY_BINARY"] = limited_binary(folder, arguments.watches)
        begin = time.monotonic()
        with RunningServer(str(ROOT / "demo/base"), "--adapter-dir", str(watched), "--adapter-cache",
                           str(folder / "cache"), "--threads", "1", "--kv-memory", "64MiB") as server:
            version = subprocess.run([binary(), "version"], capture_output=True, text=True, check=True).stdout
            print(version.splitlines()[0], platform.node(), f"{os.cpu_count()} cores", platform.release())
            print(f"{arguments.directories} directories, ready after {time.monotonic() - begin:.2f} s")
            for line in server.log:
                if "changes may be seen" in line:
                    print(line.strip())
            time.sleep(5)
            before = processor_seconds(server.process.pid)
            time.sleep(arguments.seconds)
            used = processor_seconds(server.process.pid) - before
            print(f"idle for {arguments.seconds:.0f} s: {used:.2f} s of processor time, "
                  f"{100 * used / arguments.seconds:.2f} % of a core")
            kinds = {"a file rewritten in place": [], "a file renamed over another": [], "a new directory": [],
                     "a directory removed": []}
            for i in range(arguments.changes):
                old, new = f"team-{i % 50}/adapter-{arguments.directories - 1 - i}", f"team-{i % 50}/new-{i}"
                old = next(str(p.relative_to(watched)) for p in watched.glob(f"*/{old.split('/')[1]}"))
                for kind, name, act, word in [
                        ("a file rewritten in place", old, in_place, "has changed"),
                        ("a file renamed over another", old, by_rename, "has changed"),
                        ("a new directory", new, lambda path: make(path, weights), "found in"),
                        ("a directory removed", new, shutil.rmtree, "gone from")]:
                    line = len(server.log)
                    act(watched / name)
                    text = f"adapter {name}: " + ("" if word == "has changed" else word)
                    kinds[kind].append(delay(server, line, text, limit_s))
            for kind, delays in kinds.items():
                print(f"{kind:30} seen after {statistics.median(delays):6.3f} s, at most {max(delays):6.3f} s, "
                      f"of {len(delays)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
