"""Adapters in object stores, from `lorry pull` to an answer: S3 on a server that checks signatures (s3s-fs), Google's and
Azure's on one that lists and serves as they do."""

import json
import shutil
import sys

import pytest

from commands import Commands
from running_server import ROOT

sys.path.append(str(ROOT / "tests/sources"))
from servers import Buckets, S3Store  # noqa: E402

BASE = ROOT / "demo/base"
ADAPTERS = ROOT / "demo/adapters"


class Store:
    """Adapters in a bucket, and what a program needs to know to get at them."""

    def __init__(self, scheme: str, settings: dict[str, str]):
        self.prefix = f"{scheme}://bucket/team"
        self.settings = settings

    def put(self, adapter: str, folder: str):
        raise NotImplementedError


class S3(Store):
    def __init__(self, server: S3Store):
        super().__init__("s3", server.settings())
        self.root = server.root / "bucket/team"

    def put(self, adapter, folder):
        shutil.copytree(ADAPTERS / adapter, self.root / folder, dirs_exist_ok=True)


class Other(Store):
    def __init__(self, scheme: str, server: Buckets, settings: dict[str, str]):
        super().__init__(scheme, settings)
        self.server = server

    def put(self, adapter, folder):
        for file in (ADAPTERS / adapter).iterdir():
            self.server.store(f"/bucket/team/{folder}/{file.name}", file.read_bytes())


@pytest.fixture(params=["s3", "gs", "az"])
def store(request, tmp_path):
    if request.param == "s3":
        if not S3Store.is_installed():
            pytest.skip(S3Store.MISSING)
        with S3Store(tmp_path) as server:
            yield S3(server)
        return
    with Buckets() as server:
        yield Other(request.param, server, {
            "gs": {"GOOGLE_BASE_URL": server.url, "GOOGLE_BEARER_TOKEN": "secret"},
            "az": {"AZURE_STORAGE_ENDPOINT": server.url, "AZURE_STORAGE_ACCOUNT_NAME": "me",
                   "AZURE_STORAGE_SAS_TOKEN": "sv=2024-01-01&sig=secret"},
        }[request.param])


@pytest.fixture
def lorry(tmp_path, store, monkeypatch):
    """Commands and servers that know the store."""
    running = Commands(tmp_path)
    running.environment |= store.settings
    for name, value in store.settings.items():
        monkeypatch.setenv(name, value)
    return running


def admin(server, method, path, body=None):
    status, _, text = server.request(method, path, body, {"Authorization": "Bearer admin"})
    return status, json.loads(text)


def ask(server, **model) -> str:
    messages = [{"role": "user", "content": "List the names of all users older than 30."}]
    body = {"messages": messages, "temperature": 0, "max_tokens": 24, **model}
    return server.post_json("/v1/chat/completions", body)["choices"][0]["message"]["content"]


def test_from_the_store_to_an_answer(lorry, store, monkeypatch):
    for adapter in ("sql", "french"):
        store.put(adapter, adapter)
    pulled = f"{store.prefix}/sql"
    assert "applied 28 of 28 modules" in lorry.do("pull", pulled, "--base", BASE)
    (image,) = [entry for entry in lorry.ls() if entry["kind"] == "image"]
    assert image["sources"] == [pulled]
    with lorry.serve(monkeypatch, "--allow-request-source", f"{store.prefix}/*") as server:
        status, mine = admin(server, "POST", "/v1/adapters", {"name": "mine", "source": pulled})
        assert status == 201, mine
        assert mine["id"] == admin(server, "GET", "/v1/adapters/sql")[1]["id"]
        sql, french = ask(server, model="sql"), ask(server, model="french")
        assert ask(server, model="mine") == sql != french

        # Not read before its first request; and one that a request names itself.
        body = {"name": "later", "source": f"{store.prefix}/french", "load": False}
        assert admin(server, "POST", "/v1/adapters", body)[0] == 201
        assert ask(server, model="later") == french
        assert ask(server, adapter_id=f"{store.prefix}/french") == french

        # What the store has now.
        assert admin(server, "PATCH", "/v1/adapters/mine", {"reload": True})[1]["id"] == mine["id"]
        store.put("french", "sql")
        assert admin(server, "PATCH", "/v1/adapters/mine", {"reload": True})[1]["id"] != mine["id"]
        assert ask(server, model="mine") == french
        assert "secret" not in "".join(server.log) + server.request("GET", "/metrics")[2]


def test_what_the_store_does_not_have(lorry, store, monkeypatch):
    store.put("sql", "sql")
    code, _, err = lorry.run("pull", f"{store.prefix}/nothing", "--base", BASE)
    assert code == 1 and f"{store.prefix}/nothing" in err
    with lorry.serve(monkeypatch) as server:
        status, body = admin(server, "POST", "/v1/adapters", {"name": "a", "source": f"{store.prefix}/nothing"})
        assert (status, body["error"]["code"]) == (404, "source_not_found")
        assert admin(server, "GET", "/v1/adapters/a")[0] == 404


@pytest.mark.parametrize("store", ["s3"], indirect=True)
def test_who_has_the_wrong_key_gets_nothing(lorry, store, monkeypatch):
    store.put("sql", "sql")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with lorry.serve(monkeypatch) as server:
        status, body = admin(server, "POST", "/v1/adapters", {"name": "a", "source": f"{store.prefix}/sql"})
        assert (status, body["error"]["code"]) == (403, "source_refused")
        assert "wrong" not in "".join(server.log)
