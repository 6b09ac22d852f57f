"""Sources that mean no good or cannot do better: the right error to the right request, and nothing else happens."""

import concurrent.futures
import http.client
import io
import json
import os
import pickle
import resource
import signal
import struct
import tarfile
import threading
import time
import zipfile
import zlib

import pytest

from adapter_proof import ADAPTERS, admin, ask, bytes_below, clean_answers, files_of, tar_gz_of, zip_of
from running_server import ROOT, RunningServer, eventually

from servers import Fault, Hub, Repo, Site  # adapter_proof has their directory on the path

FILES = files_of("sql")
WEIGHTS = FILES["adapter_model.safetensors"]


@pytest.fixture(scope="module")
def expected():
    return clean_answers(["sql", "french"])


@pytest.fixture(scope="module")
def site():
    with Site() as running:
        yield running


@pytest.fixture(scope="module")
def hub(site):
    with Hub(site) as running:
        yield running


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """All that the server could write to by mistake lies below it."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def victim(home, site, hub):
    with pytest.MonkeyPatch.context() as environment:
        for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
            (home / name).mkdir()
            environment.setenv(name, str(home / name))
        environment.setenv("HF_HOME", str(home / "cache/huggingface"))
        environment.setenv("HF_ENDPOINT", hub.url)
        with RunningServer("--adapter-cache", str(home / "cache"), "--admin-key", "admin",
                           "--allow-private-host", site.host) as server:
            yield server


@pytest.fixture(scope="module", autouse=True)
def streams(victim, expected):
    """Others' requests, all the while: each answer is what it always is."""
    stop = threading.Event()
    answers = []

    def run(model):
        while not stop.is_set():
            answers.append(ask(victim, model) == expected[model])

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        running = [pool.submit(run, model) for model in ("sql", "french")]
        yield
        stop.set()
        for stream in running:
            stream.result()
    assert answers and all(answers)


@pytest.fixture(autouse=True)
def unharmed(victim, home):
    yield
    assert victim.process.poll() is None, "".join(victim.log[-20:])
    for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        assert not any((home / name).iterdir()), name
    assert not [path for path in home.rglob("*") if "evil" in path.name]
    # Downloads that broke off may go on later; what was refused is not kept.
    assert not [path for path in (home / "cache/staging").rglob("*")
                if path.is_file() and path.suffix not in (".lock", ".incomplete")]


def register(server, source: str, name: str = "hostile") -> tuple[int, str, str]:
    """(status, the error's code, its message)"""
    status, body = admin(server, "POST", "/v1/adapters", {"name": name, "source": source})
    if status == 201:
        admin(server, "DELETE", f"/v1/adapters/{name}")
        return status, "", ""
    return status, body["error"]["code"], body["error"]["message"]


def refused(server, source: str, status: int, word: str):
    got, code, message = register(server, source)
    assert (got, word in message) == (status, True), (got, code, message)


