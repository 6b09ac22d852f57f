"""What is refused, with the status, the param and the exception that the official client makes of it."""

import concurrent.futures
import json

import openai
import pytest

from conftest import LONG, client_of
from running_server import RunningServer


def complete(client, **options):
    return client.completions.create(**({"model": "sql", "prompt": "x"} | options))


def test_unknown_model(client):
    with pytest.raises(openai.NotFoundError) as error:
        complete(client, model="nobody")
    assert error.value.status_code == 404
    assert error.value.code == "model_not_found"
    assert error.value.param == "model"


def test_unknown_path(server):
    status, _, text = server.request("GET", "/v1/embeddings")
    assert status == 404
    assert json.loads(text)["error"]["type"] == "invalid_request_error"


def test_wrong_method(server):
    status, headers, _ = server.request("GET", "/v1/completions")
    assert status == 405
    assert "POST" in headers["allow"]


def test_head_and_options(server):
    assert server.request("HEAD", "/health")[::2] == (200, "")
    status, headers, _ = server.request("OPTIONS", "/v1/completions")
    assert (status, headers["allow"]) == (204, "POST, OPTIONS")


@pytest.mark.parametrize("param, value", [
    ("temperature", -1), ("temperature", 3), ("top_p", 2), ("n", 0), ("max_tokens", -1),
    ("logprobs", 1000), ("presence_penalty", 5), ("stop", ["a"] * 100), ("best_of", 3),
    ("suffix", "x"), ("logit_bias", {"999999": 1}), ("seed", "x"),
])
def test_bad_parameters_are_named(client, param, value):
    with pytest.raises(openai.BadRequestError) as error:
        complete(client, **{param: value})
    assert error.value.status_code == 400
    assert error.value.param == param
    assert param in error.value.body["message"]


def test_what_is_not_supported_is_said(client):
    with pytest.raises(openai.BadRequestError) as error:
        client.chat.completions.create(model="sql", messages=[{"role": "user", "content": "x"}],
                                       response_format={"type": "json_object"})
    assert error.value.param == "response_format"
    with pytest.raises(openai.BadRequestError) as error:
        client.chat.completions.create(
            model="sql",
            messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}])
    assert error.value.param == "messages[0].content[0].type"


def test_too_long(client):
    longest = client.models.list().data[0].max_model_len
    with pytest.raises(openai.BadRequestError) as error:
        complete(client, prompt=[65] * longest)
    assert error.value.code == "context_length_exceeded"
    assert f"maximum context length is {longest} tokens" in error.value.body["message"]
    with pytest.raises(openai.BadRequestError) as error:
        complete(client, max_tokens=longest)
    assert error.value.code == "context_length_exceeded"


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff\xfe", b'{"prompt":' + b"[" * 10000])
def test_bodies_that_are_no_json_object(server, body):
    status, _, text = server.request("POST", "/v1/completions", body)
    assert status == 400
    assert json.loads(text)["error"]["message"]


def test_request_ids_come_back(server, client):
    _, headers, _ = server.request("GET", "/v1/models", headers={"X-Request-Id": "abc"})
    assert headers["x-request-id"] == "abc"
    assert complete(client, max_tokens=1)._request_id


def test_api_keys():
    with RunningServer("--api-key", "right", "--api-key", "also") as server:
        with pytest.raises(openai.AuthenticationError) as error:
            client_of(server, "wrong").models.list()
        assert error.value.code == "invalid_api_key"
        assert client_of(server, "right").models.list().data
        assert client_of(server, "also").models.list().data
        for path in ("/health", "/ready", "/version", "/metrics"):
            assert server.request("GET", path)[0] == 200
        assert server.request("POST", "/tokenize", {"prompt": "x"})[0] == 401


def test_bodies_beyond_the_limit():
    with RunningServer("--max-body", "64KB") as server:
        with pytest.raises(openai.APIStatusError) as error:
            complete(client_of(server), prompt="x" * 100_000)
        assert error.value.status_code == 413
        assert error.value.code == "request_too_large"
        assert complete(client_of(server), max_tokens=1).choices


def test_a_full_queue():
    with RunningServer("--max-num-seqs", "1", "--max-waiting", "2") as server:
        client = client_of(server)

        def attempt(_):
            try:
                return complete(client, **LONG)
            except openai.RateLimitError as error:
                return error

        with concurrent.futures.ThreadPoolExecutor(12) as pool:
            results = list(pool.map(attempt, range(12)))
        refused = [result for result in results if isinstance(result, openai.RateLimitError)]
        served = [result for result in results if not isinstance(result, openai.RateLimitError)]
        assert refused and served
        assert all(int(error.response.headers["retry-after"]) >= 1 for error in refused)
        assert all(answer.usage.completion_tokens == LONG["max_tokens"] for answer in served)
        assert complete(client, max_tokens=1).choices  # and then there is room again


def test_a_request_brings_half_of_what_may_wait_at_most():
    with RunningServer("--max-waiting", "8") as server:
        assert len(complete(client_of(server), prompt=["a", "b"], n=2, max_tokens=1).choices) == 4
        with pytest.raises(openai.BadRequestError, match="5 sequences; the limit is 4"):
            complete(client_of(server), prompt=["a", "b", "c", "d", "e"], max_tokens=1)


def test_the_client_retries_when_told_to():
    with RunningServer("--max-num-seqs", "1", "--max-waiting", "1") as server:
        patient = client_of(server).with_options(max_retries=20)
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(
                lambda _: complete(patient, max_tokens=100, extra_body={"ignore_eos": True}), range(4)))
        assert all(answer.usage.completion_tokens == 100 for answer in answers)
