"""Whatever a client sends gets an answer or a closed connection, and the server goes on."""

import copy
import json
import random
import socket

import pytest

BODIES = {
    "/v1/completions": {"model": "sql", "prompt": "x", "max_tokens": 2, "n": 2, "logprobs": 1, "echo": True,
                        "stop": ["a"], "logit_bias": {"65": 1}, "seed": 1, "stream": False},
    "/v1/chat/completions": {"model": "sql", "max_tokens": 2, "logprobs": True, "top_logprobs": 1,
                             "messages": [{"role": "system", "content": "s"},
                                          {"role": "user", "content": [{"type": "text", "text": "x"}]}],
                             "tools": [{"type": "function", "function": {"name": "f"}}]},
    "/tokenize": {"prompt": "x", "return_token_strs": True},
    "/detokenize": {"tokens": [65, 66]},
}
NASTY = [None, True, -1, 0, 1.5, 2**31, 2**63, -2**63, 1e308, "", "\u0000", "漢" * 50, "<|end|>", [], {}, [[]], [None],
         {"": ""}, [2**40], "a" * 5000, [{"role": "user"}], ["x"] * 50]
ANSWERS = {200, 400, 404}


def places(value, path=()):
    """Where a value may be replaced."""
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


def replaced(body, path, value):
    made = copy.deepcopy(body)
    inner = made
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return made


@pytest.mark.parametrize("path", BODIES)
def test_any_value_in_any_place(server, path):
    for place in places(BODIES[path]):
        for value in NASTY:
            body = replaced(BODIES[path], place, value)
            status, _, text = server.request("POST", path, body)
            assert status in ANSWERS, (status, text, body)
            for event in text.split("\n\n"):  # one, unless it is a stream
                event = event.removeprefix("data: ")
                assert event in ("", "[DONE]") or json.loads(event)


@pytest.mark.parametrize("path", BODIES)
def test_any_bytes_in_any_place(server, path):
    source = random.Random(5)
    whole = json.dumps(BODIES[path]).encode()
    for _ in range(200):
        body = bytearray(whole)
        for _ in range(source.randrange(1, 4)):
            at = source.randrange(len(body))
            body[at:at + source.randrange(3)] = source.randbytes(source.randrange(3))
        status, _, text = server.request("POST", path, bytes(body))
        assert status in ANSWERS, (status, text, bytes(body))


@pytest.mark.parametrize("sent", [
    b"\x00" * 100, b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"POST /v1/completions HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
    b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n",
    b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"GET /v1/models/%00%ff%zz HTTP/1.1\r\nHost: x\r\n\r\n", b"GET /" + b"a" * 200_000,
])
def test_what_is_no_http(server, sent):
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        try:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            answer = connection.recv(65536)
        except OSError:  # a reset says no as well
            answer = b""
    assert answer == b"" or answer.split()[1].startswith(b"4") or answer.split()[1] == b"505", answer
    assert server.request("GET", "/health")[0] == 200
