"""Files that are not what their names say: each is called what it is, wherever it is read."""

import gzip
import json
import pathlib
import shutil
import subprocess

import pytest

from adapter_proof import KEY, admin, ask
from running_server import ROOT, RunningServer, binary

ADAPTER = ROOT / "demo/adapters/sql"
BASE = ROOT / "demo/base"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 123456\n"
PAGE = b"<!DOCTYPE html>\n<html><head><title>Sign in</title></head></html>"
PICKLE = b"\x80\x02}q\x00X\x01\x00\x00\x00aK\x01s."


def mistakes(original: bytes):
    """(content, what it is called)"""
    return [(POINTER, "a Git LFS pointer to a file of 123456 bytes"), (PAGE, "an HTML page"), (b"", "is empty"),
            (gzip.compress(original), "compressed with gzip"), (bytes(len(original)), "zeros"),
            (b"Invalid username or password.", "a server's refusal")]


def weights_mistakes(original: bytes):
    return mistakes(original) + [(PICKLE, "a pickle"), (original[:len(original) // 2], "cut short"),
                                 (original[:100], "truncated"), (b"GGUF" + bytes(100), "a GGUF file")]


def run(*arguments: str):
    done = subprocess.run([binary(), *arguments], capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout + done.stderr


def copy_of(source: pathlib.Path, target: pathlib.Path) -> pathlib.Path:
    shutil.copytree(source, target, dirs_exist_ok=True)
    return target


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"])
def test_of_a_base(tmp_path, name):
    kinds = weights_mistakes if name == "model.safetensors" else mistakes
    for content, called in kinds((BASE / name).read_bytes()):
        base = copy_of(BASE, tmp_path / "base")
        (base / name).write_bytes(content)
        status, said = run("serve", str(base), "--host", "127.0.0.1", "--port", "0", "--adapter-cache", "none")
        assert status == 1 and called in said and name in said, (name, called, said)
        status, said = run("inspect", str(base))
        assert status == 1 and called in said and name in said, (name, called, said)


def test_of_an_adapter(tmp_path):
    adapter, cache = tmp_path / "adapter", tmp_path / "cache"
    with RunningServer("--admin-key", "admin", "--adapter-cache", "none") as server:
        for name in ("adapter_config.json", "adapter_model.safetensors"):
            kinds = weights_mistakes if name == "adapter_model.safetensors" else mistakes
            for content, called in kinds((ADAPTER / name).read_bytes()):
                copy_of(ADAPTER, adapter)
                (adapter / name).write_bytes(content)
                status, answer = admin(server, "POST", "/v1/adapters", {"name": "x", "source": str(adapter)})
                assert status in (400, 422, 424), answer
                assert called in answer["error"]["message"] and name in answer["error"]["message"], (called, answer)
                for command in (["inspect", str(adapter), "--base", str(BASE)],
                                ["pull", str(adapter), "--base", str(BASE), "--adapter-cache", str(cache)]):
                    status, said = run(*command)
                    assert status == 1 and called in said and name in said, (command, called, said)
        copy_of(ADAPTER, adapter)
        status, answer = admin(server, "POST", "/v1/adapters", {"name": "x", "source": str(adapter)})
        assert status == 201, answer
        assert ask(server, "x")


def test_an_archive_that_is_none(tmp_path):
    with RunningServer("--admin-key", "admin", "--adapter-cache", "none") as server:
        for name in ("x.zip", "x.tar"):
            for content, called in [(POINTER, "a Git LFS pointer"), (PAGE, "an HTML page")]:
                (tmp_path / name).write_bytes(content)
                status, answer = admin(server, "POST", "/v1/adapters", {"name": "x", "source": str(tmp_path / name)})
                assert status in (422, 424) and called in answer["error"]["message"], answer


def test_a_larger_source_than_any_adapter_is_refused_unread(tmp_path):
    """A hole of a TiB: as weights, as a torch file, as a text, as an archive."""
    with RunningServer("--admin-key", "admin", "--adapter-cache", "none") as server:
        for name in ("adapter_model.safetensors", "adapter_model.bin", "tokenizer.json"):
            adapter = copy_of(ADAPTER, tmp_path / name)
            with open(adapter / name, "ab") as file:
                file.truncate(1 << 40)
            status, answer = admin(server, "POST", "/v1/adapters", {"name": "x", "source": str(adapter)})
            assert status == 413 and answer["error"]["code"] == "adapter_too_large", answer
        with open(tmp_path / "x.tar", "ab") as file:
            file.truncate(1 << 40)
        status, answer = admin(server, "POST", "/v1/adapters", {"name": "x", "source": str(tmp_path / "x.tar")})
        assert status == 413, answer
