"""The Hub's protocol, and its cache shared with Python's huggingface_hub."""

import concurrent.futures
import hashlib
import json
import os
import pathlib
import random
import subprocess
import sys
import time

import pytest

from conftest import CONFIG, FILES, NEEDED, WEIGHTS, kill, read_dir
from servers import Fault, Repo, Site

SHA256 = hashlib.sha256(WEIGHTS).hexdigest()
CDN_FILE = f"/cdn/{SHA256}"
MODEL = "adapter_model.safetensors"


@pytest.fixture
def repo(hub):
    hub.add("org/name", Repo(dict(FILES), {MODEL}))
    return hub.repos["org/name"]


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "hf" / "hub"


@pytest.fixture
def at_hub(hub, cache):
    """What makes a fetch use the small Hub; its CDN is a host that was allowed."""
    return {"hub_endpoint": hub.url, "hub_cache": str(cache), "allow": [hub.cdn.host]}


def python(cache: pathlib.Path, hub: Site, code: str, **env) -> subprocess.CompletedProcess:
    """Runs code with huggingface_hub's own defaults, but for where the Hub and the cache are."""
    env = {**os.environ, "HF_HOME": str(cache.parent), "HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_TELEMETRY": "1",
           "HF_HUB_DISABLE_PROGRESS_BARS": "1", **env}
    env.pop("HF_HUB_CACHE", None)
    return subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=120)


SNAPSHOT = f"from huggingface_hub import snapshot_download as s; print(s('org/name', allow_patterns={NEEDED!r}))"


def layout(cache: pathlib.Path) -> dict[str, str]:
    """Blobs, refs and snapshots: paths with their contents, or where they point."""
    return {
        str(path.relative_to(cache)): os.readlink(path) if path.is_symlink() else hashlib.md5(path.read_bytes()).hexdigest()
        for path in (cache / "models--org--name").rglob("*")
        if (path.is_symlink() or path.is_file()) and path.relative_to(cache).parts[1] in ("blobs", "refs", "snapshots")
    }


def expect_whole(outcome, repo):
    assert outcome["code"] == "ok", outcome
    assert outcome["revision"] == repo.commit
    assert read_dir(outcome["dir"]) == {name: FILES[name] for name in NEEDED}


def test_a_repository_becomes_a_snapshot(hub, repo, cache, fetch, at_hub):
    outcome = fetch("hf://org/name", **at_hub)
    expect_whole(outcome, repo)
    assert outcome["dir"] == str(cache / "models--org--name/snapshots" / repo.commit)
    assert outcome["bytes"] == outcome["total"] == sum(len(FILES[name]) for name in NEEDED)
    assert not fetch.staging.exists()


def test_the_cache_is_what_python_writes(hub, repo, cache, fetch, at_hub, tmp_path):
    pytest.importorskip("huggingface_hub")
    expect_whole(fetch("org/name", **at_hub), repo)
    theirs = tmp_path / "python" / "hub"
    done = python(theirs, hub, SNAPSHOT)
    assert done.returncode == 0, done.stderr
    assert layout(theirs) == layout(cache)


def test_python_reads_what_we_fetched(hub, repo, cache, fetch, at_hub):
    pytest.importorskip("huggingface_hub")
    outcome = fetch("org/name", **at_hub)
    hub.seen.clear()
    done = python(cache, hub, SNAPSHOT, HF_HUB_OFFLINE="1")
    assert done.stdout.strip() == outcome["dir"], done.stderr
    done = python(cache, hub, SNAPSHOT)  # and asks for no bytes again when it may
    assert done.stdout.strip() == outcome["dir"], done.stderr
    assert not hub.asked("GET", MODEL) and len(hub.cdn.asked("GET", "")) == 1


