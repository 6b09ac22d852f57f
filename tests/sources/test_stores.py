"""Object stores: S3 on a server that checks signatures (s3s-fs, which serves a directory of buckets); what is
asked of Google's and Azure's, on a server that lists and serves as they do."""

import base64
import os
import pathlib
import shutil
import zlib
from urllib.parse import unquote

import pytest

from conftest import FILES, NEEDED, TOOLS, WEIGHTS, read_dir, write_dir
from servers import Buckets, Fault, S3Store, free_port


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    if not S3Store.is_installed():
        pytest.skip(S3Store.MISSING)
    with S3Store(tmp_path_factory.mktemp("buckets")) as running:
        yield running


def settings_of(store, **changes) -> dict:
    return {"settings": {**store.settings(), "AWS_PAGER": "less", **changes}}


@pytest.fixture
def bucket(store):
    root = store.root / "bucket"
    write_dir(root / "team/adapters/sql", FILES)
    (root / "x.tar.gz").write_bytes(WEIGHTS)
    yield root
    shutil.rmtree(root)


def test_a_prefix_brings_what_an_adapter_needs(store, bucket, fetch):
    outcome = fetch("s3://bucket/team/adapters/sql/", **settings_of(store))
    assert outcome["code"] == "ok", outcome
    assert read_dir(outcome["dir"]) == {name: FILES[name] for name in NEEDED}
    again = fetch("s3://bucket/team/adapters/sql", known_revision=outcome["revision"], **settings_of(store))
    assert again["unchanged"]


@pytest.mark.parametrize("name", ["adapter_config.json", TOOLS])
def test_a_changed_object_is_another_revision(store, bucket, fetch, name):
    first = fetch("s3://bucket/team/adapters/sql", **settings_of(store))
    (bucket / "team/adapters/sql" / name).write_bytes(b"{}")
    second = fetch("s3://bucket/team/adapters/sql", known_revision=first["revision"], **settings_of(store))
    assert second["code"] == "ok" and second["revision"] != first["revision"]
    assert read_dir(second["dir"])[name] == b"{}"


def test_an_archive_is_one_object(store, bucket, fetch):
    outcome = fetch("s3://bucket/x.tar.gz", **settings_of(store))
    assert outcome["code"] == "ok" and outcome["archive"] == "archive.tar.gz", outcome
    assert read_dir(outcome["dir"]) == {"archive.tar.gz": WEIGHTS}


@pytest.mark.parametrize("name", ["a b", "a+b", "a=b&c", "ünï", "a%2Fb", "a~b"])
def test_keys_of_any_spelling_are_signed_right(store, bucket, fetch, name):
    write_dir(bucket / name, {needed: FILES[needed] for needed in NEEDED})
    outcome = fetch(f"s3://bucket/{name}", **settings_of(store))
    assert outcome["code"] == "ok", outcome
    assert read_dir(outcome["dir"]) == {needed: FILES[needed] for needed in NEEDED}


def test_refusals_have_their_code(store, bucket, fetch):
    wrong = settings_of(store, AWS_SECRET_ACCESS_KEY="wrong")
    assert fetch("s3://bucket/team/adapters/sql", **wrong)["code"] == "permission"
    assert fetch("s3://bucket/x.tar.gz", **wrong)["code"] == "permission"
    assert fetch("s3://bucket/y.tar.gz", **settings_of(store))["code"] == "not_found"
    assert fetch("s3://bucket/team/adapters", **settings_of(store))["code"] == "not_found"
    assert fetch("s3://nobucket/team", **settings_of(store))["code"] == "not_found"


def test_what_was_interrupted_is_continued(store, bucket, fetch):
    whole = fetch("s3://bucket/x.tar.gz", **settings_of(store))
    staged = pathlib.Path(whole["dir"]) / "archive.tar.gz"
    incomplete = staged.rename(staged.with_name("archive.tar.gz.incomplete"))
    os.truncate(incomplete, 1_000_000)
    before = incomplete.stat().st_ino
    again = fetch("s3://bucket/x.tar.gz", **settings_of(store))
    assert again["code"] == "ok" and staged.read_bytes() == WEIGHTS
    assert staged.stat().st_ino == before


def test_too_large_is_refused_before_it_comes(store, bucket, fetch):
    outcome = fetch("s3://bucket/x.tar.gz", max_bytes=1000, **settings_of(store))
    assert outcome["code"] == "too_large"


def test_a_store_that_is_gone_is_a_failed_source(store, fetch):
    outcome = fetch("s3://bucket/x", retries=1, **settings_of(store, AWS_ENDPOINT_URL=f"http://127.0.0.1:{free_port()}"))
    assert outcome["code"] == "source_failed" and "refused" in outcome["message"], outcome


# ---- Google and Azure ----


@pytest.fixture
def buckets():
    with Buckets() as running:
        for name, content in FILES.items():
            running.store(f"/bucket/team/sql/{name}", content)
        running.store("/bucket/team/sql/deeper/adapter_config.json", b"another")
        running.store("/bucket/x.zip", WEIGHTS)
        yield running


