"""Adapters on their way, disturbed: servers that are killed, names that move under load.

test_adapter_proof.py runs these shortly. At length, with a report for bench/results/:

    LORRY_BINARY=build/release/lorry build/venv/bin/python tests/e2e/adapter_proof.py kill --count 50
    LORRY_BINARY=build/release/lorry build/venv/bin/python tests/e2e/adapter_proof.py reload --count 1000
"""

import argparse
import concurrent.futures
import http.client
import io
import json
import pathlib
import random
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import zipfile

from running_server import ROOT, RunningServer, binary, eventually

sys.path.append(str(ROOT / "tests/sources"))
from servers import Site  # noqa: E402

KEY = {"Authorization": "Bearer admin"}
ADAPTERS = ROOT / "demo/adapters"
QUESTION = "List the names of all users older than 30."


def admin(server, method, path, body=None):
    """(status, JSON)"""
    status, _, text = server.request(method, path, body, KEY)
    return status, json.loads(text)


def ask(server, model: str) -> str:
    """The greedy answer."""
    body = {"model": model, "messages": [{"role": "user", "content": QUESTION}], "temperature": 0, "max_tokens": 24}
    return server.post_json("/v1/chat/completions", body)["choices"][0]["message"]["content"]


def clean_answers(names) -> dict[str, str]:
    """What a server says that nobody disturbs."""
    with RunningServer("--adapter-cache", "none") as server:
        return {name: ask(server, name) for name in names}


def files_of(adapter: str, version: str = "") -> dict[str, bytes]:
    """The demo's adapter, under a content hash of its own for each version."""
    config = json.loads((ADAPTERS / adapter / "adapter_config.json").read_text(encoding="utf-8"))
    return {
        "adapter_config.json": json.dumps(config | {"revision": version}).encode(),
        "adapter_model.safetensors": (ADAPTERS / adapter / "adapter_model.safetensors").read_bytes(),
    }