def test_we_use_what_python_fetched(hub, repo, cache, fetch, at_hub):
    pytest.importorskip("huggingface_hub")
    assert python(cache, hub, SNAPSHOT).returncode == 0
    hub.seen.clear()
    hub.cdn.seen.clear()
    expect_whole(fetch("org/name", **at_hub), repo)
    assert not hub.cdn.seen and not hub.asked("GET", ".json")


def test_we_go_on_where_python_was_killed(hub, repo, cache, fetch, at_hub):
    incomplete = cache / "models--org--name/blobs" / f"{SHA256}.incomplete"
    incomplete.parent.mkdir(parents=True)
    incomplete.write_bytes(WEIGHTS[:1_234_567])
    expect_whole(fetch("org/name", **at_hub), repo)
    assert [seen.headers["range"] for seen in hub.cdn.asked("GET", "")] == ["bytes=1234567-"]


# ---- revisions and folders ----


def test_revisions(hub, repo, cache, fetch, at_hub):
    repo.names |= {"v1", "refs/pr/1"}
    for revision in ("v1", "refs%2Fpr%2F1", repo.commit):
        expect_whole(fetch(f"hf://org/name@{revision}", **at_hub), repo)
    refs = cache / "models--org--name/refs"
    assert (refs / "v1").read_text() == repo.commit == (refs / "refs/pr/1").read_text()
    assert not (refs / repo.commit).exists()
    assert len(hub.cdn.asked("GET", "")) == 1, "one blob, many snapshots"
    outcome = fetch("hf://org/name@nope", **at_hub)
    assert outcome["code"] == "not_found"


def test_a_new_commit_under_the_same_name(hub, repo, cache, fetch, at_hub):
    first = fetch("org/name", **at_hub)
    hub.cdn.seen.clear()
    assert fetch("org/name", known_revision=first["revision"], **at_hub)["unchanged"]
    hub.add("org/name", Repo({**FILES, "adapter_config.json": b"{}"}, {MODEL}))
    second = fetch("org/name", known_revision=first["revision"], **at_hub)
    assert second["revision"] == hub.repos["org/name"].commit != first["revision"]
    assert read_dir(second["dir"])["adapter_config.json"] == b"{}"
    assert read_dir(first["dir"])["adapter_config.json"] == CONFIG
    assert not hub.cdn.seen, "the weights are the same blob"


def test_an_adapter_in_a_folder(hub, fetch, at_hub):
    files = {f"checkpoints/last/{name}": content for name, content in FILES.items()}
    hub.add("org/tree", Repo(files, {f"checkpoints/last/{MODEL}"}))
    outcome = fetch("hf://org/tree/checkpoints/last", **at_hub)
    assert outcome["code"] == "ok", outcome
    assert read_dir(outcome["dir"]) == {name: FILES[name] for name in NEEDED}
    outcome = fetch("hf://org/tree", **at_hub)
    assert outcome["code"] == "not_found" and "adapter_config.json" in outcome["message"]


def test_a_renamed_repository_is_followed(hub, repo, fetch, at_hub):
    old = f"/api/models/org/old/revision/main"
    hub.fail(old, Fault(status=307, headers={"Location": "/api/models/org/name/revision/main"}))
    for name in NEEDED:
        moved = Fault(status=307, headers={"Location": f"/org/name/resolve/{repo.commit}/{name}"}, method="*")
        hub.fail(f"/org/old/resolve/{repo.commit}/{name}", moved, moved)
    expect_whole(fetch("org/old", **at_hub), repo)


# ---- tokens ----


def test_a_private_repository(hub, repo, fetch, at_hub):
    repo.private_to = "secret"
    assert fetch("org/name", **at_hub)["code"] == "unauthenticated"
    assert fetch("org/name", token="wrong", **at_hub)["code"] == "not_found"
    expect_whole(fetch("org/name", token="secret", **at_hub), repo)
    assert hub.cdn.seen and not any("authorization" in seen.headers for seen in hub.cdn.seen)
    # What is in the cache is still for those who may read it.
    assert fetch("org/name", **at_hub)["code"] == "unauthenticated"
    expect_whole(fetch("org/name", hub_token="secret", **at_hub), repo)
    assert fetch("org/name", hub_token="secret", token="wrong", **at_hub)["code"] == "not_found"


