"""Directories and archives behind plain URLs, on servers that behave and servers that do not."""

import pathlib
import resource
import signal
import subprocess
import time
import json

import pytest

from conftest import CONFIG, FILES, NEEDED, TOOLS, WEIGHTS, kill, read_dir
from servers import Fault, File, tag

MODEL = "/a/adapter_model.safetensors"


@pytest.fixture
def adapter(site):
    for name, content in FILES.items():
        site.put(f"/a/{name}", content)
    return site


@pytest.fixture
def allowed(site):
    return {"allow": [site.host]}


def expect_whole(outcome):
    assert outcome["code"] == "ok", outcome
    assert read_dir(outcome["dir"]) == {name: FILES[name] for name in NEEDED}
    assert outcome["bytes"] == outcome["done"] == outcome["total"] == sum(len(FILES[name]) for name in NEEDED)


def test_directory_brings_what_an_adapter_needs_and_no_more(adapter, fetch, allowed):
    outcome = fetch(adapter.url + "/a/", **allowed)
    expect_whole(outcome)
    assert not outcome["archive"] and not outcome["unchanged"]
    assert not adapter.asked("GET", "README.md")
    assert pathlib.Path(outcome["dir"]).is_relative_to(fetch.staging)


def test_pickled_weights_are_the_second_choice(site, fetch, allowed):
    site.put("/a/adapter_config.json", CONFIG)
    site.put("/a/adapter_model.bin", b"weights")
    outcome = fetch(site.url + "/a", **allowed)
    assert read_dir(outcome["dir"]) == {"adapter_config.json": CONFIG, "adapter_model.bin": b"weights"}


def test_unchanged_is_said_without_fetching(adapter, fetch, allowed):
    first = fetch(adapter.url + "/a", **allowed)
    adapter.seen.clear()
    second = fetch(adapter.url + "/a", known_revision=first["revision"], **allowed)
    assert second["unchanged"] and second["revision"] == first["revision"]
    assert not adapter.asked("GET", "")


@pytest.mark.parametrize("name", ["adapter_model.safetensors", TOOLS])
def test_another_version_replaces_what_was_staged(adapter, fetch, allowed, name):
    first = fetch(adapter.url + "/a", **allowed)
    adapter.put(f"/a/{name}", b"new")
    second = fetch(adapter.url + "/a", known_revision=first["revision"], **allowed)
    assert not second["unchanged"] and second["revision"] != first["revision"]
    assert read_dir(second["dir"])[name] == b"new"
    assert len(list(fetch.staging.iterdir())) == 1


def test_files_without_etag_or_date_are_known_by_their_content(site, fetch, allowed):
    for name in NEEDED:
        site.put(f"/a/{name}", FILES[name], etag=None)
    first = fetch(site.url + "/a", **allowed)
    expect_whole(first)
    site.put(MODEL, b"new", etag=None)
    second = fetch(site.url + "/a", **allowed)
    assert read_dir(second["dir"])["adapter_model.safetensors"] == b"new"
    assert second["revision"] != first["revision"]


@pytest.mark.parametrize("name", ["x.tar.gz", "x.TGZ", "x.tar", "x.zip"])
def test_an_archive_is_brought_as_one_file(site, fetch, allowed, name):
    site.put(f"/d/{name}", WEIGHTS)
    outcome = fetch(f"{site.url}/d/{name}?key=secret", **allowed)
    suffix = name.lower().removeprefix("x")
    assert outcome["archive"] == "archive" + suffix
    assert read_dir(outcome["dir"]) == {outcome["archive"]: WEIGHTS}
    assert site.asked("GET", "?key=secret")


def test_a_url_signed_for_get_alone_works(site, fetch, allowed):
    site.put("/x.zip", WEIGHTS)
    site.fail("/x.zip", Fault(status=403, method="HEAD"))
    outcome = fetch(site.url + "/x.zip", **allowed)
    assert read_dir(outcome["dir"]) == {"archive.zip": WEIGHTS}


def test_a_page_that_stands_for_everything_is_no_file(adapter, fetch, allowed):
    page = File(b"<html>", headers={"Content-Type": "text/html; charset=utf-8"})
    adapter.files["/a/tokenizer.json"] = page
    expect_whole(fetch(adapter.url + "/a", **allowed))


def test_a_page_in_place_of_the_config_is_called_one(site, fetch, allowed):
    site.put("/a/adapter_config.json", b"<html>", headers={"Content-Type": "text/html"})
    site.put("/x.zip", b"<html>", headers={"Content-Type": "text/html; charset=utf-8"})
    for path in ("/a", "/x.zip"):
        outcome = fetch(site.url + path, **allowed)
        assert outcome["code"] == "not_found" and "an HTML page" in outcome["message"], outcome


# ---- looked at before all of it is here ----


