"""What a name stands for after a change that failed, and names that are the base's."""

import json
import shutil
import subprocess

import pytest

from running_server import ROOT, RunningServer, binary

ADAPTERS = ROOT / "demo/adapters"
ADMIN = {"Authorization": "Bearer admin"}
SMALL = ["--threads", "1", "--kv-memory", "64MiB"]


def spoil(directory):
    """A config that says twice the rank that its weights have."""
    config = json.loads((directory / "adapter_config.json").read_text())
    config["r"] *= 2
    (directory / "adapter_config.json").write_text(json.dumps(config))
    return directory


def call(server, method, path, body=None) -> int:
    return server.request(method, path, body, ADMIN)[0]


def say(server, model: str) -> str:
    body = {"model": model, "messages": [{"role": "user", "content": "42"}], "max_tokens": 20, "temperature": 0}
    status, _, text = server.request("POST", "/v1/chat/completions", body)
    return json.loads(text)["choices"][0]["message"]["content"] if status == 200 else f"{status} {text}"


def test_what_fails_leaves_what_was_there(tmp_path):
    bad = spoil(shutil.copytree(ADAPTERS / "sql", tmp_path / "bad"))
    watched = tmp_path / "watched"
    shutil.copytree(ADAPTERS / "french", watched / "w")
    shutil.copytree(ADAPTERS / "roman", watched / "used")
    arguments = [str(ROOT / "demo/base"), "--admin-key", "admin", "--adapter-dir", str(watched), *SMALL,
                 "--adapter-cache", str(tmp_path / "cache")]
    with RunningServer(*arguments) as server:
        assert call(server, "POST", "/v1/adapters",
                    {"name": "later", "source": str(ADAPTERS / "roman"), "load": False}) == 201
        assert call(server, "POST", "/v1/adapters", {"name": "candidate", "source": str(bad), "load": False}) == 201
        for name in ("w", "later"):
            in_place = {"lora_name": name, "lora_path": str(bad), "load_inplace": True}
            assert call(server, "POST", "/v1/load_lora_adapter", in_place) == 500
            assert call(server, "PATCH", f"/v1/adapters/{name}", {"alias_of": "candidate"}) == 422
            replaced = {"name": name, "source": str(bad), "replace": True}
            assert call(server, "POST", "/v1/adapters", replaced) == 422
        assert say(server, "w") == "quarante-deux"
        assert say(server, "later") == "XLII"
        assert say(server, "used") == "XLII"
    # The directory becomes bad while nobody looks, and is mended.
    spoil(watched / "used")
    with RunningServer(*arguments) as server:
        assert say(server, "later") == "XLII"
        assert say(server, "used") == "XLII"
        assert call(server, "PATCH", "/v1/adapters/later", {"alias_of": "w"}) == 200
        assert say(server, "later") == "quarante-deux"


@pytest.mark.parametrize("arguments", [
    ["--adapter", f"lorry-demo={ADAPTERS / 'sql'}"],
    [str(ROOT / "demo/base"), "--served-model-name", "first", "second", "--adapter", f"second={ADAPTERS / 'sql'}"],
    [str(ROOT / "demo/base"), "--lora-modules", json.dumps({"name": "base", "path": str(ADAPTERS / "sql")})],
])
def test_a_name_of_the_base_is_refused(arguments):
    refused = subprocess.run([binary(), "serve", "--host", "127.0.0.1", "--port", "0", *SMALL, *arguments],
                             capture_output=True, text=True, timeout=60, check=False)
    assert refused.returncode == 1
    assert "is the base model's name" in refused.stderr
    # With its neighbour it is passed over alone.
    with RunningServer("--skip-bad-adapters", *arguments, "--adapter", f"sql={ADAPTERS / 'sql'}",
                       "--adapter", f"a b={ADAPTERS / 'sql'}", *SMALL) as server:
        names = [model["id"] for model in server.get_json("/v1/models")["data"]]
        assert len(names) == len(set(names)) and "sql" in names
        assert len([line for line in server.log if "skipped: " in line]) == 2


def test_every_door_has_the_same_check(tmp_path):
    watched = tmp_path / "watched"
    shutil.copytree(ADAPTERS / "sql", watched / "second")
    source = str(ADAPTERS / "sql")
    with RunningServer(str(ROOT / "demo/base"), "--served-model-name", "first", "second", "--admin-key", "admin",
                       "--adapter-dir", str(watched), *SMALL) as server:
        assert len([line for line in server.log if "passed over" in line]) == 1
        for name in ("first", "second", "a+b", "a@b", "2*a", "first:a", "", "a" * 257):
            assert call(server, "POST", "/v1/adapters", {"name": name, "source": source}) == 400, name
            assert call(server, "POST", "/adapters", {"name": name, "src": source}) == 400, name
            for path in ("/v1/load_lora_adapter", "/load_lora_adapter"):
                assert call(server, "POST", path, {"lora_name": name, "lora_path": source}) == 400, (path, name)
        names = [model["id"] for model in server.get_json("/v1/models")["data"]]
        assert names == ["first", "second"]
    run = subprocess.run([binary(), "run", "--adapter", f"lorry-demo={ADAPTERS / 'sql'}", "x"], capture_output=True,
                         text=True, timeout=60, check=False)
    assert run.returncode == 1 and "is the base model's name" in run.stderr
