"""What a refused request is told, and what the log says of it."""

import json

from running_server import RunningServer, eventually


def test_paths_models_and_the_root(server):
    for path, meant in [("/chat/completions", "/v1/chat/completions"), ("//v1/completions", "/v1/completions"),
                        ("/v1/chat/completions/", "/v1/chat/completions"), ("/V1/Completions", "/v1/completions")]:
        status, _, text = server.request("POST", path, {"prompt": "x"})
        assert status == 404 and f"did you mean {meant}?" in text, text
    status, _, text = server.request("POST", "/v1/completions", {"model": "frensh", "prompt": "x"})
    assert status == 404 and "Did you mean `french`?" in text
    assert "Did you mean `sql`?" in server.request("GET", "/v1/models/slq")[2]
    about = server.get_json("/")
    assert about["name"] == "lorry" and about["version"] and "/v1/models" in about["paths"]


def test_access_lines_of_refused_requests_say_why():
    with RunningServer("--api-key", "key", "--log-format", "json") as server:
        key = {"Authorization": "Bearer key"}

        def post(name, body, headers=key, path="/v1/completions"):
            return server.request("POST", path, body, headers | {"X-Request-Id": name})[0]

        assert post("r-key", {"prompt": "x"}, {}) == 401
        assert post("r-model", {"model": "no\u001bone", "prompt": "x"}) == 404
        assert post("r-field", {"model": "sql", "prompt": "x", "temperature": 9}) == 400
        assert post("r-long", {"model": "sql", "prompt": "x", "max_tokens": 10**6}) == 400
        assert post("r-path", {}, path="/v1/nothing") == 404
        assert post("r-gzip", b"x", key | {"Content-Encoding": "gzip"}) == 415
        assert server.request("GET", "/" + "x" * 70_000)[0] == 431
        assert eventually(lambda: any('"status":431' in line for line in server.log))
        lines = {entry.get("request_id"): entry for entry in map(json.loads, server.log)}
    assert lines["r-key"]["error_code"] == "invalid_api_key"
    assert lines["r-model"]["error_code"] == "model_not_found" and lines["r-model"]["model"] == "no\x1bone"
    assert lines["r-field"]["error_param"] == "temperature" and lines["r-field"]["model"] == "sql"
    assert lines["r-long"]["error_code"] == "context_length_exceeded" and lines["r-long"]["model"] == "sql"
    assert "/v1/nothing" in lines["r-path"]["error_message"]
    assert lines["r-gzip"]["error_param"] == "content-encoding"
    too_long = next(entry for entry in lines.values() if entry.get("status") == 431)
    assert "larger than" in too_long["error_message"] and too_long["remote"].startswith("127.0.0.1:")


def test_nobody_forges_a_line():
    with RunningServer() as server:
        body = {"model": "x\n2026-01-01 00:00:00.000 info ready\u001b[2J\u009b", "prompt": "x"}
        assert server.request("POST", "/v1/completions", body)[0] == 404
        assert eventually(lambda: any("model_not_found" in line for line in server.log))
        line = next(line for line in server.log if "model_not_found" in line)
    assert "\\u001b" in line and "\x1b" not in line and "model_not_found, param model, model x\\n" in line
