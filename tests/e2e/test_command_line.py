"""What the command line says of mistakes: which option, once, and before anything takes long."""

import http.server
import json
import re
import shutil
import socket
import subprocess
import threading

import pytest

from commands import Commands
from running_server import ROOT, RunningServer

BASE = ROOT / "demo/base"
ADAPTERS = ROOT / "demo/adapters"
SQL = ADAPTERS / "sql"
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 123\n"


@pytest.fixture
def lorry(tmp_path):
    return Commands(tmp_path)


def refused(lorry, *arguments, code=1):
    """stderr of a `lorry serve` that does not start."""
    status, _, err = lorry.run("serve", "--host", "127.0.0.1", "--port", "0", *arguments)
    assert status == code, err
    return err


def adapter_with(directory, **files):
    """A copy of the demo's sql in which files have another text; None: a link to nothing."""
    shutil.copytree(SQL, directory)
    for name, text in files.items():
        path = directory / (name.replace("__", "."))
        path.unlink(missing_ok=True)
        path.symlink_to("/no/such/blob") if text is None else path.write_text(text)
    return directory


# ---- before the weights are loaded


def test_what_needs_no_weights_is_said_before_they_are_loaded(lorry, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for arguments, says in [
            (["--adapter", "a=./nope"], "adapter `a`: ./nope: No such file"),
            (["--adapter", f"lorry-demo={SQL}"], "is the base model's name"),
            (["--adapter", "a=~/nope"], "begins with ~"),
            (["--adapter", "a="], "--adapter: adapter `a` has no source; was a variable never set?"),
            (["--adapter-dir", "./nope"], "--adapter-dir ./nope: no such directory"),
            (["--adapter-cache", f"{BASE}/config.json/x"], "--adapter-cache "),
            (["--step-log", "/no/such/dir/log"], "--step-log: /no/such/dir/log: "),
            (["--chat-template", "./nope"], "--chat-template ./nope: no such file"),
            (["--admin-host", "0.0.0.0", "--admin-port", "0"], "--admin-host 0.0.0.0: "),
            (["--admin-port", str(port)], "is in use: stop the program that listens there"),
            (["--admin-port", str(port)], "(--admin-host and --admin-port)"),
            (["--port", str(port)], "(--host and --port, or make demo PORT=N)"),
            (["--host", "no-such-host.invalid"], "(--host and --port"),
            (["--metrics", "key"], "--metrics key: "),
            (["--kv-memory", "100"], "--kv-memory 100: room for 0 tokens"),
            (["--kv-memory", "64KiB", "--max-model-len", "1024"], "--max-model-len 1024 needs"),
            (["--max-model-len", "999999"], "--max-model-len is 999999"),
            (["--max-num-batched-tokens", "1", "--max-num-seqs", "2"], "--max-num-batched-tokens 1 must"),
            (["--page-size", "17"], "--page-size must be a multiple of 16"),
        ]:
            err = refused(lorry, *arguments)
            assert says in err, err
            assert " weights " not in err, err  # the line that says they have been loaded


def test_every_bad_adapter_is_named_once(lorry, tmp_path):
    broken = adapter_with(tmp_path / "broken", adapter_config__json="{")
    linked = adapter_with(tmp_path / "linked", adapter_model__safetensors=None)
    bad = ["--adapter", f"one={broken}", "--adapter", f"two={linked}", "--adapter", f"sql={SQL}"]
    err = refused(lorry, *bad)
    for name in ("`one`", "`two`"):
        assert len([line for line in err.splitlines() if name in line]) == 1, err
    assert "a link to nothing (/no/such/blob)" in err
    assert err.count("--skip-bad-adapters starts without them") == 1
    with RunningServer("--skip-bad-adapters", *bad, "--adapter-cache", "none") as server:
        assert [model["id"] for model in server.get_json("/v1/models")["data"]] == ["lorry-demo", "sql"]
    for name in ("`one`", "`two`"):
        assert len([line for line in server.log if name in line]) == 1, server.log


def test_memory_that_is_not_there(lorry):
    for size in ("64KiB", "1MiB"):  # not a 413 for each of the adapter's requests
        err = refused(lorry, "--kv-memory", size, "--adapter", f"sql={SQL}", "--adapter-cache", "none")
        assert "`sql`" in err and "a larger --kv-memory" in err, err


def test_an_open_server_says_so(lorry):
    err = refused(lorry, "--host", "0.0.0.0", "--kv-memory", "100")
    assert err.count("--host 0.0.0.0: whoever reaches this machine may generate") == 1
    lorry.environment["VLLM_API_KEY"] = "k"
    assert "whoever" not in refused(lorry, "--host", "0.0.0.0", "--kv-memory", "100")
    lorry.environment["VLLM_API_KEY"] = ""
    assert "VLLM_API_KEY: an empty" in refused(lorry, code=2)


# ---- commands around adapters


def test_inspect_says_what_a_directory_is_not(lorry, tmp_path):
    (tmp_path / "neither").mkdir()
    assert "neither an adapter nor a model" in lorry.run("inspect", tmp_path / "neither")[2]
    linked = adapter_with(tmp_path / "linked", adapter_config__json=None)
    assert "a link to nothing" in lorry.run("inspect", linked)[2]
    assert re.search(r"^fits +yes", lorry.do("inspect", BASE), re.M)
    other = json.loads((SQL / "adapter_config.json").read_text()) | {"target_modules": ["nothing"]}
    code, out, err = lorry.run("inspect", adapter_with(tmp_path / "other", adapter_config__json=json.dumps(other)))
    assert code == 1 and re.search(r"^fits +no", out, re.M) and "--base MODEL" in err


def test_pull_looks_at_what_it_has_brought(lorry, tmp_path):
    assert lorry.run("pull", SQL)[0] == 0
    for number, (files, says) in enumerate([
            ({"adapter_model__safetensors": POINTER}, "Git LFS pointer"),
            ({"adapter_config__json": "<!DOCTYPE html>"}, "adapter_config.json"),
            ({"tokenizer__json": POINTER}, "Git LFS pointer")]):
        code, _, err = lorry.run("pull", adapter_with(tmp_path / str(number), **files))
        assert code == 1 and says in err, err


def test_a_cache_that_is_not_there(lorry):
    for command in (["ls"], ["ls", "--json"], ["rm", "x"], ["pin", "x"]):
        code, _, err = lorry.run(*command, "--adapter-cache", "/no/such/cache")
        assert code == 1 and "--adapter-cache /no/such/cache: no such directory" in err, err
    assert "nothing in" in lorry.do("ls")  # the default one comes to be when it is needed


# ---- merge


def test_a_merged_model_speaks_as_its_adapter_did(lorry, tmp_path):
    template = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
    own = adapter_with(tmp_path / "own", chat_template__jinja=template)
    out = lorry.do("merge", BASE, "--adapter", own, "-o", tmp_path / "merged")
    assert "chat template of its own" in out
    body = {"messages": [{"role": "user", "content": "List all users."}], "max_tokens": 1}
    counts = []
    for model, arguments in [("own", ["--adapter", f"own={own}"]), ("merged", [str(tmp_path / "merged")])]:
        with RunningServer(*arguments, "--adapter-cache", "none") as server:
            counts.append(server.post_json("/v1/chat/completions", body | {"model": model})["usage"]["prompt_tokens"])
    assert counts[0] == counts[1]
    assert lorry.run("merge", BASE, "-o", tmp_path / "x")[0] == 2


# ---- bench serve and top


def test_bench_and_top_say_what_the_server_said(lorry):
    load = ["bench", "serve", "--requests", "2", "--warmup", "0", "--prompt-tokens", "4", "--output-tokens", "1"]
    with RunningServer("--api-key", "k", "--metrics", "key", "--adapter-cache", "none") as server:
        code, _, err = lorry.run(*load, "--url", server.url)
        assert code == 1 and "--api-key" in err and "not an OpenAI server" not in err
        code, _, err = lorry.run("top", server.url, "--once")
        assert code == 1 and "--admin-key or --api-key" in err
        load += ["--url", server.url, "--api-key", "k"]
        assert "(distinct)" in lorry.do(*load, "--lora", "sql")
        code, out, err = lorry.run(*load, "--lora", "nobody")
        assert code == 1 and "all 2 requests failed" in err and "nobody" in out
        assert lorry.run(*load, "--mix", "base", "--lora", "sql")[0] == 2


# ---- a source that takes long


def test_a_slow_fetch_at_start_is_seen(lorry):
    gone = threading.Event()

    class Slow(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            path = SQL / self.path.rpartition("/")[2]
            if not path.is_file():
                return self.send_error(404)
            content = path.read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            step = len(content) if path.suffix == ".json" else 64 << 10
            for begin in range(0, len(content), step):
                self.wfile.write(content[begin:begin + step])
                if gone.wait(0.5 if path.suffix != ".json" else 0):
                    return

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Slow) as site:
        threading.Thread(target=site.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{site.server_port}/sql"
        process = lorry.start("serve", "--host", "127.0.0.1", "--port", "0", "--adapter", f"z={url}",
                              "--allow-private-host=127.0.0.1")
        limit = threading.Timer(60, process.kill)
        limit.start()
        try:
            line = next((line for line in process.stderr if "adapter z: fetching" in line), "")
            assert url in line and re.search(r"\d+ of \d+ bytes", line)
        finally:
            limit.cancel()
            gone.set()
            process.kill()
            process.communicate()
            site.shutdown()
