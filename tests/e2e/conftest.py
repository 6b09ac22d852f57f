"""Fixtures: one server of the embedded demo for all tests that do not need one of their own."""

import json
import os

import openai
import pytest

from running_server import ROOT, RunningServer

ADAPTERS = ["date", "french", "json", "morse", "piglatin", "reverse", "roman", "sql"]

# A long answer for tests that must meet a request while it runs.
LONG = {"max_tokens": 1500, "extra_body": {"ignore_eos": True}}


def pytest_configure(config):
    # A proxy in the environment has no business between a test and the loopback.
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        os.environ.pop(name, None)
        os.environ.pop(name.upper(), None)


def client_of(server: RunningServer, api_key: str = "none") -> openai.OpenAI:
    return openai.OpenAI(base_url=server.url + "/v1", api_key=api_key, max_retries=0, timeout=120)


@pytest.fixture(scope="session")
def server():
    with RunningServer() as running:
        yield running


@pytest.fixture(scope="session")
def client(server):
    with client_of(server) as made:
        yield made


@pytest.fixture(scope="session")
def base(client) -> str:
    """The base's name."""
    return client.models.list().data[0].id


@pytest.fixture(scope="session")
def questions() -> dict[str, str]:
    """One question for each adapter."""
    found = {}
    for line in (ROOT / "demo/first_minute.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if len(row["messages"]) == 1:
            found.setdefault(row["adapter"], row["messages"][0]["content"])
    return found
