"""Hosts that hang hold nobody else's fetches."""

import concurrent.futures
import contextlib
import http.client
import sys
import time

from adapter_proof import admin, files_of
from running_server import ROOT, RunningServer

sys.path.append(str(ROOT / "tests/sources"))
from servers import Site  # noqa: E402

FETCHERS = 4


def hang(site: Site):
    site.serve = lambda handler, path, fault: site.stop.wait(60)


def register(server, name: str, source: str):
    with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
        return admin(server, "POST", "/v1/adapters", {"name": name, "source": source})


def seconds_of_a_good_one(num_hanging_hosts: int) -> float:
    with contextlib.ExitStack() as stack:
        good = stack.enter_context(Site())
        for file, content in files_of("sql").items():
            good.put(f"/a/{file}", content)
        hanging = [stack.enter_context(Site()) for _ in range(num_hanging_hosts)]
        hosts = [word for site in [good, *hanging] for word in ("--allow-private-host", site.host)]
        pool = stack.enter_context(concurrent.futures.ThreadPoolExecutor(64))
        server = RunningServer("--admin-key", "admin", "--adapter-cache", "none", "--adapter-fetchers", str(FETCHERS), *hosts)
        try:
            for number, site in enumerate(hanging):
                hang(site)
                for i in range(3 * FETCHERS):
                    pool.submit(register, server, f"hanging-{number}-{i}", f"{site.url}/{i}")
            time.sleep(0.5)
            begin = time.monotonic()
            status, answer = register(server, "good", f"{good.url}/a")
            assert status == 201, answer
            return time.monotonic() - begin
        finally:
            server.kill()


def test_one_host_leaves_room_for_others():
    assert seconds_of_a_good_one(1) < 1


def test_even_many_hosts_hold_others_for_seconds_only():
    assert seconds_of_a_good_one(3) < 5
