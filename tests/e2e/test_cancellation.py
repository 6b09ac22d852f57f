"""A client that hangs up costs nothing more: its sequences end, and the metrics say so."""

import concurrent.futures

import openai

from conftest import LONG, client_of
from running_server import RunningServer, eventually


def aborts(server):
    return server.metric("vllm:request_success_total", finished_reason="abort")


def is_idle(server):
    return (server.metric("vllm:num_requests_running") == 0
            and server.metric("vllm:num_requests_waiting") == 0)


def test_hanging_up_mid_stream(server, client):
    before = aborts(server)
    tokens_before = server.metric("vllm:generation_tokens_total")
    stream = client.completions.create(model="sql", prompt="x", stream=True, n=2, **LONG)
    for _, _ in zip(range(5), stream):
        pass
    stream.close()
    assert eventually(lambda: aborts(server) == before + 2)
    assert eventually(lambda: is_idle(server))
    assert server.metric("vllm:generation_tokens_total") - tokens_before < 2 * LONG["max_tokens"]


def test_hanging_up_on_a_chat(server, client):
    before = aborts(server)
    stream = client.chat.completions.create(model="sql", messages=[{"role": "user", "content": "x"}],
                                            stream=True, **LONG)
    next(iter(stream))
    stream.close()
    assert eventually(lambda: aborts(server) == before + 1)


def test_giving_up_before_the_answer(server, client):
    before = aborts(server)
    try:
        client.with_options(timeout=0.3).completions.create(model="sql", prompt="x", n=8, **LONG)
        raise AssertionError("the answer was too fast for this test")
    except openai.APITimeoutError:
        pass
    assert eventually(lambda: aborts(server) == before + 8)
    assert eventually(lambda: is_idle(server))
    assert server.metric("lorry:http_requests_total", status="499") >= 1


def test_giving_up_in_the_queue():
    """Before the first token: others hold the only slot when its client leaves."""
    with RunningServer("--max-num-seqs", "1") as server:
        client = client_of(server)
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            running = pool.submit(client.completions.create, model="sql", prompt="x", n=8, **LONG)
            assert eventually(lambda: server.metric("vllm:num_requests_running") == 1)
            impatient = client.with_options(timeout=0.2)
            waiting = pool.submit(impatient.completions.create, model="roman", prompt="y", **LONG)
            assert isinstance(waiting.exception(60), openai.APITimeoutError)
            assert eventually(lambda: aborts(server) == 1)
            assert server.metric("lorry:adapter_generation_tokens_total", adapter="roman") == 0
            assert running.result(120).usage.completion_tokens == 8 * LONG["max_tokens"]
