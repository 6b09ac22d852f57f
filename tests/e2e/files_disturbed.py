"""A server whose files are shortened, rewritten, replaced, made sparse, removed and swapped under load.

Streams ask the base and adapters that nobody touches, and every answer must be exactly right. Others ask names whose
directories, cache files and base are disturbed at random moments: they get what the old or the new content says, or
an error that the docs name. test_files_disturbed.py runs this shortly; at length, for bench/results/:

    LORRY_BINARY=build/release/lorry build/venv/bin/python tests/e2e/files_disturbed.py --minutes 10
"""

import argparse
import collections
import contextlib
import http.client
import json
import os
import pathlib
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import threading
import time

from adapter_proof import ADAPTERS, KEY, QUESTION, admin, machine
from running_server import ROOT, RunningServer, binary, eventually

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
# docs/adapters_api.md: what a name whose files are broken may answer. 500 is not among it.
ERRORS = {400, 401, 403, 404, 409, 413, 422, 424, 429, 503, 504}
STILL = ["sql", "french"]
CONTENTS = ["sql", "french", "morse"]


def read_safetensors(path: pathlib.Path):
    """(header, data)"""
    whole = path.read_bytes()
    length = struct.unpack("<Q", whole[:8])[0]
    return json.loads(whole[8:8 + length]), whole[8 + length:]


def dora_files(adapter: str) -> dict[str, bytes]:
    """The adapter as a DoRA one with magnitudes of one half: what it becomes depends on the base's weights."""
    header, data = read_safetensors(ADAPTERS / adapter / WEIGHTS)
    added = {}
    for name, entry in header.items():
        if name.endswith(".lora_B.weight"):
            rows = entry["shape"][0]
            added[name.replace(".lora_B.weight", ".lora_magnitude_vector")] = {
                "dtype": "F32", "shape": [rows], "data_offsets": [len(data), len(data) + 4 * rows]}
            data += struct.pack("<f", 0.5) * rows
    text = json.dumps(header | added).encode()
    config = json.loads((ADAPTERS / adapter / CONFIG).read_text(encoding="utf-8")) | {"use_dora": True}
    return {CONFIG: json.dumps(config).encode(), WEIGHTS: struct.pack("<Q", len(text)) + text + data}


def plain_files(adapter: str) -> dict[str, bytes]:
    return {name: (ADAPTERS / adapter / name).read_bytes() for name in (CONFIG, WEIGHTS)}


