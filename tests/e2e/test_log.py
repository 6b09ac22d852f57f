"""The access log, for machines and for people."""

import fcntl
import http.client
import json
import os
import re
import subprocess
import threading

from conftest import client_of
from running_server import READY, RunningServer, binary, eventually


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


def test_a_reader_that_stalls_holds_nobody():
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    process = subprocess.Popen([binary(), "serve", "--port", "0", "--adapter-cache", "none"],
                               stderr=writer, stdout=subprocess.DEVNULL)
    os.close(writer)
    limit = threading.Timer(120, process.kill)  # the log then ends, and with it who waits for a line
    limit.start()
    try:
        with open(reader, encoding="utf-8") as log:
            port = next(match[1] for match in map(READY.search, log) if match)
            connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=60)

            def ask(path):
                connection.request("GET", path)
                answer = connection.getresponse()
                return answer.status, answer.read().decode()

            def fill():  # with more than may wait, while nobody reads
                for _ in range(300):
                    assert ask("/" + "x" * 30_000)[0] == 404

            fill()
            assert re.search(r"^lorry:log_lines_dropped_total [1-9]", ask("/metrics")[1], re.M)
            assert any("lines were not written" in line for line in log)
            fill()
            connection.close()
            process.terminate()
            assert process.wait(60) == 0
    finally:
        limit.cancel()
        process.kill()
        process.wait()


def test_a_command_that_fails_says_why_on_one_line():
    run = subprocess.run([binary(), "serve", "/no\x1b[2J/such\nmodel"], capture_output=True, text=True,
                         timeout=60, check=False)
    assert run.returncode == 1
    assert run.stderr.splitlines()[-1].startswith(r"lorry serve: /no\u001b[2J/such\u000amodel: no such")
    assert "\x1b" not in run.stderr
