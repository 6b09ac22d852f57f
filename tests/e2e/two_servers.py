#!/usr/bin/env python3
"""Two servers of one base on one adapter cache: what either has acknowledged outlives any order of saves and kills.

In each round both servers take calls at once: registrations, and between them removals, aliases and pins of their own
names. Each server is killed (SIGKILL) once at a random moment and started again, goes on, and in the end both are
killed. Then a third server on the same cache says what is registered: every acknowledged name with what it stood for,
no removed one; a call that the kill cut off may have happened or not.

    python tests/e2e/two_servers.py --rounds 20 --registrations 200 | tee bench/results/two-servers.txt
"""

import argparse
import http.client
import json
import os
import pathlib
import platform
import random
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from running_server import ROOT, RunningServer  # noqa: E402

SOURCES = [str(ROOT / "demo/adapters" / name) for name in ("sql", "french", "roman", "date")]
ADMIN = {"Authorization": "Bearer admin"}
UNKNOWN = object()  # the kill came between the call and its answer


def serve(cache: str) -> RunningServer:
    return RunningServer(str(ROOT / "demo/base"), "--admin-key", "admin", "--adapter-cache", cache, "--threads", "1",
                         "--kv-memory", "64MiB", "--no-access-log")


def call(server: RunningServer, method: str, path: str, body=None):
    """The answer's status and body; None: there was none."""
    try:
        status, _, text = server.request(method, path, body, ADMIN)
        return status, json.loads(text)
    except (OSError, http.client.HTTPException):
        return None


class Client(threading.Thread):
    """One server's operator: what it was told is in `known`, by name: (source, pinned), None where it is removed."""

    def __init__(self, who: str, cache: str, seed: int, num_registrations: int):
        super().__init__()
        self.who, self.cache, self.num = who, cache, num_registrations
        self.random = random.Random(seed)
        self.kill_at = self.random.uniform(0.05, 0.95) * num_registrations
        self.known, self.maybe, self.wrong = {}, {}, []
        self.num_calls = self.num_acknowledged = 0
        self.server = serve(cache)

    def run(self):
        killer = None
        for i in range(self.num):
            if killer is None and i >= self.kill_at:
                killer = threading.Timer(self.random.uniform(0, 0.02), self.server.kill)
                killer.start()
            if not self.act(f"{self.who}-{i}"):
                killer.join()
                self.server = serve(self.cache)
        if killer is not None:
            killer.join()

    def act(self, name: str) -> bool:
        source = self.random.choice(SOURCES)
        if not self.change(name, (source, False), "POST", "/v1/adapters",
                           {"name": name, "source": source, "load": False}):
            return False
        older = [name for name, state in self.known.items() if state is not None and state is not UNKNOWN]
        what = self.random.random()
        if what < 0.15 and older:
            name = self.random.choice(older)
            return self.change(name, None, "DELETE", f"/v1/adapters/{name}")
        if what < 0.3 and older:
            name = self.random.choice(older)
            return self.change(name, (self.known[name][0], True), "PATCH", f"/v1/adapters/{name}", {"pin": True})
        if what < 0.4 and len(older) > 1:
            name, target = self.random.sample(older, 2)
            source, _ = self.known[target]
            return self.change(name, (source, self.known[name][1]), "PATCH", f"/v1/adapters/{name}",
                               {"alias_of": target})
        return True

    def change(self, name: str, after, method: str, path: str, body=None) -> bool:
        """False: the server is gone."""
        before = self.known.get(name)
        self.num_calls += 1
        answer = call(self.server, method, path, body)
        if answer is None:
            self.maybe[name] = (before, after)
            self.known[name] = UNKNOWN
            return False
        if answer[0] not in (200, 201):
            self.wrong.append(f"{method} {path} {body}: {answer}")
            return True
        self.known[name] = after
        self.num_acknowledged += 1
        return True


def check(cache: str, clients: list[Client]) -> list[str]:
    with serve(cache) as server:
        page = call(server, "GET", "/v1/adapters?limit=1000")[1]
        assert page["next"] is None, "more names than a page has"
        found = {adapter["name"]: (adapter["source"], adapter["pinned"]) for adapter in page["data"]}
    wrong = [problem for client in clients for problem in client.wrong]
    expected = {}
    for client in clients:
        for name, state in client.known.items():
            allowed = client.maybe[name] if state is UNKNOWN else (state,)
            expected[name] = allowed
            if found.get(name) not in allowed:
                wrong.append(f"{name}: {found.get(name)}, and one of {allowed} was acknowledged")
    wrong += [f"{name}: nobody has registered it" for name in found if name not in expected]
    return wrong


def play(rounds: int, registrations: int, seed: int) -> int:
    """How many names were wrong."""
    num_wrong = num_acknowledged = 0
    for i in range(rounds):
        begin = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="lorry-two-servers-") as cache:
            clients = [Client(who, cache, seed * 1000 + 2 * i + j, registrations) for j, who in enumerate("ab")]
            for client in clients:
                client.start()
            for client in clients:
                client.join()
            for client in clients:
                client.server.kill()
            wrong = check(cache, clients)
        acknowledged = sum(client.num_acknowledged for client in clients)
        unknown = sum(len(client.maybe) for client in clients)
        print(f"round {i + 1}: {acknowledged} changes acknowledged, {unknown} cut off, {len(wrong)} wrong, "
              f"{time.monotonic() - begin:.1f} s", flush=True)
        for problem in wrong[:5]:
            print("  " + problem)
        num_wrong += len(wrong)
        num_acknowledged += acknowledged
    print(f"{num_acknowledged} changes acknowledged in {rounds} rounds, {num_wrong} names wrong")
    return num_wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--registrations", type=int, default=200, help="of each server in each round")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    print(f"{platform.node()}, {os.cpu_count()} cores: {arguments.registrations} registrations of each of two servers")
    return 1 if play(arguments.rounds, arguments.registrations, arguments.seed) else 0


if __name__ == "__main__":
    sys.exit(main())