def test_a_gated_repository(hub, repo, fetch, at_hub):
    why = {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access to model org/name is restricted"}
    hub.fail("/api/models/org/name/revision/main", Fault(status=403, headers=why))
    outcome = fetch("org/name", token="t", **at_hub)
    assert outcome["code"] == "permission" and "is restricted" in outcome["message"]


# ---- offline ----


def test_offline_uses_the_cache_alone(hub, repo, fetch, at_hub):
    outcome = fetch("org/name", offline=True, **at_hub)
    assert outcome["code"] == "not_found" and "offline" in outcome["message"]
    fetch("org/name", **at_hub)
    hub.seen.clear()
    expect_whole(fetch("org/name", offline=True, **at_hub), repo)
    assert fetch("org/name", offline=True, known_revision=repo.commit, **at_hub)["unchanged"]
    assert not hub.seen


def test_offline_takes_no_half_snapshot(hub, repo, cache, fetch, at_hub):
    fetch("org/name", **at_hub)
    (cache / "models--org--name/blobs" / SHA256).unlink()
    outcome = fetch("org/name", offline=True, **at_hub)
    assert outcome["code"] == "not_found" and MODEL in outcome["message"]


# ---- what goes wrong ----


def test_a_wrong_checksum_is_never_kept(hub, repo, cache, fetch, at_hub):
    hub.cdn.fail(CDN_FILE, *[Fault(corrupt=True)] * 10)
    outcome = fetch("org/name", **at_hub)
    assert outcome["code"] == "source_failed" and "checksum" in outcome["message"]
    assert len(hub.cdn.asked("GET", "")) == 2, "once more, not as often as a broken connection"
    assert not (cache / "models--org--name/blobs" / SHA256).exists()
    hub.cdn.faults.clear()
    expect_whole(fetch("org/name", **at_hub), repo)


def test_a_wrong_beginning_is_thrown_away(hub, repo, cache, fetch, at_hub):
    incomplete = cache / "models--org--name/blobs" / f"{SHA256}.incomplete"
    incomplete.parent.mkdir(parents=True)
    incomplete.write_bytes(b"?" * 1000)
    expect_whole(fetch("org/name", **at_hub), repo)


def test_a_cut_transfer_goes_on(hub, repo, fetch, at_hub):
    hub.cdn.fail(CDN_FILE, Fault(cut_after=1_000_000), Fault(cut_after=1_000_000))
    expect_whole(fetch("org/name", **at_hub), repo)
    ranges = [seen.headers.get("range") for seen in hub.cdn.asked("GET", "")]
    assert ranges == [None, "bytes=1000000-", "bytes=2000000-"]


def test_the_hubs_own_failures_pass(hub, repo, fetch, at_hub):
    hub.fail("/api/models/org/name/revision/main", Fault(status=502), Fault(status=429))
    hub.fail(f"/org/name/resolve/{repo.commit}/{MODEL}", Fault(status=503, method="HEAD"), Fault(status=500))
    expect_whole(fetch("org/name", **at_hub), repo)


@pytest.mark.parametrize("answer", [b"not json", b"{}", b'{"sha": "../../x", "siblings": []}'])
def test_an_answer_that_makes_no_sense(hub, fetch, at_hub, answer):
    hub.serve_info = lambda handler, *_: hub.send_status(handler, 200, {}, answer)
    assert fetch("org/name", **at_hub)["code"] == "source_failed"


def test_a_listing_that_drips_fails_in_time(hub, repo, fetch, at_hub):
    def drip(handler, *_):
        handler.send_response(200)
        handler.send_header("Content-Length", "100000")
        handler.end_headers()
        for _ in range(2000):
            handler.wfile.write(b" ")
            handler.wfile.flush()
            if hub.stop.wait(0.01):
                return

    hub.serve_info = drip
    outcome = fetch("org/name", rate_window_ms=1000, least_bytes_per_second=10_000, **at_hub)
    assert outcome["code"] == "source_failed" and "bytes a second" in outcome["message"], outcome


def test_a_million_files_beside_the_adapter_are_passed_over(hub, repo, fetch, at_hub):
    answer = json.dumps({"sha": repo.commit, "siblings": [{"rfilename": name} for name in FILES] +
                         [{"rfilename": f"f{i}"} for i in range(1_000_000)]}).encode()
    assert len(answer) < 32 << 20
    hub.serve_info = lambda handler, *_: hub.send_status(handler, 200, {}, answer)
    expect_whole(fetch("org/name", **at_hub), repo)


@pytest.mark.parametrize("etag", ['"../../../evil"', '""', '".hidden"'])
def test_an_etag_cannot_lead_out_of_the_cache(hub, repo, cache, fetch, at_hub, etag):
    headers = {"Location": f"{hub.cdn.url}/x", "X-Linked-Etag": etag, "X-Repo-Commit": repo.commit}
    hub.fail(f"/org/name/resolve/{repo.commit}/{MODEL}", Fault(status=302, headers=headers, method="HEAD"))
    outcome = fetch("org/name", **at_hub)
    assert outcome["code"] == "source_failed" and "ETag" in outcome["message"]


HOSTILE = ["../../../../tokenizer.json", "/tokenizer.json", "../additional_chat_templates/tool_use.jinja",
           "/additional_chat_templates/tool_use.jinja", "additional_chat_templates/../tokenizer.json",
           "additional_chat_templates/more/tool_use.jinja", "deeper/additional_chat_templates/tool_use.jinja"]


def test_names_from_the_hub_cannot_lead_out_of_the_snapshot(hub, fetch, cache, at_hub):
    hub.add("org/name", Repo({**FILES, **{name: b"evil" for name in HOSTILE}}, set()))
    outcome = fetch("org/name", **at_hub)
    assert read_dir(outcome["dir"]) == {name: FILES[name] for name in NEEDED}


def test_a_redirect_to_a_forbidden_host(hub, repo, fetch, at_hub, site):
    site.put("/x", WEIGHTS)
    for target in (f"{site.url}/x", "http://169.254.169.254/x"):
        hub.redirect_to = target
        outcome = fetch("org/name", **at_hub)
        assert outcome["code"] == "permission" and "not a public address" in outcome["message"]
    assert not site.seen


def test_too_large_is_refused_before_it_comes(hub, repo, fetch, at_hub):
    assert fetch("org/name", max_bytes=1_000_000, **at_hub)["code"] == "too_large"
    assert not hub.cdn.seen


def test_two_at_once_bring_the_bytes_once(hub, repo, fetch, at_hub):
    hub.cdn.seconds_per_64k = 0.01
    with concurrent.futures.ThreadPoolExecutor() as pool:
        for outcome in pool.map(lambda _: fetch("org/name", **at_hub), range(4)):
            expect_whole(outcome, repo)
    assert len(hub.cdn.asked("GET", "")) == 1


def test_killed_at_any_moment_leaves_nothing_wrong(hub, repo, cache, fetch, at_hub):
    hub.cdn.seconds_per_64k = 0.002
    for delay_ms in random.Random(2).sample(range(5, 150), 15):
        process = fetch.start("org/name", **at_hub)
        time.sleep(delay_ms / 1000)
        kill(process)
        for blob in (cache / "models--org--name/blobs").glob("*"):
            assert ".incomplete" in blob.name or blob.read_bytes() in FILES.values()
        outcome = fetch("org/name", offline=True, **at_hub)
        if outcome["code"] == "ok":
            expect_whole(outcome, repo)
    expect_whole(fetch("org/name", **at_hub), repo)