def google(buckets):
    return {"settings": {"GOOGLE_BASE_URL": buckets.url, "GOOGLE_BEARER_TOKEN": "secret"}}


def azure(buckets):
    return {"settings": {"AZURE_STORAGE_ENDPOINT": buckets.url, "AZURE_STORAGE_ACCOUNT_NAME": "me",
                         "AZURE_STORAGE_SAS_TOKEN": "sv=2024-01-01&sig=secret"}}


PROVIDERS = pytest.mark.parametrize(("scheme", "settings"), [("gs", google), ("az", azure)])


@PROVIDERS
def test_other_stores_list_and_serve(buckets, fetch, scheme, settings):
    outcome = fetch(f"{scheme}://bucket/team/sql", **settings(buckets))
    assert outcome["code"] == "ok", outcome
    assert read_dir(outcome["dir"]) == {name: FILES[name] for name in NEEDED}
    for seen in buckets.seen:
        assert seen.headers.get("authorization") == "Bearer secret" or "sig=secret" in seen.path
    buckets.seen.clear()
    again = fetch(f"{scheme}://bucket/team/sql", known_revision=outcome["revision"], **settings(buckets))
    assert again["unchanged"]
    listed, *looked = buckets.seen  # what the listing says is not asked for again
    assert "list" in listed.path and all("/additional_chat_templates/" in unquote(seen.path) for seen in looked)
    assert len(looked) <= 4


@PROVIDERS
def test_a_listing_without_end_is_given_up(buckets, fetch, scheme, settings):
    buckets.endless = True
    outcome = fetch(f"{scheme}://bucket/team/sql", **settings(buckets))
    assert outcome["code"] == "too_large" and "lists more than 16000 objects" in outcome["message"], outcome
    assert buckets.num_pages == 16


@PROVIDERS
def test_other_stores_go_on_where_they_broke(buckets, fetch, scheme, settings):
    buckets.fail("/bucket/x.zip", Fault(cut_after=1_000_000), Fault(status=503))
    outcome = fetch(f"{scheme}://bucket/x.zip", **settings(buckets))
    assert outcome["code"] == "ok", outcome
    assert read_dir(outcome["dir"]) == {"archive.zip": WEIGHTS}
    assert buckets.seen[-1].headers["range"] == "bytes=1000000-"


@PROVIDERS
def test_where_listing_is_refused_files_are_asked_for(buckets, fetch, scheme, settings):
    buckets.list = lambda handler, *_: buckets.send_status(handler, 403)
    outcome = fetch(f"{scheme}://bucket/team/sql", **settings(buckets))
    assert outcome["code"] == "ok", outcome
    assert read_dir(outcome["dir"]) == {name: FILES[name] for name in NEEDED}


@PROVIDERS
@pytest.mark.parametrize(("status", "code"), [(401, "unauthenticated"), (403, "permission"), (404, "not_found"),
                                              (500, "source_failed")])
def test_other_stores_refuse(buckets, fetch, scheme, settings, status, code):
    body = b"<Error><Code>SomeReason</Code></Error>"
    buckets.serve = lambda handler, *_: buckets.send_status(handler, status, {}, body)
    outcome = fetch(f"{scheme}://bucket/x.zip", retries=1, **settings(buckets))
    assert outcome["code"] == code and f"{scheme}://bucket/x.zip" in outcome["message"]
    assert "secret" not in outcome["message"]


def crc_header(content: bytes) -> dict:
    return {"x-amz-checksum-crc32": base64.b64encode(zlib.crc32(content).to_bytes(4, "big")).decode()}


def test_a_checksum_of_the_store_is_held_against_the_bytes(buckets, fetch):
    """S3 sends one to those who ask, with the whole object; also what was resumed must match it."""
    settings = {"settings": {"AWS_ENDPOINT_URL": buckets.url, "AWS_REGION": "here", "AWS_SKIP_SIGNATURE": "true"}}
    buckets.files["/bucket/x.zip"].headers.update(crc_header(WEIGHTS))
    buckets.fail("/bucket/x.zip", Fault(cut_after=1_000_000))
    assert fetch("s3://bucket/x.zip", **settings)["code"] == "ok"
    assert all(seen.headers["x-amz-checksum-mode"] == "ENABLED" for seen in buckets.seen)
    assert buckets.seen[-1].headers["range"] == "bytes=1000000-"

    shutil.rmtree(fetch.staging)
    buckets.fail("/bucket/x.zip", Fault(corrupt=True))
    assert fetch("s3://bucket/x.zip", **settings)["code"] == "ok", "once more"
    shutil.rmtree(fetch.staging)
    buckets.files["/bucket/x.zip"].headers.update(crc_header(b"of something else"))
    outcome = fetch("s3://bucket/x.zip", **settings)
    assert outcome["code"] == "source_failed" and "checksum" in outcome["message"]


def test_settings_that_make_no_sense(fetch):
    assert fetch("az://bucket/x.zip")["code"] == "invalid_argument"
    outcome = fetch("gs://bucket/x.zip", settings={"GOOGLE_SERVICE_ACCOUNT": "/nowhere"})
    assert outcome["code"] == "invalid_argument"