def test_weights_that_are_refused_by_their_beginning_do_not_come(site, fetch, allowed):
    site.put("/a/adapter_config.json", CONFIG)
    header = b'{"x":{"dtype":"U8","shape":[33554432],"data_offsets":[0,33554432]}}'
    site.put("/a/adapter_model.safetensors", len(header).to_bytes(8, "little") + header + bytes(1 << 25))
    site.seconds_per_64k = 0.005
    outcome = fetch(site.url + "/a", refuse="adapter_model.safetensors", **allowed)
    assert outcome["code"] == "unfit" and outcome["message"] == f"refused, {8 + len(header) + (1 << 25)} bytes", outcome
    assert outcome["done"] < 1 << 23


def test_whatever_stands_for_weights_is_looked_at_early(site, fetch, allowed):
    for number, content in enumerate([b"<!DOCTYPE html>" + bytes(1 << 25), b"version https://git-lfs", bytes(100)]):
        site.put(f"/{number}/adapter_config.json", CONFIG)
        site.put(f"/{number}/adapter_model.safetensors", content)
        outcome = fetch(f"{site.url}/{number}", refuse="adapter_model.safetensors", **allowed)
        assert outcome["code"] == "unfit", outcome
        assert outcome["done"] < 1 << 24


def test_the_config_is_looked_at_before_anything_else_comes(adapter, fetch, allowed):
    outcome = fetch(adapter.url + "/a", refuse="adapter_config.json", **allowed)
    assert outcome["code"] == "unfit", outcome
    assert [seen.path for seen in adapter.seen if seen.method == "GET"] == ["/a/adapter_config.json"]


# ---- transfers that break ----


def test_a_cut_transfer_goes_on_where_it_broke(adapter, fetch, allowed):
    adapter.fail(MODEL, Fault(cut_after=1_000_000), Fault(cut_after=500_000))
    expect_whole(fetch(adapter.url + "/a", **allowed))
    later = adapter.asked("GET", MODEL)[1:]
    starts = [int(seen.headers["range"].removeprefix("bytes=").rstrip("-")) for seen in later]
    assert starts == [1_000_000, 1_500_000]
    assert all(seen.headers["if-range"] == tag(WEIGHTS) for seen in later)


def test_a_cut_transfer_starts_over_where_there_are_no_ranges(adapter, fetch, allowed):
    adapter.files[MODEL].ranges = False
    adapter.fail(MODEL, Fault(cut_after=1_000_000))
    expect_whole(fetch(adapter.url + "/a", **allowed))


def test_versions_are_never_mixed(adapter, fetch, allowed):
    new = WEIGHTS[::-1]
    adapter.fail(MODEL, Fault(cut_after=1_000_000, change_to=File(new, tag(new))))
    outcome = fetch(adapter.url + "/a", **allowed)
    assert outcome["code"] == "ok", outcome
    assert read_dir(outcome["dir"])["adapter_model.safetensors"] == new


