"""Managing adapters while the server runs: Lorry's own routes, and those of vLLM, SGLang, SageMaker and DJL Serving."""

import json
import re
import shutil

import openai
import pytest

from conftest import client_of
from running_server import ROOT, RunningServer, eventually

KEY = {"Authorization": "Bearer admin"}
SQL = ROOT / "demo/adapters/sql"
FRENCH = ROOT / "demo/adapters/french"
QUESTION = [{"role": "user", "content": "List the names of all users older than 30."}]


@pytest.fixture(scope="module")
def managed(tmp_path_factory):
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        with RunningServer("--admin-key", "admin", "--admin-port", "0") as running:
            yield running


def call(server, method, path, body=None, headers=None):
    """(status, body, as JSON where it is JSON)"""
    status, answer_headers, text = server.request(method, path, body, KEY if headers is None else headers)
    is_json = answer_headers.get("content-type", "").startswith("application/json")
    return status, json.loads(text) if is_json else text


def own_listener(server) -> int:
    """The port of the listener for managing, from the log."""
    return int(next(match[1] for line in server.log if (match := re.search(r"managed on 127\.0\.0\.1 port (\d+)", line))))


@pytest.fixture
def name(managed, request):
    """A name of this test's own, gone after it."""
    mine = re.sub(r"[^a-z0-9]+", "-", request.node.name)
    yield mine
    call(managed, "DELETE", f"/v1/adapters/{mine}")


def ask(server, model) -> str:
    with client_of(server) as client:
        answer = client.chat.completions.create(model=model, messages=QUESTION, temperature=0, max_tokens=40)
    return answer.choices[0].message.content


def test_clients_cannot_manage(managed):
    for method, path in [("GET", "/v1/adapters"), ("DELETE", "/v1/adapters/sql"), ("POST", "/adapters"),
                         ("POST", "/v1/load_lora_adapter"), ("POST", "/load_lora_adapter")]:
        for headers in ({}, {"Authorization": "Bearer none"}, {"X-Api-Key": "Admin"}):
            assert call(managed, method, path, headers=headers)[0] == 401, path


def test_a_name_of_the_configuration_stays(tmp_path):
    with RunningServer("--admin-key", "admin", "--adapter", f"mine={SQL}", "--adapter-cache", "none") as server:
        status, answer = call(server, "POST", "/v1/adapters", {"name": "mine", "source": str(FRENCH), "replace": True})
    assert status == 403 and answer["error"]["param"] == "name" and answer["error"]["code"] is None


def test_text_that_cannot_be_used_is_said(managed, name, tmp_path):
    """Its requests are a 422 each, so whoever registers it learns of it."""
    odd = tmp_path / "odd"
    shutil.copytree(SQL, odd)
    (odd / "chat_template.jinja").write_text("{% if %}")
    status, adapter = call(managed, "POST", "/v1/adapters", {"name": name, "source": str(odd)})
    assert status == 201 and "cannot be used" in adapter["error"]["message"] and adapter["error"]["failed_until"] is None
    assert call(managed, "GET", f"/v1/adapters/{name}")[1]["error"] == adapter["error"]
    assert any(f"adapter {name}: its requests are refused" in line for line in managed.log)
    assert managed.request("POST", "/v1/completions", {"model": name, "prompt": "x"})[0] == 422


def test_a_key_that_opens_nothing_is_called_what_it_is(managed):
    def why(headers):
        return call(managed, "GET", "/v1/adapters", headers=headers)[1]["error"]["message"]
    assert "Put it into a header" in why({})
    assert "The key is wrong" in why({"Authorization": "Bearer none"}) and "The key is wrong" in why({"X-Api-Key": "none"})
    assert "of the form: Bearer KEY" in why({"Authorization": "admin"})


