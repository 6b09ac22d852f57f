"""Fixtures: the fetching program, and the servers it fetches from."""

import json
import os
import pathlib
import random
import signal
import subprocess

import pytest

from servers import Hub, Site

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = os.environ.get("LORRY_FETCH_SOURCE", ROOT / "build/release/tests/sources/fetch_source")


def pytest_configure(config):
    # A proxy in the environment has no business between a test and the loopback.
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        os.environ.pop(name, None)
        os.environ.pop(name.upper(), None)


class Fetcher:
    """Runs fetches in processes of their own, with small time-outs, into one staging directory."""

    def __init__(self, staging: pathlib.Path):
        self.staging = staging
        self.defaults = {"staging": str(staging), "backoff_ms": 20, "retries": 3, "idle_timeout_ms": 5000,
                         "connect_timeout_ms": 5000}

    def command(self, uri: str, **fields) -> list[str]:
        return [str(PROGRAM), json.dumps({**self.defaults, "uri": uri, **fields})]

    def __call__(self, uri: str, **fields) -> dict:
        done = subprocess.run(self.command(uri, **fields), capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def start(self, uri: str, **fields) -> subprocess.Popen:
        return subprocess.Popen(self.command(uri, **fields), stdout=subprocess.PIPE, text=True)


@pytest.fixture
def fetch(tmp_path) -> Fetcher:
    return Fetcher(tmp_path / "staging")


@pytest.fixture
def site():
    with Site() as running:
        yield running


@pytest.fixture
def other():
    """Another host: here that is another port."""
    with Site() as running:
        yield running


@pytest.fixture
def hub(other):
    with Hub(other) as running:
        yield running


def kill(process: subprocess.Popen):
    process.send_signal(signal.SIGKILL)
    process.wait()


WEIGHTS = random.Random(1).randbytes(3_000_000)
CONFIG = b'{"peft_type": "LORA", "r": 8}'
FILES = {
    "adapter_config.json": CONFIG,
    "adapter_model.safetensors": WEIGHTS,
    "tokenizer_config.json": b'{"model_max_length": 2048}',
    "chat_template.jinja": b"{{ messages }}",
    "additional_chat_templates/tool_use.jinja": b"{{ tools }}",
    "additional_chat_templates/other.jinja": b"nobody asks for it",
    "README.md": b"# not needed",
    "training_args.bin": b"not needed either",
}
TOOLS = "additional_chat_templates/tool_use.jinja"
NEEDED = ["adapter_config.json", "adapter_model.safetensors", TOOLS, "chat_template.jinja", "tokenizer_config.json"]


def read_dir(path) -> dict[str, bytes]:
    """By path."""
    root = pathlib.Path(path)
    return {str(file.relative_to(root)): file.read_bytes() for file in root.rglob("*") if not file.is_dir()}


def write_dir(root: pathlib.Path, files: dict[str, bytes]):
    for path, content in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
