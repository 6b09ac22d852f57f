"""Names that are gone leave the metrics; what requests bring along never gets there; sums stay."""

from running_server import ROOT, RunningServer, eventually

SQL = str(ROOT / "demo/adapters/sql")
ADMIN = {"Authorization": "Bearer admin"}
NAMES = 300


def complete(server, model):
    status, _, text = server.request("POST", "/v1/completions", {"model": model, "prompt": "x", "max_tokens": 1})
    assert status == 200, text


def test_series_do_not_grow_with_names_that_come_and_go():
    with RunningServer(str(ROOT / "demo/base"), "--admin-key", "admin", "--adapter-cache", "none",
                       "--allow-request-source", f"{ROOT}/demo/adapters/*", "--no-access-log") as server:
        complete(server, "base")

        def series():
            return [line for line in server.request("GET", "/metrics")[2].splitlines() if not line.startswith("#")]

        for i in range(NAMES):
            name = f"acme/gone-{i}"
            body = {"name": name, "source": SQL, "load": i % 2 == 0}
            assert server.request("POST", "/v1/adapters", body, ADMIN)[0] == 201
            complete(server, name)
            assert server.request("DELETE", f"/v1/adapters/{name}", None, ADMIN)[0] == 200
            if i == 9:
                after_ten = len(series())
        for task in ("sql", "french", "roman"):
            complete(server, f"file://{ROOT}/demo/adapters/{task}")
        assert eventually(lambda: not any("gone-" in line for line in series()))
        assert not any("demo/adapters" in line for line in series())
        assert len(series()) <= after_ten + 30  # the first scrape is a handler of its own
        assert server.metric("lorry:adapter_requests_total") == NAMES + 3 + 1
        assert server.metric("lorry:adapter_requests_total", adapter="(others)") == NAMES + 3
        assert server.metric("lorry:adapter_generation_tokens_total") == server.metric("vllm:generation_tokens_total")