def test_the_log_says_what_changed(managed, name):
    """Whichever way, and though the content is at hand: the access line names the adapter, another line says what was done."""
    def says(*parts):
        return eventually(lambda: any(all(part in line for part in parts) for line in managed.log))
    for load in (True, False):
        assert call(managed, "POST", "/v1/adapters", {"name": name, "source": str(SQL), "load": load})[0] == 201
        assert says("POST /v1/adapters 201", f"adapter {name}")
        assert says(f"adapter {name}: registered from {SQL}, content ")  # known from the first time on
        assert call(managed, "PATCH", f"/v1/adapters/{name}", {"pin": True})[0] == 200
        assert says(f"adapter {name}: pinned")
        assert call(managed, "DELETE", f"/v1/adapters/{name}")[0] == 200
        assert says(f"adapter {name}: removed")
        managed.log.clear()
    assert call(managed, "POST", "/v1/load_lora_adapter", {"lora_name": name, "lora_path": str(SQL)})[0] == 200
    assert says("POST /v1/load_lora_adapter 200", f"adapter {name}")


def test_a_mistyped_name_gets_the_nearest(managed, name):
    assert call(managed, "POST", "/v1/adapters", {"name": name, "source": str(SQL), "load": False})[0] == 201
    for method, path, body in [("GET", f"/v1/adapters/{name}s", None), ("DELETE", f"/v1/adapters/{name}s", None),
                               ("PATCH", f"/v1/adapters/{name}s", {"pin": True}), ("GET", f"/adapters/{name}s", None),
                               ("PATCH", f"/v1/adapters/{name}", {"alias_of": f"{name}s"})]:
        status, answer = call(managed, method, path, body)
        assert status == 404 and f"The adapter `{name}s` does not exist. Did you mean `{name}`?" in json.dumps(answer)
    for path in ("/v1/adapters/", "/adapters/"):
        assert f"did you mean {path[:-1]}?" in json.dumps(call(managed, "GET", path)[1])


def test_what_peft_drops_is_said(managed, name, tmp_path):
    """A trainer's own key is dropped, as PEFT drops it, and the answer says so; one that changes the result is refused."""
    odd = tmp_path / "odd"
    shutil.copytree(SQL, odd)
    config = json.loads((odd / "adapter_config.json").read_text())
    (odd / "adapter_config.json").write_text(
        json.dumps(config | {"task_type": "SEQ_2_SEQ_LM", "of_a_trainer": {"lr": 1e-4}}))
    status, adapter = call(managed, "POST", "/v1/adapters", {"name": name, "source": str(odd)})
    assert status == 201, adapter
    assert adapter["error"] is None and adapter["modules"] > 0
    assert ['"of_a_trainer"' in warning for warning in adapter["warnings"]] == [True]
    assert ask(managed, name) == ask(managed, "sql")
    assert any("of_a_trainer" in line for line in managed.log)
    (odd / "adapter_config.json").write_text(json.dumps(config | {"use_qalora": True}))
    status, refused = call(managed, "PATCH", f"/v1/adapters/{name}", {"reload": True})
    assert status == 422 and "use_qalora" in refused["error"]["message"], refused


def test_it_is_off_by_itself(server):
    status, body = call(server, "GET", "/v1/adapters")
    assert status == 404
    assert "--admin-key" in body["error"]["message"]


def test_an_adapter_comes_answers_and_goes(managed, name):
    status, adapter = call(managed, "POST", "/v1/adapters", {"name": name, "source": str(SQL)})
    assert status == 201, adapter
    assert adapter["rank"] > 0 and adapter["modules"] > 0 and adapter["bytes"] > 0
    assert adapter["tier"] in ("host", "pool")
    assert name in [model["id"] for model in managed.get_json("/v1/models")["data"]]
    assert ask(managed, name) == ask(managed, "sql")
    assert eventually(lambda: call(managed, "GET", f"/v1/adapters/{name}")[1]["requests"] == 1)
    status, twin = call(managed, "GET", "/v1/adapters/sql")
    assert status == 200 and twin["id"] == adapter["id"], "the same content has one id"
    assert call(managed, "DELETE", f"/v1/adapters/{name}")[0] == 200
    with pytest.raises(openai.NotFoundError):
        ask(managed, name)


