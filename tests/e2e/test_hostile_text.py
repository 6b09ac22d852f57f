"""Tokenizers and chat templates of adapters that mean harm: their callers get a 422 that names the limit, all others their
answers, and the server ends when it is told to."""

import concurrent.futures
import json
import os
import pathlib
import re
import shutil
import signal
import time

import pytest

from running_server import ROOT, RunningServer, eventually

DEMO = ROOT / "demo"
SQL = DEMO / "adapters/sql"


def replace(text, content):
    return {"type": "Replace", "pattern": {"String": text}, "content": content}


def write_adapter(directory, tokenizer: dict | None = None, template: str | None = None):
    shutil.copytree(SQL, directory)
    if tokenizer is not None:
        shutil.copy(DEMO / "base/tokenizer_config.json", directory)
        whole = {**json.loads((DEMO / "base/tokenizer.json").read_text()), **tokenizer}
        (directory / "tokenizer.json").write_text(json.dumps(whole))
    if template is not None:
        (directory / "chat_template.jinja").write_text(template)


@pytest.fixture(scope="module")
def adapters(tmp_path_factory):
    root = tmp_path_factory.mktemp("hostile")
    base = json.loads((DEMO / "base/tokenizer.json").read_text())
    split = {"type": "Split", "pattern": {"Regex": "\\p{L}+\\p{N}"}, "behavior": "Isolated", "invert": False}
    write_adapter(root / "grows", {"normalizer": {"type": "Sequence", "normalizers": [replace("a", "aa")] * 34}})
    write_adapter(root / "bomb", {"decoder": {"type": "Sequence", "decoders": [replace("a", "a" * 1000)] * 4}})
    write_adapter(root / "slow", {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, base["pre_tokenizer"]]}})
    write_adapter(root / "own", {"normalizer": replace("never there", "x")})
    write_adapter(root / "chat", template="{% for m in messages %}{{ m.content }}{% endfor %}")
    write_adapter(root / "loops", template="{% for i in range(99999) %}{% for j in range(99999) %}x{% endfor %}{% endfor %}")
    # 64 MiB of text from one word, in the server's own process if nobody stops it.
    doubled = "{% set ns.a = ns.a ~ ns.a %}"
    write_adapter(root / "writes", template="{% set ns = namespace(a='abcdefgh') %}{% for i in range(17) %}" + doubled +
                  "{% endfor %}{% for i in range(31) %}{{ ns.a }}{% endfor %}")
    # Every token but those of "hi" stands for 8 kB.
    vocab = {(word if word in "hi" else word * 8000 + word): id_ for word, id_ in base["model"]["vocab"].items()}
    write_adapter(root / "longtokens", {"model": {**base["model"], "vocab": vocab}})
    return {path.name: path for path in root.iterdir()}


@pytest.fixture()
def server(adapters):
    named = [argument for name, path in adapters.items() for argument in ("--adapter", f"{name}={path}")]
    with RunningServer("--adapter-cache", "none", *named, "--adapter", f"sql={SQL}") as running:
        yield running


def tokenize(server, model, prompt):
    status, _, text = server.request("POST", "/tokenize", {"model": model, "prompt": prompt})
    return status, json.loads(text)


def children(pid: int) -> list[int]:
    found = []
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/children") as file:
            found += [int(child) for child in file.read().split()]
    return found


def test_own_texts_give_the_bases_tokens(server):
    for prompt in ("hello there", "é🙂 <|endoftext|>", ""):
        want = tokenize(server, "lorry-demo", prompt)
        assert want[0] == 200
        assert tokenize(server, "own", prompt)[1]["tokens"] == want[1]["tokens"]
    body = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 4, "temperature": 0}
    answers = [server.post_json("/v1/chat/completions", {"model": name, **body})["choices"][0]["message"]
               for name in ("sql", "own")]
    assert answers[0] == answers[1]
    assert server.post_json("/v1/chat/completions", {"model": "chat", **body})["usage"]["prompt_tokens"] > 0
    assert server.metric("lorry:text_worker_calls_total") > 0
    assert server.metric("lorry:text_worker_ends_total") == 0


@pytest.mark.parametrize("name, limit", [("grows", "256 MiB|over 2 s of processor time"),  # whichever is first
                                         ("bomb", "makes over 1024 KiB of one token")])