def test_what_a_killed_process_left_is_continued(adapter, fetch, allowed):
    adapter.fail(MODEL, Fault(hang_after=2_000_000))
    process = fetch.start(adapter.url + "/a", idle_timeout_ms=60_000, **allowed)
    deadline = time.monotonic() + 20
    while not any(path.stat().st_size == 2_000_000 for path in fetch.staging.glob("*/*.incomplete")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    kill(process)
    adapter.seen.clear()
    expect_whole(fetch(adapter.url + "/a", **allowed))
    assert [seen.headers["range"] for seen in adapter.asked("GET", MODEL)] == ["bytes=2000000-"]


def test_killed_at_any_moment_leaves_nothing_wrong(adapter, fetch, allowed):
    adapter.seconds_per_64k = 0.002
    for delay_ms in range(5, 125, 8):
        process = fetch.start(adapter.url + "/a", **allowed)
        time.sleep(delay_ms / 1000)
        kill(process)
        for dir in fetch.staging.glob("*"):
            for path, content in read_dir(dir).items():
                assert path.endswith(".incomplete") or content == FILES[path]
    expect_whole(fetch(adapter.url + "/a", **allowed))


def test_a_source_that_hangs_fails_in_time(adapter, fetch, allowed):
    adapter.fail(MODEL, *[Fault(hang_after=10)] * 2)  # a few bytes at a time are no progress
    start = time.monotonic()
    outcome = fetch(adapter.url + "/a", idle_timeout_ms=300, retries=1, **allowed)
    assert outcome["code"] == "source_failed" and "nothing for 300ms" in outcome["message"]
    assert time.monotonic() - start < 20


def test_a_source_that_drips_fails_in_time(adapter, fetch, allowed):
    adapter.fail(MODEL, Fault(drip_s=0.01))
    begin = time.monotonic()
    outcome = fetch(adapter.url + "/a", rate_window_ms=1000, least_bytes_per_second=10_000, **allowed)
    assert outcome["code"] == "source_failed" and "bytes a second" in outcome["message"], outcome
    assert time.monotonic() - begin < 5
    # What came is kept, and a better day goes on from there.
    expect_whole(fetch(adapter.url + "/a", **allowed))


def test_the_whole_time_is_bounded(adapter, fetch, allowed):
    adapter.seconds_per_64k = 0.5
    start = time.monotonic()
    outcome = fetch(adapter.url + "/a", total_timeout_ms=700, **allowed)
    assert outcome["code"] == "source_failed" and "700ms" in outcome["message"]
    assert time.monotonic() - start < 20


def test_cancelling_ends_a_hanging_fetch(adapter, fetch, allowed):
    adapter.fail(MODEL, Fault(hang_after=10))
    start = time.monotonic()
    outcome = fetch(adapter.url + "/a", cancel_after_ms=300, idle_timeout_ms=60_000, **allowed)
    assert outcome["code"] == "cancelled"
    assert time.monotonic() - start < 20


def test_nobody_listening_is_a_failed_source(fetch, site):
    site.server.shutdown()
    site.server.server_close()
    outcome = fetch(site.url + "/a", allow=[site.host], retries=1)
    assert outcome["code"] == "source_failed" and "refused" in outcome["message"], outcome
    assert "(2 attempts)" in outcome["message"]


# ---- answers that refuse ----


@pytest.mark.parametrize("status", [500, 502, 503, 504, 429])
def test_what_may_pass_is_tried_again(adapter, fetch, allowed, status):
    adapter.fail(MODEL, Fault(status=status), Fault(status=status, method="HEAD"))
    expect_whole(fetch(adapter.url + "/a", **allowed))


@pytest.mark.parametrize(
    ("status", "code", "attempts"),
    [(500, "source_failed", 3), (503, "source_failed", 3), (401, "unauthenticated", 1), (403, "permission", 1),
     (404, "not_found", 1), (410, "not_found", 1), (418, "source_failed", 1)],
)
def test_a_refusal_has_its_code(site, fetch, allowed, status, code, attempts):
    site.put("/x.zip", WEIGHTS)
    site.fail("/x.zip", *[Fault(status=status)] * 3)
    outcome = fetch(site.url + "/x.zip", retries=2, **allowed)
    assert outcome["code"] == code and outcome["param"] == "source"
    assert str(status) in outcome["message"]
    assert len(site.asked("GET", "/x.zip")) == attempts


def test_retry_after_is_obeyed(site, fetch, allowed):
    site.put("/x.zip", WEIGHTS)
    site.fail("/x.zip", Fault(status=503, headers={"Retry-After": "1"}))
    start = time.monotonic()
    assert fetch(site.url + "/x.zip", **allowed)["code"] == "ok"
    assert time.monotonic() - start >= 1


@pytest.mark.parametrize("missing", ["adapter_config.json", "adapter_model.safetensors"])
def test_half_an_adapter_is_none(adapter, fetch, allowed, missing):
    del adapter.files[f"/a/{missing}"]
    outcome = fetch(adapter.url + "/a", **allowed)
    assert outcome["code"] == "not_found" and missing in outcome["message"]


def test_messages_keep_what_is_secret(site, fetch, allowed):
    outcome = fetch(f"http://user:hunter2@{site.host}/x.zip?sig=hunter2", token="hunter2", **allowed)
    assert outcome["code"] == "not_found"
    assert "hunter2" not in json.dumps(outcome)


# ---- sizes ----


def test_too_large_is_refused_before_it_comes(adapter, fetch, allowed):
    outcome = fetch(adapter.url + "/a", max_bytes=100_000, **allowed)
    assert outcome["code"] == "too_large" and "100000" in outcome["message"]
    assert not adapter.asked("GET", MODEL)


def test_what_comes_is_counted_not_what_was_announced(site, fetch, allowed):
    site.put("/x.zip", WEIGHTS, length=False)
    outcome = fetch(site.url + "/x.zip", max_bytes=100_000, **allowed)
    assert outcome["code"] == "too_large"
    assert all(path.stat().st_size <= 100_000 for path in fetch.staging.glob("*/*"))


def test_compression_that_nobody_asked_for_is_refused(site, fetch, allowed):
    site.put("/x.zip", b"zeros, zipped", headers={"Content-Encoding": "gzip"})
    outcome = fetch(site.url + "/x.zip", **allowed)
    assert outcome["code"] == "source_failed" and "gzip" in outcome["message"]


def test_a_full_disk_says_so(site, fetch, allowed):
    site.put("/x.zip", WEIGHTS)

    def small_disk():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    command = fetch.command(site.url + "/x.zip", **allowed)
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=small_disk, timeout=60)
    assert json.loads(done.stdout)["code"] == "resource_exhausted"


def test_a_staging_directory_that_cannot_be_made(site, fetch, tmp_path, allowed):
    site.put("/x.zip", WEIGHTS)
    (tmp_path / "file").write_text("")
    outcome = fetch(site.url + "/x.zip", staging=str(tmp_path / "file" / "in"), **allowed)
    assert outcome["code"] == "internal"