def test_conflict_replace_alias_reload_pin(managed, name):
    register = {"name": name, "source": str(SQL)}
    assert call(managed, "POST", "/v1/adapters", register)[0] == 201
    status, body = call(managed, "POST", "/v1/adapters", register)
    assert (status, body["error"]["code"]) == (409, "conflict")
    status, french = call(managed, "POST", "/v1/adapters", register | {"source": str(FRENCH), "replace": True})
    assert status == 201
    assert ask(managed, name) == ask(managed, "french")
    assert call(managed, "PATCH", f"/v1/adapters/{name}", {"reload": True})[1]["id"] == french["id"]
    status, alias = call(managed, "PATCH", f"/v1/adapters/{name}", {"alias_of": "sql", "pin": True})
    assert status == 200 and alias["pinned"] and alias["id"] != french["id"]
    assert ask(managed, name) == ask(managed, "sql")


def test_a_reload_takes_what_the_directory_has_now(managed, name, tmp_path):
    copy = shutil.copytree(SQL, tmp_path / "adapter")
    assert call(managed, "POST", "/v1/adapters", {"name": name, "source": str(copy)})[0] == 201
    shutil.rmtree(copy)
    shutil.copytree(FRENCH, copy)
    assert call(managed, "PATCH", f"/v1/adapters/{name}", {"reload": True})[0] == 200
    assert ask(managed, name) == ask(managed, "french")


def test_errors_say_what_is_wrong(managed, name, tmp_path):
    def register(**fields):
        return call(managed, "POST", "/v1/adapters", {"name": name} | fields)

    assert register(source=str(tmp_path / "nothing"))[0] == 404
    status, body = register(source=str(SQL), pinned=True)
    assert (status, body["error"]["param"]) == (400, "pinned")
    unfit = shutil.copytree(SQL, tmp_path / "unfit")
    config = json.loads((unfit / "adapter_config.json").read_text(encoding="utf-8"))
    (unfit / "adapter_config.json").write_text(json.dumps(config | {"r": config["r"] + 1}), encoding="utf-8")
    status, body = register(source=str(unfit))
    assert status == 422, body
    assert call(managed, "GET", f"/v1/adapters/{name}")[0] == 404
    assert call(managed, "DELETE", "/v1/adapters/sql")[0] == 403  # from the command line


def test_pages(managed):
    names, after = [], ""
    while after is not None:
        status, page = call(managed, "GET", f"/v1/adapters?limit=3&after={after}")
        assert status == 200
        names += [adapter["name"] for adapter in page["data"]]
        after = page["next"]
    assert names == sorted(set(names)) and len(names) == page["total"] >= 8


def test_vllm(managed, name):
    load = {"lora_name": name, "lora_path": str(SQL)}
    assert call(managed, "POST", "/v1/load_lora_adapter", load) == (
        200, f"Success: LoRA adapter '{name}' added successfully.")
    status, body = call(managed, "POST", "/v1/load_lora_adapter", load)
    assert status == 400 and "has already been loaded" in body["error"]["message"]
    assert call(managed, "POST", "/v1/load_lora_adapter", load | {"load_inplace": True})[0] == 200
    assert ask(managed, name) == ask(managed, "sql")
    assert call(managed, "POST", "/v1/unload_lora_adapter", {"lora_name": name}) == (
        200, f"Success: LoRA adapter '{name}' removed successfully.")
    status, body = call(managed, "POST", "/v1/unload_lora_adapter", {"lora_name": name})
    assert (status, body["error"]["type"]) == (404, "NotFoundError")


def test_sglang(managed, name):
    load = {"lora_name": name, "lora_path": str(SQL)}
    status, body = call(managed, "POST", "/load_lora_adapter", load)
    assert status == 200 and body["success"] and body["loaded_adapters"][name] == str(SQL)
    status, body = call(managed, "POST", "/load_lora_adapter", load)
    assert status == 400 and not body["success"]
    status, body = call(managed, "POST", "/unload_lora_adapter", {"lora_name": name})
    assert status == 200 and name not in body["loaded_adapters"]


