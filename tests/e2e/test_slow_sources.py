"""Hosts that hang hold nobody else's fetches."""

import concurrent.futures
import contextlib
import http.client
import sys
import time

from adapter_proof import admin, files_of
from running_server import ROOT, RunningServer, eventually

sys.path.append(str(ROOT / "tests/sources"))
from servers import Site  # noqa: E402

FETCHERS = 4


def note(site: Site, name: str, asked: list, hangs: bool):
    """Writes down when the site is asked for something; one that hangs never answers."""
    serve = site.serve

    def noted(handler, path, fault):
        asked.append((name, time.monotonic()))
        if hangs:
            site.stop.wait(60)
        else:
            serve(handler, path, fault)

    site.serve = noted


def register(server, name: str, source: str):
    with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
        return admin(server, "POST", "/v1/adapters", {"name": name, "source": source})


@contextlib.contextmanager
def beside_hanging_hosts(number: int, asked: list):
    """A server that waits for such hosts; a call that registers an adapter from a good one."""
    with contextlib.ExitStack() as stack:
        good = stack.enter_context(Site())
        for file, content in files_of("sql").items():
            good.put(f"/a/{file}", content)
        note(good, "good", asked, hangs=False)
        hanging = [stack.enter_context(Site()) for _ in range(number)]
        hosts = [word for site in [good, *hanging] for word in ("--allow-private-host", site.host)]
        pool = stack.enter_context(concurrent.futures.ThreadPoolExecutor(64))
        server = RunningServer("--admin-key", "admin", "--adapter-cache", "none", "--adapter-fetchers", str(FETCHERS), *hosts)
        try:
            for site_idx, site in enumerate(hanging):
                note(site, f"hanging-{site_idx}", asked, hangs=True)
                for i in range(3 * FETCHERS):
                    pool.submit(register, server, f"hanging-{site_idx}-{i}", f"{site.url}/{i}")
            assert eventually(lambda: len(asked) >= FETCHERS * 3 // 4)
            yield lambda: register(server, "good", f"{good.url}/a")
        finally:
            server.kill()


def test_one_host_leaves_room_for_others():
    asked = []
    with beside_hanging_hosts(1, asked) as register_good:
        status, answer = register_good()
        assert status == 201, answer
    first_good = next(i for i, (name, _) in enumerate(asked) if name == "good")
    times = [at for _, at in asked[:first_good]]
    # The fetcher that is free is the others'; the host that hangs gets a fourth when its first three have been slow, after 2 s.
    assert len(times) < FETCHERS or times[FETCHERS - 1] - times[0] > 1, times


def test_even_many_hosts_hold_others_for_seconds_only():
    with beside_hanging_hosts(3, []) as register_good:
        begin = time.monotonic()
        status, answer = register_good()
        assert status == 201, answer
        assert time.monotonic() - begin < 10  # 2 s; whoever waited for a host that says nothing waited 15 s at least