def zip_of(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return packed.getvalue()


def tar_gz_of(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=1) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def bytes_below(path: pathlib.Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


# ---- kill -9 at random moments


class KilledServers:
    """Each round registers adapters from a slow site, and ends the server somewhere in between."""

    DEMO = ["sql", "french", "roman", "morse"]
    CACHE_BYTES = 24 << 20

    def __init__(self, work: pathlib.Path, seed: int):
        self.work = work
        self.random = random.Random(seed)
        self.site = Site()
        self.site.seconds_per_64k = 0.004
        self.expected = clean_answers(self.DEMO)
        self.demo_of: dict[str, str] = {}  # a registered name: what it is a copy of
        self.num_asked = self.num_restored = 0
        self.most_staged = self.most_cached = 0

    def start(self) -> RunningServer:
        server = RunningServer("--adapter-cache", str(self.work / "cache"), "--adapter-cache-bytes", str(self.CACHE_BYTES),
                               "--admin-key", "admin", "--allow-private-host", self.site.host)
        own = f".{server.process.pid}-"  # what it is writing at the moment
        left = [path for path in (self.work / "cache/images").rglob("*.part") if own not in path.name]
        assert not left, left
        staged = bytes_below(self.work / "cache/staging") if (self.work / "cache/staging").exists() else 0
        assert staged <= self.CACHE_BYTES // 4, "what killed servers left grows without bound"
        self.most_staged = max(self.most_staged, staged)
        self.most_cached = max(self.most_cached, bytes_below(self.work / "cache/images"))
        return server

    def publish(self, number: int) -> dict[str, str]:
        """Sources by name: as a directory, as a zip, as a tar, in turn."""
        sources = {}
        for idx, adapter in enumerate(self.DEMO):
            name = f"{adapter}-{number}"
            files = files_of(adapter, name)
            if (number + idx) % 3 == 0:
                for file, content in files.items():
                    self.site.put(f"/{name}/{file}", content)
                sources[name] = f"{self.site.url}/{name}"
            else:
                kind, pack = [("zip", zip_of), ("tar.gz", tar_gz_of)][(number + idx) % 3 - 1]
                self.site.put(f"/{name}.{kind}", pack({f"inner/{file}": content for file, content in files.items()}))
                sources[name] = f"{self.site.url}/{name}.{kind}"
            self.demo_of[name] = adapter
        return sources

    def check(self, server, most: int):
        """What was registered answers as it should, whatever of it is in the cache."""
        listed = admin(server, "GET", "/v1/adapters?limit=1000")[1]["data"]
        known = [adapter["name"] for adapter in listed if adapter["id"] or not adapter["loading"]]  # others are first read
        names = [name for name in known if name in self.demo_of]
        self.num_restored = max(self.num_restored, len(names))
        for name in self.random.sample(names, min(most, len(names))):
            assert ask(server, name) == self.expected[self.demo_of[name]], name
            self.num_asked += 1

    def round(self, number: int):
        server = self.start()
        sources = self.publish(number)

        def register(name):
            try:
                admin(server, "POST", "/v1/adapters", {"name": name, "source": sources[name]})
            except (OSError, http.client.HTTPException, ValueError):
                pass  # killed

        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            for name in sources:
                pool.submit(register, name)
            if number % 2:
                self.check(server, 1)
            time.sleep(self.random.uniform(0.0, 0.7))
            server.kill()

    def run(self, count: int):
        try:
            for number in range(count):
                self.round(number)
            with self.start() as server:
                self.check(server, 10 + count)
        finally:
            self.site.__exit__()


# ---- reload under load


class Reloads:
    """One name stands for two adapters in turn while streams ask for it."""

    def __init__(self, work: pathlib.Path, num_streams: int = 4):
        self.work = work
        self.num_streams = num_streams
        self.versions = ["sql", "french"]
        self.expected = clean_answers(self.versions)
        assert len(set(self.expected.values())) == 2
        self.answers: list[str] = []
        self.stop = threading.Event()
        self.seconds = 0.0

    def stream(self, server):
        while not self.stop.is_set():
            self.answers.append(ask(server, "moving"))

    def move(self, server, number: int):
        """To content that has not been there before, and that answers as one of the two."""
        source = self.work / f"source-{number % 8}"
        source.mkdir(exist_ok=True)
        for file, content in files_of(self.versions[number % 2], str(number)).items():
            (source / file).write_bytes(content)
        body = {"name": "moving", "source": str(source), "replace": True}
        status, answer = admin(server, "POST", "/v1/adapters", body)
        assert status == 201, answer

    def run(self, count: int):
        with RunningServer("--adapter-cache", str(self.work / "cache"), "--adapter-cache-bytes", "64MiB",
                           "--admin-key", "admin") as server:
            self.move(server, 1)
            with concurrent.futures.ThreadPoolExecutor(self.num_streams) as pool:
                streams = [pool.submit(self.stream, server) for _ in range(self.num_streams)]
                begin = time.monotonic()
                try:
                    for number in range(count):
                        num_answers = len(self.answers)
                        self.move(server, number)
                        assert eventually(lambda: len(self.answers) > num_answers)
                finally:
                    self.seconds = time.monotonic() - begin
                    self.stop.set()
                for stream in streams:
                    stream.result()
            assert ask(server, "moving") == self.expected[self.versions[(count - 1) % 2]]
        mixed = [answer for answer in self.answers if answer not in self.expected.values()]
        assert not mixed, mixed[:3]

    def count_of(self, version: str) -> int:
        return self.answers.count(self.expected[version])


# ---- at length


def machine() -> str:
    for line in pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.split(":")[1].strip()
    return "unknown processor"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["kill", "reload"])
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    version = subprocess.run([binary(), "version"], capture_output=True, text=True, check=True).stdout.splitlines()[0]
    print(f"{version}\n{machine()}\n\n$ python tests/e2e/adapter_proof.py {' '.join(sys.argv[1:])}\n")
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as work:
        if arguments.what == "kill":
            proof = KilledServers(pathlib.Path(work), arguments.seed)
            proof.run(arguments.count)
            print(f"servers killed while they fetched and cached     {arguments.count}")
            print(f"names that the last one still knew               {proof.num_restored}")
            print(f"answers asked for after a kill, all right        {proof.num_asked}")
            print(f"most left of broken downloads at a start, kB     {proof.most_staged // 1000}")
            print(f"most in the cache at a start, kB                 {proof.most_cached // 1000}")
        else:
            proof = Reloads(pathlib.Path(work))
            proof.run(arguments.count)
            print(f"reloads under one name                           {arguments.count} in {proof.seconds:.1f} s")
            for name in proof.versions:
                print(f"answers wholly of {name:30} {proof.count_of(name)}")
            print(f"answers of neither or both                       0 of {len(proof.answers)}")
    print(f"\ntook {time.monotonic() - begin:.0f} s")


if __name__ == "__main__":
    main()