def tar_of(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for member, content in members:
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def member(name: str, kind=tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = kind
    info.linkname = link
    return info


# ---- sources that fail


def test_a_good_one_gets_through(victim, site):
    site.put("/good.zip", zip_of(FILES))
    assert register(victim, f"{site.url}/good.zip")[0] == 201


@pytest.mark.parametrize("status, answer", [(401, 401), (403, 403), (404, 404), (500, 424)])
def test_what_a_source_says(victim, site, status, answer):
    path = f"/status-{status}.zip"
    site.fail(path, *[Fault(status=status, method="*") for _ in range(20)])
    assert register(victim, site.url + path)[0] == answer


def test_a_connection_that_always_breaks(victim, site):
    site.put("/cut.zip", zip_of(FILES), ranges=False)
    site.fail("/cut.zip", *[Fault(cut_after=1000) for _ in range(20)])
    assert register(victim, f"{site.url}/cut.zip")[0] == 424


def test_a_redirect_to_a_forbidden_host(victim, site):
    for number, target in enumerate(["http://169.254.169.254/latest/meta-data", "http://localhost:1/x.zip",
                                     "http://[::1]/x.zip", "http://10.0.0.1/x.zip", "file:///etc/passwd"]):
        path = f"/redirect-{number}.zip"
        site.fail(path, *[Fault(status=302, headers={"Location": target}, method="*") for _ in range(4)])
        assert register(victim, site.url + path)[0] == 403, target


def test_a_forbidden_host(victim, hub):
    assert register(victim, "http://127.0.0.1:1/x.zip")[0] == 403


def test_a_wrong_checksum(victim, hub, site):
    hub.add("org/name", Repo(dict(FILES), {"adapter_model.safetensors"}))
    path = next(path for path in site.files if path.startswith("/cdn/"))
    site.fail(path, *[Fault(corrupt=True) for _ in range(20)])
    assert register(victim, "hf://org/name")[0] == 424
    site.faults[path].clear()
    assert register(victim, "hf://org/name")[0] == 201


def test_one_that_hangs_holds_up_nobody(victim, site):
    site.put("/hangs.zip", zip_of(FILES))
    site.fail("/hangs.zip", *[Fault(hang_after=100) for _ in range(60)])
    hanging = []
    for number in range(20):
        connection = http.client.HTTPConnection("127.0.0.1", victim.port, timeout=60)
        body = {"name": f"hangs-{number}", "source": f"{site.url}/hangs.zip?{number}"}
        connection.request("POST", "/v1/adapters", json.dumps(body), {"Authorization": "Bearer admin"})
        hanging.append(connection)
    assert eventually(lambda: len(site.asked("GET", "/hangs.zip")) + len(site.seen) > 0)
    begin = time.monotonic()
    assert register(victim, str(ADAPTERS / "sql"), "local")[0] == 201
    assert time.monotonic() - begin < 10
    for number, connection in enumerate(hanging):
        admin(victim, "DELETE", f"/v1/adapters/hangs-{number}")
        assert connection.getresponse().status == 404
        connection.close()


# ---- archives


@pytest.mark.parametrize("evil", ["../evil", "/tmp/evil", "a/../../evil", "../../HOME/evil"])
def test_a_tar_that_climbs(victim, site, evil):
    name = f"/climbs-{zlib.crc32(evil.encode())}.tar.gz"
    site.put(name, tar_of(*[(member(file), content) for file, content in FILES.items()], (member(evil), b"evil")))
    assert register(victim, site.url + name)[0] in (403, 422)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_a_tar_with_links(victim, site, kind):
    name = f"/links-{kind.decode()}.tar.gz"
    site.put(name, tar_of((member("adapter_config.json"), FILES["adapter_config.json"]),
                          (member("adapter_model.safetensors", kind, "/etc/passwd"), b"")))
    assert register(victim, site.url + name)[0] in (403, 422)


def test_ten_gigabytes_of_zeros(victim, site, home):
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    head = tarfile.TarInfo("adapter_model.safetensors")
    head.size = 10 << 30
    # Each piece is the same bytes after a full flush: what follows the first is repeated, not compressed again.
    packed = packer.compress(head.tobuf(tarfile.PAX_FORMAT)) + packer.flush(zlib.Z_FULL_FLUSH)
    packer.compress(bytes(16 << 20))
    packer.flush(zlib.Z_FULL_FLUSH)
    piece = packer.compress(bytes(16 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    site.put("/zeros.tar.gz", packed + piece * 640)
    begin = time.monotonic()
    status, _, message = register(victim, f"{site.url}/zeros.tar.gz")
    assert status in (403, 413), message
    assert time.monotonic() - begin < 60
    assert bytes_below(home / "cache/staging") < 64 << 20


# ---- contents


class Runs:
    def __reduce__(self):
        return os.system, ("touch evil-was-run",)


def test_a_pickle_with_code(victim, site):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("x/data.pkl", pickle.dumps(Runs(), 2))
        archive.writestr("x/byteorder", "little")
    files = {"adapter_config.json": FILES["adapter_config.json"], "adapter_model.bin": packed.getvalue()}
    site.put("/pickle.zip", zip_of(files))
    assert register(victim, f"{site.url}/pickle.zip")[0] in (403, 422)
    assert not os.path.exists("evil-was-run")


@pytest.mark.parametrize("size", [0, 7, 8, 200, len(WEIGHTS) - 1])
def test_truncated_weights(victim, site, size):
    site.put(f"/short-{size}.zip", zip_of(FILES | {"adapter_model.safetensors": WEIGHTS[:size]}))
    assert register(victim, f"{site.url}/short-{size}.zip")[0] in (422, 424)


def test_weights_that_are_no_numbers(victim, site):
    (length,) = struct.unpack("<Q", WEIGHTS[:8])
    data = bytearray(WEIGHTS)
    data[8 + length : 12 + length] = b"\xff\xff\xff\xff"
    site.put("/nan.zip", zip_of(FILES | {"adapter_model.safetensors": bytes(data)}))
    refused(victim, f"{site.url}/nan.zip", 422, "NaN")


def test_an_adapter_of_another_base(victim):
    status, _, message = register(victim, str(ROOT / "tests/data/oracle/llama-forms/adapters/all-linear-r8"))
    assert status == 422, message


def test_a_configuration_that_is_not_one(victim, site):
    for number, config in enumerate([b"", b"[]", b"{" * 100_000, b'{"peft_type": "LORA", "r": -1}', b"\xff\xfe"]):
        site.put(f"/config-{number}.zip", zip_of(FILES | {"adapter_config.json": config}))
        status, _, message = register(victim, f"{site.url}/config-{number}.zip")
        assert status in (400, 413, 422, 424), (config[:20], status, message)


# ---- a full disk


def test_a_disk_without_room(site, tmp_path, expected):
    """Files over 64 kB cannot be written, which the system reports as it does a full disk."""
    site.put("/full.zip", zip_of(FILES))
    here = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 << 10, here[1]))
    try:
        server = RunningServer("--adapter-cache", str(tmp_path / "cache"), "--admin-key", "admin",
                               "--allow-private-host", site.host)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, here)
        signal.signal(signal.SIGXFSZ, previous)
    with server:
        status, _, message = register(server, f"{site.url}/full.zip")
        assert status in (429, 503), message
        assert register(server, str(ADAPTERS / "sql"))[0] == 201  # the cache is all that it lacks
        assert ask(server, "french") == expected["french"]
        assert bytes_below(tmp_path / "cache") < 1 << 20
