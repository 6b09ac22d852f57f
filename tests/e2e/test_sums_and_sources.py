"""Sums of adapters in a request, and sources that a request names itself."""

import json

import pytest

from running_server import ROOT, RunningServer

SQL = ROOT / "demo/adapters/sql"


@pytest.fixture(scope="module")
def open_server(tmp_path_factory):
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        with RunningServer("--allow-request-source", f"{ROOT}/demo/adapters/s*") as running:
            yield running


def complete(server, **fields):
    """(status, body, headers)"""
    messages = [{"role": "user", "content": "List the names of all users older than 30."}]
    body = {"messages": messages, "temperature": 0, "max_tokens": 24, **fields}
    status, headers, text = server.request("POST", "/v1/chat/completions", body)
    return status, json.loads(text), headers


def text_of(server, **fields):
    status, answer, _ = complete(server, **fields)
    assert status == 200, answer
    return answer["choices"][0]["message"]["content"]


def test_a_sum_is_the_same_in_any_order_and_form(server):
    both = text_of(server, model="sql+0.5*french")
    assert both and text_of(server, model="sql") != text_of(server, model="french")
    assert text_of(server, model="0.5*french+sql") == both
    terms = [{"name": "french", "weight": 0.5}, {"name": "sql"}]
    assert text_of(server, adapters=terms) == both
    assert text_of(server, model="0.5*sql+0.5*sql") == text_of(server, model="sql")
    assert text_of(server, model="sql+-1*sql") == text_of(server)
    assert complete(server, model="sql+0.5*french")[1]["model"] == "sql+0.5*french"


@pytest.mark.parametrize("fields, status, param", [
    ({"model": "sql+nobody"}, 404, "model"),
    ({"model": "x*sql"}, 400, "model"),
    ({"model": "+".join(["sql"] * 9)}, 400, "model"),
    ({"adapters": [{"name": "sql", "weight": 2000}]}, 400, "adapters[0].weight"),
    ({"model": "sql", "adapters": [{"name": "sql"}]}, 400, "adapters"),
    ({"merged_adapters": {"ids": ["sql", "french"], "weights": [1, 0.5]}}, 400, "merged_adapters"),
])
def test_what_is_no_sum(server, fields, status, param):
    got, body, _ = complete(server, **fields)
    assert got == status, body
    assert body["error"]["param"] == param


def test_an_allowed_source_answers_and_is_listed_nowhere(open_server):
    named = text_of(open_server, model="sql")
    for fields in ({"adapter_id": str(SQL), "adapter_source": "local"}, {"model": f"file://{SQL}"}):
        assert text_of(open_server, api_token="geheim", **fields) == named
    assert str(SQL) not in [model["id"] for model in open_server.get_json("/v1/models")["data"]]
    assert text_of(open_server, adapter_id="sql", adapter_source="hub") == named, "a registered name"
    assert "geheim" not in "".join(open_server.log) + open_server.request("GET", "/metrics")[2]


@pytest.mark.parametrize("adapter_id", [
    "hf://org/name", "/etc", f"{ROOT}/demo/adapters/french", f"{ROOT}/demo/adapters/sql/../french",
    "https://user@host/a.zip", "s3://bucket/a"])
def test_other_sources_are_refused(open_server, adapter_id):
    status, body, _ = complete(open_server, adapter_id=adapter_id)
    assert status in (400, 403), body
    if status == 403:
        assert body["error"]["code"] == "source_refused"
        assert "--allow-request-source" in body["error"]["message"]


def test_nothing_is_allowed_by_itself(server):
    assert complete(server, adapter_id=str(SQL))[0] == 403
