"""Requests that wait for an adapter on its way: who hangs up leaves the queue, and the load with the last of them."""

import http.client
import json
import pathlib
import re
import time

import pytest

from adapter_proof import admin, files_of, zip_of
from running_server import RunningServer, eventually

from servers import Fault, Site  # adapter_proof has their directory on the path

MAX_WAITING = 6


@pytest.fixture(scope="module")
def site():
    with Site() as running:
        yield running


@pytest.fixture(scope="module")
def server(site, tmp_path_factory):
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        with RunningServer("--admin-key", "admin", "--allow-private-host", site.host, "--max-adapter-waiting",
                           str(MAX_WAITING)) as running:
            yield running


@pytest.fixture
def hanging(server, site, request):
    """The name of an adapter whose source stops in the middle, as often as it is asked."""
    name = request.node.name.replace("[", "-").replace("]", "")
    site.put(f"/{name}.zip", zip_of(files_of("sql", name)))
    site.fail(f"/{name}.zip", *[Fault(hang_after=100) for _ in range(200)])
    status, answer = admin(server, "POST", "/v1/adapters",
                           {"name": name, "source": f"{site.url}/{name}.zip", "load": False})
    assert status == 201, answer
    yield name
    site.faults.pop(f"/{name}.zip", None)
    admin(server, "DELETE", f"/v1/adapters/{name}")


def start(server, model, **fields):
    """A request without waiting for its answer."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    body = {"model": model, "prompt": "x", "max_tokens": 4, **fields}
    connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
    return connection


def num_waiting(server):
    return server.metric("lorry:adapter_waiting_requests")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_who_hangs_up_leaves_the_queue(server, hanging, stream):
    gone_before = server.metric("lorry:http_requests_total", status="499")
    waiting = [start(server, hanging, stream=stream) for _ in range(MAX_WAITING)]
    assert eventually(lambda: num_waiting(server) == MAX_WAITING)
    refused = start(server, hanging)
    assert refused.getresponse().status == 429
    refused.close()
    for connection in waiting:
        connection.close()
    assert eventually(lambda: num_waiting(server) == 0, 1), "they leave at once"
    assert server.metric("lorry:http_requests_total", status="499") == gone_before + MAX_WAITING
    assert eventually(lambda: not admin(server, "GET", f"/v1/adapters/{hanging}")[1]["loading"], 5), "so does the load"
    again = [start(server, hanging, stream=stream) for _ in range(MAX_WAITING)]
    assert eventually(lambda: num_waiting(server) == MAX_WAITING), "the queue has room again"
    for connection in again:
        connection.close()
    assert eventually(lambda: num_waiting(server) == 0, 1)


def test_the_others_of_a_queue_are_answered(server, site, hanging):
    leaves, stays = start(server, hanging), start(server, hanging)
    assert eventually(lambda: num_waiting(server) == 2)
    leaves.close()
    assert eventually(lambda: num_waiting(server) == 1, 1)
    assert admin(server, "GET", f"/v1/adapters/{hanging}")[1]["loading"], "one still waits for it"
    site.faults.pop(f"/{hanging}.zip")
    stays.close()
    assert eventually(lambda: num_waiting(server) == 0, 1)
    assert eventually(lambda: not admin(server, "GET", f"/v1/adapters/{hanging}")[1]["loading"], 5)
    answer = start(server, hanging).getresponse()
    assert answer.status == 200, "after a cancelled load the next one works"


def test_a_sum_leaves_all_its_queues(server, hanging):
    both = start(server, f"sql+0.5*{hanging}+-1*{hanging}")
    assert eventually(lambda: num_waiting(server) >= 1)
    both.close()
    assert eventually(lambda: num_waiting(server) == 0, 1)


def lora_requests(server):
    """The labels of vllm:lora_requests_info."""
    (labels, _), = server.samples("vllm:lora_requests_info")
    return labels


def test_routers_see_who_waits(server, hanging):
    waiting = [start(server, hanging), start(server, f"sql+0.5*{hanging}")]
    assert eventually(lambda: server.metric("vllm:num_requests_waiting") == 2), "while the engine is idle"
    assert eventually(lambda: lora_requests(server)["waiting_lora_adapters"] == hanging)
    running = start(server, "french", max_tokens=1500, ignore_eos=True)
    assert eventually(lambda: lora_requests(server)["running_lora_adapters"] == "french")
    assert lora_requests(server)["waiting_lora_adapters"] == hanging, "and while it is busy"
    for connection in [running, *waiting]:
        connection.close()
    assert eventually(lambda: server.metric("vllm:num_requests_waiting") == 0, 1)
    assert eventually(lambda: lora_requests(server)["waiting_lora_adapters"] == "", 1)


NUM_FLOOD = 80
MB = 1_000_000
BUDGETS = {"host": 4 * MB, "waiting": 3 * MB, "pool": 16 * MB}  # an adapter takes 1.2 MB


def anonymous_bytes(server):
    status = pathlib.Path(f"/proc/{server.process.pid}/status").read_text(encoding="utf-8")
    return 1024 * int(re.search(r"RssAnon:\s+(\d+)", status)[1])


def test_a_flood_over_many_adapters_stays_within_the_budgets(tmp_path):
    for number in range(NUM_FLOOD):
        directory = tmp_path / f"flood{number}"
        directory.mkdir()
        for name, content in files_of("sql", str(number)).items():
            (directory / name).write_bytes(content)
    arguments = ["--adapter-dir", str(tmp_path), "--adapter-cache", "none", "--max-num-seqs", "2", "--adapter-ready-bytes",
                 "0", "--kv-memory", str(BUDGETS["pool"]), "--adapter-host-bytes", str(BUDGETS["host"]),
                 "--adapter-waiting-bytes", str(BUDGETS["waiting"])]
    with RunningServer(*arguments) as server:
        assert eventually(lambda: server.metric("lorry:adapter_names") == NUM_FLOOD + 8)
        before = anonymous_bytes(server)
        waiting = [start(server, f"flood{number % NUM_FLOOD}", max_tokens=160, ignore_eos=True)
                   for number in range(2 * NUM_FLOOD)]
        worst = dict.fromkeys(["host", "waiting", "pool", "requests", "process"], 0.0)
        ended = lambda: server.metric("vllm:request_success_total", finished_reason="length") == len(waiting)
        deadline = time.monotonic() + 100
        while not ended() and time.monotonic() < deadline:
            now = {tier: server.metric("lorry:adapter_tier_bytes", tier=tier) for tier in ("host", "pool")}
            now["waiting"] = server.metric("lorry:adapter_waiting_bytes")
            now["requests"] = num_waiting(server)
            now["process"] = anonymous_bytes(server) - before
            worst = {what: max(now[what], most) for what, most in worst.items()}
        assert [connection.getresponse().status for connection in waiting] == [200] * len(waiting)
        assert worst["requests"] > NUM_FLOOD, "they did wait"
        for what, budget in BUDGETS.items():
            assert 0 < worst[what] <= budget, (what, worst)
        # What the requests, their threads and two adapters being made take beside that is less than the flood's adapters.
        assert worst["process"] < sum(BUDGETS.values()) + 30 * MB, worst
        assert eventually(lambda: server.metric("lorry:adapter_waiting_bytes") == 0)
        for connection in waiting:
            connection.close()
