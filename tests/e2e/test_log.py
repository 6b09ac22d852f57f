"""The access log, for machines and for people."""

import json

from conftest import client_of
from running_server import RunningServer, eventually


def test_for_people():
    with RunningServer("--log-level", "info") as server:
        client = client_of(server).with_options(default_headers={"X-Request-Id": "trace-7"})
        client.completions.create(model="sql", prompt="abc", max_tokens=4,
                                  extra_body={"ignore_eos": True})
        assert eventually(lambda: any("trace-7" in line for line in server.log))
        line = next(line for line in server.log if "trace-7" in line)
        assert "POST /v1/completions 200" in line
        assert "sql: 3 + 4 tokens" in line


def test_machine_readable():
    with RunningServer("--log-format", "json") as server:
        client = client_of(server).with_options(default_headers={"X-Request-Id": "trace-8"})
        client.completions.create(model="sql", prompt="abc", max_tokens=4,
                                  extra_body={"ignore_eos": True})
        server.request("GET", '/no"such\\path')
        assert eventually(lambda: any("no" in line and "404" in line for line in server.log))
        entries = [json.loads(line) for line in server.log]
        entry = next(entry for entry in entries if entry.get("request_id") == "trace-8")
        assert entry["status"] == 200
        assert entry["model"] == "sql"
        assert (entry["prompt_tokens"], entry["completion_tokens"]) == (3, 4)
        assert 0 < entry["ttft_ms"] <= entry["total_ms"]


def test_keys_stay_out_of_the_log():
    with RunningServer("--api-key", "top-secret-key", "--log-level", "debug") as server:
        client_of(server, "top-secret-key").models.list()
    assert not any("top-secret-key" in line for line in server.log)