def write_once(path: pathlib.Path, content: bytes):
    """In place, by one call, so that whoever looks at the times of the file notices."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NONBLOCK, 0o644)
    try:
        os.pwrite(descriptor, content, 0)
        os.ftruncate(descriptor, len(content))
    finally:
        os.close(descriptor)


def clear(path: pathlib.Path):
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


class Disturber:
    """What can happen to a file. Each leaves the file broken or with other bytes."""

    def __init__(self, seed: int):
        self.random = random.Random(seed)
        self.counts = collections.Counter()

    def disturb(self, path: pathlib.Path):
        action = self.random.choice([self.shorten, self.empty, self.lengthen, self.flip, self.zero, self.punch,
                                     self.replace, self.sparse, self.remove, self.pipe, self.directory, self.loop,
                                     self.pointer, self.page])
        with contextlib.suppress(OSError):  # it may be gone already
            if path.is_symlink() or not path.is_file():  # whoever opens a pipe waits
                clear(path)
                return
            action(path)
            self.counts[action.__name__] += 1

    def shorten(self, path):
        os.truncate(path, self.random.randrange(max(1, path.stat().st_size)))

    def empty(self, path):
        os.truncate(path, 0)

    def lengthen(self, path):
        os.truncate(path, path.stat().st_size + self.random.choice([1, 4096, 1 << 34]))

    def flip(self, path):  # of the header or of what is parsed: values would be another content
        with open(path, "r+b") as file:
            begin = file.read(8)
            file.seek(0)
            file.write(bytes(byte ^ 0x55 for byte in begin))

    def zero(self, path):
        with open(path, "r+b") as file:
            file.write(bytes(4096))

    def punch(self, path):
        size = path.stat().st_size
        os.truncate(path, 0)
        os.truncate(path, size)

    def replace(self, path):
        fresh = path.with_name(path.name + ".new")
        fresh.write_bytes(self.random.randbytes(self.random.randrange(1, 100_000)))
        os.replace(fresh, path)

    def sparse(self, path):  # a header that promises 64 GiB of holes
        header = b'{"x":{"dtype":"U8","shape":[68719476736],"data_offsets":[0,68719476736]}}'
        fresh = path.with_name(path.name + ".new")
        fresh.write_bytes(struct.pack("<Q", len(header)) + header)
        os.truncate(fresh, 8 + len(header) + (1 << 36))
        os.replace(fresh, path)

    def remove(self, path):
        clear(path)

    def pipe(self, path):
        clear(path)
        os.mkfifo(path)

    def directory(self, path):
        clear(path)
        path.mkdir()

    def loop(self, path):
        clear(path)
        path.symlink_to(path.name)

    def pointer(self, path):
        write_once(path, b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 99\n")

    def page(self, path):
        write_once(path, b"<!DOCTYPE html><html><body>Sign in</body></html>")


class DisturbedFiles:
    NUM_NAMES = 4  # registered, watched, and DoRA ones, of each kind

    def __init__(self, work: pathlib.Path, seed: int):
        self.work = work
        self.random = random.Random(seed)
        self.disturber = Disturber(seed + 1)
        self.base_dir, self.watched_dir, self.registered_dir = work / "base", work / "watched", work / "registered"
        self.cache_dir = work / "cache"
        shutil.copytree(ROOT / "demo/base", self.base_dir)
        shutil.copytree(ROOT / "demo/adapters/sql", work / "still/sql")
        shutil.copytree(ROOT / "demo/adapters/french", work / "still/french")
        self.contents = {name: plain_files(name) for name in CONTENTS} | {"dora": dora_files("sql")}
        self.names: dict[str, pathlib.Path] = {}  # disturbed names, and their directories
        self.content_of: dict[str, list[str]] = {}  # what each may hold
        for i in range(self.NUM_NAMES):
            self.add(f"watched-{i}", self.watched_dir / f"watched-{i}", CONTENTS)
            self.add(f"registered-{i}", self.registered_dir / f"registered-{i}", CONTENTS)
            self.add(f"dora-{i}", self.registered_dir / f"dora-{i}", ["dora"])
        self.stop = threading.Event()
        self.failures: list[str] = []
        self.counts = collections.Counter()
        self.errors = collections.Counter()

    def add(self, name: str, directory: pathlib.Path, contents: list[str]):
        self.names[name] = directory
        self.content_of[name] = contents
        directory.mkdir(parents=True)
        for file, content in self.contents[contents[0]].items():
            (directory / file).write_bytes(content)

    def restore(self, name: str):
        """One of its contents, whole, in place or by rename."""
        directory = self.names[name]
        if not directory.is_dir() or directory.is_symlink():
            clear(directory)
            directory.mkdir()
        in_place = self.random.random() < 0.5
        for file, content in self.contents[self.random.choice(self.content_of[name])].items():
            path = directory / file
            with contextlib.suppress(OSError):
                if not path.is_file() or path.is_symlink():
                    clear(path)
                if in_place:
                    write_once(path, content)
                else:
                    fresh = path.with_name(path.name + ".new")
                    fresh.write_bytes(content)
                    os.replace(fresh, path)

    def ask(self, server, model: str):
        body = {"model": model, "messages": [{"role": "user", "content": QUESTION}], "temperature": 0, "max_tokens": 24}
        status, _, text = server.request("POST", "/v1/chat/completions", body)
        answer = json.loads(text)
        return status, answer["choices"][0]["message"]["content"] if status == 200 else answer["error"]

    def expect_of_clean_server(self) -> dict[str, str]:
        clean = self.work / "clean"
        for name, files in self.contents.items():
            (clean / name).mkdir(parents=True)
            for file, content in files.items():
                (clean / name / file).write_bytes(content)
        arguments = [word for name in self.contents for word in ("--adapter", f"{name}={clean / name}")]
        with RunningServer("--adapter-cache", "none", *arguments) as server:
            names = [*self.contents, server.get_json("/v1/models")["data"][0]["id"]]
            answers = {name: self.ask(server, name) for name in names}
        assert all(status == 200 for status, _ in answers.values()), answers
        self.base_name = names[-1]
        return {name: text for name, (_, text) in answers.items()}

    # ---- what runs beside each other

    def fail(self, text: str):
        self.failures.append(text)
        self.stop.set()

    def guarded(self, work, server):
        try:
            while not self.stop.is_set():
                work(server)
        except Exception as error:  # whatever it is: no connection, no JSON
            if not self.stop.is_set():
                self.fail(f"{work.__name__}: {error!r}")

    def ask_still(self, server):
        for model, expected in ((self.base_name, self.base_name), *((f"still-{name}", name) for name in STILL)):
            status, answer = self.ask(server, model)
            self.counts["undisturbed"] += 1
            if status != 200 or answer != self.expected[expected]:
                self.fail(f"{model}: {status} {answer}")

    def ask_disturbed(self, server):
        name = random.choice(list(self.names))
        status, answer = self.ask(server, name)
        if status == 200:
            self.counts["disturbed, right"] += 1
            if answer not in [self.expected[content] for content in self.content_of[name]]:
                self.fail(f"{name}: {answer!r} is none of its contents'")
        elif status in ERRORS and answer["message"]:
            self.errors[f"{status} {answer['code']}"] += 1
        else:
            self.fail(f"{name}: {status} {answer}")
        time.sleep(0.002)

    def reload(self, server):
        name = random.choice([name for name in self.names if not name.startswith("watched")])
        source = str(self.names[name])
        if random.random() < 0.5:
            status, answer = admin(server, "PATCH", f"/v1/adapters/{name}", {"reload": True})
        else:
            status, answer = admin(server, "POST", "/v1/adapters", {"name": name, "source": source, "replace": True})
        # What is known of names could not be written down, and the server says so.
        is_unsaved = status == 500 and answer["error"]["message"].startswith("This server has done it")
        if status not in (200, 201) and status not in ERRORS and not is_unsaved:
            self.fail(f"reload of {name}: {status} {answer}")
        self.counts["reloads"] += 1
        time.sleep(0.02)

    def disturb(self, _server):
        kind = self.random.choice(["adapter", "adapter", "adapter", "directory", "cache", "base", "restore", "restore", "restore"])
        name = self.random.choice(list(self.names))
        directory = self.names[name]
        if kind == "adapter":
            self.disturber.disturb(directory / self.random.choice([CONFIG, WEIGHTS, WEIGHTS]))
        elif kind == "directory":
            action = self.random.choice([self.disturber.remove, self.disturber.pipe, self.disturber.loop])
            with contextlib.suppress(OSError):
                action(directory)
        elif kind == "cache":
            files = [path for path in self.cache_dir.rglob("*") if path.name.endswith((".image", ".json"))]
            if files:
                self.disturber.disturb(self.random.choice(files))
        elif kind == "base":
            name = self.random.choice(sorted(path.name for path in (ROOT / "demo/base").iterdir()))
            if (self.base_dir / name).is_file():
                self.disturber.disturb(self.base_dir / name)
            else:
                clear(self.base_dir / name)
                shutil.copy(ROOT / "demo/base" / name, self.base_dir / name)
        else:
            self.restore(name)
        self.counts["disturbances"] += 1
        time.sleep(self.random.uniform(0.0, 0.03))

    # ---- the whole

    def run(self, seconds: float):
        self.expected = self.expect_of_clean_server()
        still = [word for name in STILL for word in ("--adapter", f"still-{name}={self.work / 'still' / name}")]
        with RunningServer(str(self.base_dir), "--adapter-dir", str(self.watched_dir), "--adapter-cache",
                           str(self.cache_dir), "--adapter-host-bytes", "1MiB", "--admin-key", "admin",
                           "--adapter-timeout", "5s", "--served-model-name", self.base_name, "--no-access-log",
                           *still) as server:
            for name in self.names:
                if not name.startswith("watched"):
                    status, answer = admin(server, "POST", "/v1/adapters", {"name": name, "source": str(self.names[name])})
                    assert status == 201, answer
            threads = [threading.Thread(target=self.guarded, args=(work, server))
                       for work in (self.ask_still, self.ask_still, self.ask_disturbed, self.ask_disturbed,
                                    self.ask_disturbed, self.reload, self.disturb)]
            for thread in threads:
                thread.start()
            self.stop.wait(seconds)
            self.stop.set()
            for thread in threads:
                thread.join()
            if server.process.poll() is not None:
                self.failures.append(f"the server ended with {server.process.returncode}: " + "".join(server.log[-20:]))
            assert not self.failures, self.failures[:5]
            self.check_recovery(server)

    def check_recovery(self, server):
        """What is whole again answers again; of the DoRA ones only a server of the restored base could."""
        names = [name for name in self.names if not name.startswith("dora")]
        for path in self.cache_dir.glob("*.json"):  # what names are written down in
            clear(path)
        for name in names:
            self.restore(name)
            if not name.startswith("watched"):
                body = {"name": name, "source": str(self.names[name]), "replace": True}
                status, answer = admin(server, "POST", "/v1/adapters", body)
                assert status == 201, answer
        for name in names:
            right = [self.expected[content] for content in self.content_of[name]]
            assert eventually(lambda: self.ask(server, name)[1] in right, 60), (name, self.ask(server, name))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    version = subprocess.run([binary(), "version"], capture_output=True, text=True, check=True).stdout.splitlines()[0]
    print(f"{version}\n{machine()}\n\n$ python tests/e2e/files_disturbed.py {' '.join(sys.argv[1:])}\n")
    with tempfile.TemporaryDirectory() as work:
        proof = DisturbedFiles(pathlib.Path(work), arguments.seed)
        proof.run(60 * arguments.minutes)
    print(f"disturbances                                     {proof.counts['disturbances']}")
    for action, count in sorted(proof.disturber.counts.items()):
        print(f"  {action:47}{count}")
    print(f"reloads and replacements meanwhile               {proof.counts['reloads']}")
    print(f"answers of the base and of undisturbed adapters, all right    {proof.counts['undisturbed']}")
    print(f"answers of disturbed adapters, all old or new    {proof.counts['disturbed, right']}")
    print(f"errors of disturbed adapters                     {sum(proof.errors.values())}")
    for error, count in sorted(proof.errors.items()):
        print(f"  {error:47}{count}")


if __name__ == "__main__":
    main()
