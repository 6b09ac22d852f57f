"""SIGTERM: no new requests, running ones finish within a limit, the process ends with 0."""

import time

import openai

from conftest import LONG, client_of
from running_server import RunningServer, eventually


def test_an_idle_server_ends_at_once():
    with RunningServer() as server:
        start = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - start < 20


def test_running_answers_finish():
    with RunningServer() as server:
        stream = client_of(server).completions.create(model="sql", prompt="x", stream=True, **LONG)
        chunks = iter(stream)
        next(chunks)
        server.signal_stop()
        assert eventually(lambda: is_refused(server))
        rest = list(chunks)
        assert rest[-1].choices[0].finish_reason == "length"
        assert server.wait() == 0


def is_refused(server) -> bool:
    """No new connection is served."""
    try:
        return server.request("GET", "/ready")[0] == 503
    except OSError:
        return True


def test_answers_that_take_too_long_are_cut_off():
    with RunningServer("--drain-timeout", "200ms", "--max-num-seqs", "256") as server:
        client = client_of(server)
        stream = client.completions.create(model="sql", prompt="x", stream=True, n=64, **LONG)
        chunks = iter(stream)
        next(chunks)
        start = time.monotonic()
        server.signal_stop()
        try:
            for _ in chunks:
                pass
            raise AssertionError("the stream ended as if it were whole")
        except (openai.APIError, OSError):
            pass
        except Exception as error:  # the client hands on its transport's own exceptions mid-stream
            assert "http" in type(error).__module__, error
        assert server.wait() == 0
        assert time.monotonic() - start < 30