def test_sagemaker_and_djl(managed, base, name):
    status, body = call(managed, "POST", "/adapters", {"name": name, "src": str(SQL), "preload": True, "pin": False})
    assert (status, body) == (200, {"status": f"Adapter {name} registered"})
    assert call(managed, "POST", "/adapters", {"name": name, "src": str(SQL)})[0] == 409
    assert call(managed, "DELETE", f"/adapters/{name}")[0] == 200
    of_model = f"/models/{base}/adapters"
    assert call(managed, "POST", f"{of_model}?name={name}&src={SQL}&pin=true")[0] == 200
    assert call(managed, "GET", f"{of_model}/{name}")[1] == [
        {"name": name, "src": str(SQL), "preload": True, "pin": True}]
    assert call(managed, "DELETE", f"{of_model}/{name}")[0] == 200
    assert call(managed, "GET", f"{of_model}/{name}")[0] == 404


def test_who_may_generate_may_load_by_vllms_routes_if_asked(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with RunningServer("--allow-runtime-lora-updating") as open_server:
        load = {"lora_name": "mine", "lora_path": str(SQL)}
        assert call(open_server, "POST", "/v1/load_lora_adapter", load, headers={})[0] == 200
        assert call(open_server, "GET", "/v1/adapters", headers={})[0] == 404


def test_registered_names_survive_a_restart(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    options = ("--admin-key", "admin", "--served-model-name", "base")
    with RunningServer(*options) as first:
        for name in ("kept", "gone"):
            assert call(first, "POST", "/v1/adapters", {"name": name, "source": str(SQL), "pin": True})[0] == 201
        assert call(first, "DELETE", "/v1/adapters/gone")[0] == 200
        before = call(first, "GET", "/v1/adapters/kept")[1]
        answer = ask(first, "kept")
    with RunningServer(*options) as second:
        assert call(second, "GET", "/v1/adapters/gone")[0] == 404
        assert ask(second, "kept") == answer
        after = call(second, "GET", "/v1/adapters/kept")[1]
    same = ("source", "revision", "id", "pinned", "rank", "modules", "bytes", "created")
    assert {field: after[field] for field in same} == {field: before[field] for field in same}


# How each tool registers, and by which answer it knows that it is done.
REGISTER = [
    ("/v1/adapters", lambda name: {"name": name, "source": str(SQL), "load": False}, 201),
    ("/v1/load_lora_adapter", lambda name: {"lora_name": name, "lora_path": str(SQL)}, 200),
    ("/load_lora_adapter", lambda name: {"lora_name": name, "lora_path": str(SQL)}, 200),
    ("/adapters", lambda name: {"name": name, "src": str(SQL), "preload": False}, 200),
]


def test_what_was_answered_survives_a_kill(tmp_path):
    options = ("--admin-key", "admin", "--adapter-cache", str(tmp_path))
    for number in range(21):
        with RunningServer(*options) as running:
            registered = [] if number == 0 else [f"name-{number - 1}", "pinned"]
            for name in registered:
                assert call(running, "GET", f"/v1/adapters/{name}")[0] == 200, (number, name)
            if number:
                assert call(running, "GET", "/v1/adapters/pinned")[1]["pinned"] == (number % 2 == 0)
                assert call(running, "DELETE", f"/v1/adapters/name-{number - 1}")[0] == 200
            else:
                assert call(running, "POST", "/v1/adapters", {"name": "pinned", "source": str(SQL)})[0] == 201
            assert call(running, "PATCH", "/v1/adapters/pinned", {"pin": number % 2 == 1})[0] == 200
            path, body, status = REGISTER[number % len(REGISTER)]
            assert call(running, "POST", path, body(f"name-{number}"))[0] == status
            running.kill()


def test_a_listener_of_its_own_needs_no_key(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with RunningServer("--admin-port", "0") as running:
        assert call(running, "GET", "/v1/adapters", headers={})[0] == 404, "clients' port: it is off there"
        running.port = own_listener(running)
        assert call(running, "POST", "/v1/adapters", {"name": "mine", "source": str(SQL)}, {})[0] == 201
        assert call(running, "GET", "/v1/adapters/mine", headers={})[1]["tier"] in ("host", "pool")
        web_page = {"Origin": "http://example.org"}
        assert call(running, "GET", "/v1/adapters", headers=web_page)[0] == 403
        assert call(running, "POST", "/v1/completions", {"model": "mine", "prompt": "a"}, {})[0] == 404
        assert call(running, "GET", "/health", headers={})[0] == 200