def test_growth_is_a_422_that_names_the_limit(server, name, limit):
    status, answer = tokenize(server, name, "a")
    assert status == 422, answer
    assert re.search(limit, answer["error"]["message"])
    assert tokenize(server, "own", "hello")[0] == 200
    ended = sum(server.metric("lorry:text_worker_ends_total", reason=reason) for reason in ("memory", "time"))
    assert (ended > 0) == (name == "grows")


def test_a_slow_split_keeps_nobody(server):
    with concurrent.futures.ThreadPoolExecutor() as pool:
        begin = time.monotonic()
        slow = pool.submit(tokenize, server, "slow", "a" * (1 << 19))
        time.sleep(0.3)
        for model in ("sql", "own", "lorry-demo"):
            start = time.monotonic()
            assert server.post_json("/v1/completions", {"model": model, "prompt": "x", "max_tokens": 1})
            assert time.monotonic() - start < 1.5, model
        status, answer = slow.result()
        assert status == 422, answer
        assert "2 s of processor time" in answer["error"]["message"]
        assert time.monotonic() - begin < 20
    assert server.metric("lorry:text_worker_ends_total", reason="time") == 1


def test_a_template_without_end_is_refused(server):
    body = {"model": "loops", "messages": [{"role": "user", "content": "hello"}]}
    status, _, text = server.request("POST", "/v1/chat/completions", body)
    assert status == 400 or status == 422, text
    assert "chat template" in text


def test_sigterm_ends_a_server_whose_worker_is_busy(adapters):
    with RunningServer("--adapter-cache", "none", "--adapter", f"slow={adapters['slow']}") as server:
        with concurrent.futures.ThreadPoolExecutor() as pool:
            asked = [pool.submit(tokenize, server, "slow", "a" * (1 << 19)) for _ in range(4)]
            assert eventually(lambda: children(server.process.pid))
            time.sleep(0.3)
            workers = children(server.process.pid)
            start = time.monotonic()
            assert server.stop() == 0
            assert time.monotonic() - start < 2
            for answer in asked:
                assert answer.exception() is not None or answer.result()[0] == 503
        assert not any(os.path.exists(f"/proc/{worker}") for worker in workers)


def test_workers_end_with_a_server_that_is_killed(adapters):
    server = RunningServer("--adapter-cache", "none", "--adapter", f"slow={adapters['slow']}")
    with concurrent.futures.ThreadPoolExecutor() as pool:
        asked = pool.submit(tokenize, server, "slow", "a" * (1 << 19))
        assert eventually(lambda: children(server.process.pid))
        time.sleep(0.3)
        workers = children(server.process.pid)
        server.kill()
        assert asked.exception() is not None
    assert eventually(lambda: not any(is_running(worker) for worker in workers))


def is_running(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_workers_that_are_killed_are_replaced(server):
    want = tokenize(server, "own", "hello there")
    assert want[0] == 200
    for _ in range(5):
        for worker in children(server.process.pid):
            os.kill(worker, signal.SIGKILL)
        assert tokenize(server, "own", "hello there") == want


def peak_bytes(server) -> int:
    status = pathlib.Path(f"/proc/{server.process.pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status).group(1)) << 10


CHAT = {"messages": [{"role": "user", "content": "hi"}]}
LARGE_ANSWERS = {
    "a template that writes": ("chat/completions", {"model": "writes", "max_tokens": 1, **CHAT}),
    "tokens with logprobs": ("chat/completions", {"model": "longtokens", "max_tokens": 1500, "n": 8, "ignore_eos": True,
                                                  "logprobs": True, "top_logprobs": 20, **CHAT}),
    "an echo": ("completions", {"model": "longtokens", "prompt": [[5, 6, 7] * 600] * 24, "max_tokens": 0, "echo": True}),
}


@pytest.mark.parametrize("name", LARGE_ANSWERS)
def test_an_adapters_text_does_not_multiply_in_memory(server, name):
    path, body = LARGE_ANSWERS[name]
    before = peak_bytes(server)
    status, _, text = server.request("POST", "/v1/" + path, body)
    assert status == 400 and re.search("limit is [24]|over 536870912 bytes", text), text[:200]
    assert peak_bytes(server) - before < 700 << 20
