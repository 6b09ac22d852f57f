"""Clients without a key: what they may take, and what they are told."""

import json
import re
import socket
import time

import pytest

from adapter_proof import admin
from commands import Commands
from running_server import ROOT, RunningServer, binary, processor_seconds
from unauthorised_flood import BODY, KINDS, UNFINISHED_HEADER, Flood, allow_descriptors, resident_bytes

KEY = {"Authorization": "Bearer key"}


@pytest.fixture(scope="module")
def guarded():
    with RunningServer("--api-key", "key", "--admin-key", "admin", "--admin-port", "0", "--adapter-cache", "none",
                       "--log-level", "info", "--served-model-name", "n" * 250,  # large pages of metrics
                       "--adapter-ready-bytes", "0") as running:  # memory that comes after the start would be taken for theirs
        yield running


def admin_port(server) -> int:
    return int(re.search(r"adapters are managed on \S+ port (\d+)", "".join(server.log))[1])


def exchange(port, sent, close_half=False, limit=1 << 20) -> bytes:
    """What comes back until the server closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(sent)
        if close_half:
            connection.shutdown(socket.SHUT_WR)
        answer = b""
        while len(answer) < limit and (piece := connection.recv(65536)):
            answer += piece
        return answer


def test_the_header_decides(guarded):
    for sent, status in [(BODY, b"401"), (BODY.replace(b"/v1/completions", b"/v1/complete"), b"404"),
                         (BODY.replace(b"POST", b"PUT"), b"405"),
                         (BODY.replace(b"Host: x", b"Host: x\r\nExpect: 100-continue"), b"401"),
                         (BODY.replace(b"Host: x", b"Host: x\r\nAuthorization: Bearer key\r\nContent-Encoding: gzip"),
                          b"415"),
                         (BODY.replace(b"33554432", b"99999999999").replace(b"Host: x", b"Host: x\r\n"
                                                                            b"Authorization: Bearer key"), b"413")]:
        begin = time.monotonic()
        answer = exchange(guarded.port, sent)
        assert answer.split()[1] == status, answer
        assert b"Connection: close" in answer
        assert time.monotonic() - begin < 5


def test_a_gzip_body_is_a_415(guarded):
    for encoding in ("gzip", "br", "identity, gzip"):
        status, headers, text = guarded.request("POST", "/v1/completions", b"\x1f\x8b\x08",
                                                KEY | {"Content-Encoding": encoding})
        assert status == 415 and headers["accept-encoding"] == "identity"
        assert "send it uncompressed" in json.loads(text)["error"]["message"]
    body = {"prompt": "x", "max_tokens": 1}
    assert guarded.request("POST", "/v1/completions", body, KEY | {"Content-Encoding": "identity"})[0] == 200


def test_small_flood_of_all_kinds(guarded):
    """So many connections that any one kind would pass the bound by itself if what it holds were not limited."""
    number = 1536
    allow_descriptors(number + 400)
    for _ in range(20):
        assert guarded.request("POST", "/tokenize", {"prompt": "abc"}, KEY)[0] == 200
    idle = resident_bytes(guarded.process.pid)
    highest: dict[str, int] = {}
    slowest = 0.0
    contents = {name: [make()] for name, make in KINDS.items()}
    contents["all of these at once"] = [content for [content] in contents.values()]
    for name, sent in contents.items():

        def look():
            highest[name] = max(highest.get(name, 0), resident_bytes(guarded.process.pid) - idle)

        floods = [Flood(guarded.port, number, sent), Flood(admin_port(guarded), 128, sent)]
        floods[1].run(0.1, look)
        floods[0].run(0.6, look)
        begin = time.monotonic()
        assert guarded.request("POST", "/tokenize", {"prompt": "abc"}, KEY)[0] == 200
        listed = exchange(admin_port(guarded), b"GET /v1/adapters HTTP/1.1\r\nHost: x\r\nX-Api-Key: admin\r\n"
                                               b"Connection: close\r\n\r\n")
        assert listed.startswith(b"HTTP/1.1 200 "), listed[:200]
        slowest = max(slowest, time.monotonic() - begin)
        for flood in floods:
            flood.close()
    assert max(highest.values()) <= 64 << 20, {name: over >> 20 for name, over in highest.items()}  # as 4,096 may
    assert slowest < 10, slowest


def test_with_few_descriptors_what_is_acknowledged_holds(tmp_path, monkeypatch):
    script = tmp_path / "lorry-limited"
    script.write_text(f'#!/bin/sh\nulimit -n 700\nexec {binary()} "$@"\n', encoding="ascii")
    script.chmod(0o755)
    monkeypatch.setenv("LORRY_BINARY", str(script))
    allow_descriptors(1200)
    with RunningServer("--api-key", "key", "--admin-key", "admin", "--admin-port", "0", "--adapter-cache",
                       str(tmp_path / "cache")) as server:
        assert any("the system allows 700 file descriptors" in line for line in server.log)
        floods = [Flood(server.port, 500, [b"", UNFINISHED_HEADER]), Flood(admin_port(server), 300, [b""])]
        for i in range(6):
            for flood in floods:
                flood.run(0.2)
            status, answer = admin(server, "POST", "/v1/adapters",
                                   {"name": f"a{i}", "source": str(ROOT / "demo/adapters/sql")})
            assert status == 201, answer
            body = {"model": f"a{i}", "prompt": "abc", "max_tokens": 1}
            assert server.request("POST", "/v1/completions", body, KEY)[0] == 200
        assert not any("cannot accept" in line for line in server.log)
        begin = processor_seconds(server.process.pid)
        time.sleep(1)
        assert processor_seconds(server.process.pid) - begin < 0.5, "it spins"
        for flood in floods:
            flood.close()
    with RunningServer("--admin-key", "admin", "--adapter-cache", str(tmp_path / "cache")) as server:
        _, answer = admin(server, "GET", "/v1/adapters")
        assert {f"a{i}" for i in range(6)} <= {adapter["name"] for adapter in answer["data"]}


def test_a_closed_half_is_not_a_hang_up(guarded):
    for stream in (False, True):
        body = json.dumps({"model": "sql", "prompt": "abc", "max_tokens": 40, "ignore_eos": True,
                           "stream": stream}).encode()
        sent = (b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer key\r\nContent-Length: "
                + str(len(body)).encode() + b"\r\n\r\n" + body)
        answer = exchange(guarded.port, sent, close_half=True)
        assert b"200 OK" in answer
        assert (b"data: [DONE]" if stream else b'"completion_tokens":40') in answer, answer


@pytest.mark.parametrize("flags, message", [
    (["--api-key", ""], "--api-key: an empty entry"),
    (["--api-key", "real", "--api-key", " "], "--api-key: an empty entry"),
    (["--admin-port", "0", "--admin-key", ""], "--admin-key: an empty value"),
    (["--admin-port", "0", "--admin-host", ""], "--admin-host: an empty value"),
    (["--host", ""], "--host: an empty value"),
    (["--config", ""], "--config: an empty value"),
    (["--metrics", "key"], "--metrics key: there is no key"),
    (["--metrics", "admin"], "--metrics admin: nobody"),
])
def test_empty_is_not_open(flags, message):
    with pytest.raises(AssertionError, match=re.escape(message)):
        RunningServer(*flags)


def test_who_reads_metrics(tmp_path):
    lorry = Commands(tmp_path)
    with RunningServer("--metrics", "nameless", "--admin-key", "admin") as server:
        body = {"model": "sql", "prompt": "x", "max_tokens": 1}
        assert server.request("POST", "/v1/completions", body)[0] == 200
        _, _, page = server.request("GET", "/metrics")
        assert "lorry:http_requests_total" in page
        for name in ("sql", "french", "piglatin"):
            assert name not in page
        assert server.metric("lorry:adapter_generation_tokens_total") >= 1
        _, _, named = server.request("GET", "/metrics", headers={"Authorization": "Bearer admin"})
        assert 'adapter="sql"' in named
        assert "sql" not in lorry.do("top", server.url, "--once", "--interval", "100ms")
        assert "sql" in lorry.do("top", server.url, "--once", "--interval", "100ms", "--admin-key", "admin")
    with RunningServer("--metrics", "key", "--api-key", "key") as server:
        assert server.request("GET", "/metrics")[0] == 401
        assert server.request("GET", "/metrics", headers=KEY)[0] == 200
        assert "requests/s" in lorry.do("top", server.url, "--once", "--interval", "100ms", "--api-key", "key")
        assert lorry.run("top", server.url, "--once")[0] == 1
    with RunningServer("--metrics", "admin", "--admin-port", "0") as server:
        assert server.request("GET", "/metrics")[0] == 404
        server.port = admin_port(server)
        assert server.request("GET", "/metrics")[0] == 200


def test_a_page_that_had_its_name_lead_here_is_refused():
    with RunningServer("--admin-port", "0", "--adapter-cache", "none") as server:
        server.port = admin_port(server)
        for host in ("evil.example", "127.0.0.1.evil.example:80", "10.1.2.3"):
            assert server.request("GET", "/v1/adapters", headers={"Host": host})[0] == 403, host
        for host in ("localhost", f"localhost:{server.port}", "127.0.0.1", "[::1]:1"):
            assert server.request("GET", "/v1/adapters", headers={"Host": host})[0] == 200, host
