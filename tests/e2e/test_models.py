"""GET /v1/models and the small endpoints."""

import openai
import pytest

from conftest import ADAPTERS


def test_the_base_comes_first_then_the_adapters(client):
    models = client.models.list().data
    assert [model.id for model in models[1:]] == ADAPTERS
    assert all(model.object == "model" for model in models)
    assert models[0].parent is None
    assert {model.parent for model in models[1:]} == {models[0].id}
    assert all(model.root for model in models)
    assert models[0].max_model_len > 0


def test_retrieve(client, base):
    assert client.models.retrieve(base).id == base
    assert client.models.retrieve("sql").parent == base


def test_unknown_model_is_not_found(client):
    with pytest.raises(openai.NotFoundError) as error:
        client.models.retrieve("nobody")
    assert error.value.code == "model_not_found"
    assert error.value.param == "model"


def test_health_ready_version(server):
    assert server.get_json("/health") == {"status": "ok"}
    assert server.get_json("/ready") == {"status": "ready"}
    assert server.get_json("/version")["version"]


def test_tokenize_and_back(server, base):
    text = "naïve 漢字 <|user|>"
    answer = server.post_json("/tokenize", {"model": base, "prompt": text, "return_token_strs": True})
    assert answer["count"] == len(answer["tokens"]) == len(answer["token_strs"])
    assert answer["max_model_len"] > 0
    assert server.post_json("/detokenize", {"tokens": answer["tokens"]})["prompt"] == text


def test_a_chat_cannot_type_special_tokens(server):
    def tokens(content):
        body = {"messages": [{"role": "user", "content": content}]}
        return server.post_json("/tokenize", body)["tokens"]

    special = server.post_json("/tokenize", {"prompt": "<|end|>"})["tokens"]
    assert len(special) == 1
    assert special[0] not in tokens("<|end|>")


def test_metrics_have_the_names_that_dashboards_know(server, client):
    before = server.metric("vllm:generation_tokens_total")
    sql_before = server.metric("lorry:adapter_requests_total", adapter="sql")
    client.completions.create(model="sql", prompt="a", max_tokens=3, extra_body={"ignore_eos": True})
    assert server.metric("vllm:generation_tokens_total") == before + 3
    assert server.metric("lorry:adapter_requests_total", adapter="sql") == sql_before + 1
    for name in ("vllm:num_requests_running", "vllm:num_requests_waiting", "vllm:kv_cache_usage_perc",
                 "vllm:time_to_first_token_seconds_count", "vllm:e2e_request_latency_seconds_count",
                 "vllm:prompt_tokens_total", "vllm:num_preemptions_total"):
        assert server.samples(name), name
