"""Object stores, on a server that checks signatures: s3s-fs, which serves a directory of buckets."""

import os
import pathlib
import re
import shutil
import socket
import subprocess
import time

import pytest

from conftest import FILES, NEEDED, ROOT, WEIGHTS, read_dir

PROGRAM = os.environ.get("LORRY_S3S_FS", ROOT / "build/s3s-fs/bin/s3s-fs")
pytestmark = pytest.mark.skipif(
    not os.access(PROGRAM, os.X_OK), reason=f"{PROGRAM} is not there: tools/setup.sh test installs it"
)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Store:
    """Ended by its process id when the tests are done with it."""

    def __init__(self, root: pathlib.Path):
        self.root = root
        self.port = free_port()
        command = [str(PROGRAM), "--access-key", "me", "--secret-key", "secret", "--host", "127.0.0.1", "--port",
                   str(self.port), str(root)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                assert self.process.poll() is None and time.monotonic() < deadline
                time.sleep(0.05)

    def stop(self):
        self.process.terminate()
        self.process.wait(10)

    def settings(self, **changes) -> dict:
        settings = {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}", "AWS_REGION": "us-east-1",
                    "AWS_ACCESS_KEY_ID": "me", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_PAGER": "less"}
        return {"settings": {**settings, **changes}}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    running = Store(tmp_path_factory.mktemp("buckets"))
    yield running
    running.stop()


@pytest.fixture
def bucket(store):
    root = store.root / "bucket"
    folder = root / "team/adapters/sql"
    folder.mkdir(parents=True)
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    (root / "x.tar.gz").write_bytes(WEIGHTS)
    yield root
    shutil.rmtree(root)


def test_a_prefix_brings_what_an_adapter_needs(store, bucket, fetch):
    outcome = fetch("s3://bucket/team/adapters/sql/", **store.settings())
    assert outcome["code"] == "ok", outcome
    assert read_dir(outcome["dir"]) == {name: FILES[name] for name in NEEDED}
    again = fetch("s3://bucket/team/adapters/sql", known_revision=outcome["revision"], **store.settings())
    assert again["unchanged"]


def test_a_changed_object_is_another_revision(store, bucket, fetch):
    first = fetch("s3://bucket/team/adapters/sql", **store.settings())
    (bucket / "team/adapters/sql/adapter_config.json").write_bytes(b"{}")
    second = fetch("s3://bucket/team/adapters/sql", known_revision=first["revision"], **store.settings())
    assert second["code"] == "ok" and second["revision"] != first["revision"]
    assert read_dir(second["dir"])["adapter_config.json"] == b"{}"


def test_an_archive_is_one_object(store, bucket, fetch):
    outcome = fetch("s3://bucket/x.tar.gz", **store.settings())
    assert outcome["code"] == "ok" and outcome["archive"] == "archive.tar.gz", outcome
    assert read_dir(outcome["dir"]) == {"archive.tar.gz": WEIGHTS}


@pytest.mark.parametrize("name", ["a b", "a+b", "a=b&c", "ünï", "a%2Fb", "a~b"])
def test_keys_of_any_spelling_are_signed_right(store, bucket, fetch, name):
    folder = bucket / name
    folder.mkdir()
    for needed in NEEDED:
        (folder / needed).write_bytes(FILES[needed])
    outcome = fetch(f"s3://bucket/{name}", **store.settings())
    assert outcome["code"] == "ok", outcome
    assert read_dir(outcome["dir"]) == {needed: FILES[needed] for needed in NEEDED}


def test_refusals_have_their_code(store, bucket, fetch):
    wrong = store.settings(AWS_SECRET_ACCESS_KEY="wrong")
    assert fetch("s3://bucket/team/adapters/sql", **wrong)["code"] == "permission"
    assert fetch("s3://bucket/x.tar.gz", **wrong)["code"] == "permission"
    assert fetch("s3://bucket/y.tar.gz", **store.settings())["code"] == "not_found"
    assert fetch("s3://bucket/team/adapters", **store.settings())["code"] == "not_found"
    assert fetch("s3://nobucket/team", **store.settings())["code"] == "not_found"


def test_what_was_interrupted_is_continued(store, bucket, fetch):
    whole = fetch("s3://bucket/x.tar.gz", **store.settings())
    staged = pathlib.Path(whole["dir"]) / "archive.tar.gz"
    incomplete = staged.rename(staged.with_name("archive.tar.gz.incomplete"))
    os.truncate(incomplete, 1_000_000)
    before = incomplete.stat().st_ino
    again = fetch("s3://bucket/x.tar.gz", **store.settings())
    assert again["code"] == "ok" and staged.read_bytes() == WEIGHTS
    assert staged.stat().st_ino == before


def test_too_large_is_refused_before_it_comes(store, bucket, fetch):
    outcome = fetch("s3://bucket/x.tar.gz", max_bytes=1000, **store.settings())
    assert outcome["code"] == "too_large"


def test_a_store_that_is_gone_is_a_failed_source(store, fetch):
    outcome = fetch("s3://bucket/x", retries=1, **store.settings(AWS_ENDPOINT_URL=f"http://127.0.0.1:{free_port()}"))
    assert outcome["code"] == "source_failed" and re.search("refused", outcome["message"]), outcome
