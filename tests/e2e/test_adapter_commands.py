"""lorry pull, ls, rm, pin, inspect and top: the adapters around a server, and beside one that runs."""

import fcntl
import io
import json
import os
import pathlib
import pty
import re
import shutil
import signal
import struct
import subprocess
import sys
import tarfile
import termios
import time

import pytest

from commands import Commands
from conftest import client_of
from running_server import ROOT, RunningServer, binary, eventually

sys.path.append(str(ROOT / "tests/sources"))
from servers import Fault, Hub, Repo, Site  # noqa: E402

BASE = ROOT / "demo/base"
SQL = ROOT / "demo/adapters/sql"
FRENCH = ROOT / "demo/adapters/french"
LOOPBACK = "--allow-private-host=127.0.0.1"
QUESTION = [{"role": "user", "content": "List the names of all users older than 30."}]


def files_of(directory: pathlib.Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


@pytest.fixture
def lorry(tmp_path):
    return Commands(tmp_path)


@pytest.fixture
def site():
    with Site() as running:
        for path, content in files_of(SQL).items():
            running.put(f"/sql/{path}", content)
        yield running


@pytest.fixture
def hub(lorry):
    with Site() as cdn, Hub(cdn) as running:
        running.add("org/sql", Repo(files_of(SQL), large={"adapter_model.safetensors"}))
        lorry.environment["HF_ENDPOINT"] = running.url
        yield running


def admin(server, method, path, body=None):
    status, _, text = server.request(method, path, body, {"Authorization": "Bearer admin"})
    return status, json.loads(text)


def archive_of(directory: pathlib.Path) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        tar.add(directory, arcname="adapter")
    return packed.getvalue()


# ---- pull


def test_the_files_alone_and_then_an_image(lorry, site):
    source = f"{site.url}/sql"
    assert source in lorry.do("pull", source, LOOPBACK)
    (files,) = lorry.ls()
    assert (files["kind"], files["source"]) == ("files", source)
    weights = "/sql/adapter_model.safetensors"
    fetched = len(site.asked("GET", weights))
    assert "applied 28 of 28 modules" in lorry.do("pull", source, LOOPBACK, "--base", BASE)
    assert len(site.asked("GET", weights)) == fetched, "what is here is not fetched again"
    image = next(entry for entry in lorry.ls() if entry["kind"] == "image")
    assert image["sources"] == [source] and image["rank"] > 0 and image["modules"] == 28
    assert image["bytes"] == pathlib.Path(image["path"]).stat().st_size
    assert "as it is there" in lorry.do("pull", source, LOOPBACK, "--base", BASE)


def test_the_hubs_cache_is_shared(lorry, hub):
    assert "org/sql" in lorry.do("pull", "hf://org/sql", LOOPBACK)
    blobs = pathlib.Path(lorry.environment["HF_HOME"], "hub/models--org--sql/blobs")
    assert any(path.read_bytes() == (SQL / "adapter_model.safetensors").read_bytes() for path in blobs.iterdir())
    asked = len(hub.cdn.seen)
    assert "applied" in lorry.do("pull", "org/sql", LOOPBACK, "--base", BASE)
    assert len(hub.cdn.seen) == asked


def test_archives_and_directories(lorry, tmp_path):
    archive = tmp_path / "sql.tar.gz"
    archive.write_bytes(archive_of(SQL))
    out = lorry.do("pull", archive, FRENCH, "--base", BASE)
    assert out.count("applied 28 of 28 modules") == 2
    assert {entry["sources"][0] for entry in lorry.ls() if entry["kind"] == "image"} == {str(archive), str(FRENCH)}


def test_a_server_starts_from_what_was_pulled(lorry, hub, monkeypatch):
    lorry.do("pull", "hf://org/sql", LOOPBACK, "--base", BASE)
    for variable in ("HF_HOME", "HF_ENDPOINT"):
        monkeypatch.setenv(variable, lorry.environment[variable])
    seen = len(hub.cdn.seen)
    with lorry.serve(monkeypatch, LOOPBACK, "--adapter", "mine=hf://org/sql", str(BASE)) as server:
        assert server.metric("lorry:adapter_load_seconds_count", stage="open") == 1
        assert server.metric("lorry:adapter_load_seconds_count", stage="pack") == 0
        assert len(hub.cdn.seen) == seen
        with client_of(server) as client:
            assert client.chat.completions.create(model="mine", messages=QUESTION, max_tokens=5).choices


def test_a_failure_is_of_its_source_alone(lorry, site, tmp_path):
    wide = shutil.copytree(SQL, tmp_path / "wide")
    config = json.loads((wide / "adapter_config.json").read_text(encoding="utf-8"))
    (wide / "adapter_config.json").write_text(json.dumps(config | {"r": config["r"] + 1}), encoding="utf-8")
    code, out, err = lorry.run("pull", tmp_path / "nothing", wide, FRENCH, "--base", BASE)
    assert code == 1
    assert str(tmp_path / "nothing") in err and str(wide) in err
    assert "applied 28 of 28" in out
    code, _, err = lorry.run("pull", f"{site.url}/sql")
    assert code == 1 and "not a public address" in err
    assert lorry.run("pull", FRENCH, "--base", tmp_path / "nothing")[0] == 1
    assert lorry.run("pull", FRENCH, "--adapter-cache", "none")[0] == 1
    assert lorry.run("pull")[0] == 2
    assert lorry.run("pull", "--bsae", "x", "y")[0] == 2


def test_ctrl_c_leaves_what_the_next_one_goes_on_with(lorry, site):
    weights = (SQL / "adapter_model.safetensors").read_bytes()
    half = len(weights) // 2
    site.fail("/sql/adapter_model.safetensors", Fault(hang_after=half))
    process = lorry.start("pull", f"{site.url}/sql", LOOPBACK, "--base", BASE)
    assert eventually(lambda: list(lorry.cache.rglob("adapter_model.safetensors*")))
    assert eventually(lambda: max(p.stat().st_size for p in lorry.cache.rglob("adapter_model.safetensors*")) >= half)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert "interrupted" in err and "applied" not in out
    assert not [entry for entry in lorry.ls() if entry["kind"] == "image"]
    lorry.do("pull", f"{site.url}/sql", LOOPBACK, "--base", BASE)
    assert site.asked("GET", "adapter_model.safetensors")[-1].headers["range"] == f"bytes={half}-"


def test_two_at_once_take_turns(lorry, site):
    site.seconds_per_64k = 0.01
    both = [lorry.start("pull", f"{site.url}/sql", LOOPBACK, "--base", BASE) for _ in range(2)]
    for process in both:
        _, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
    assert [entry["kind"] for entry in lorry.ls()] == ["image"]


# ---- ls, rm, pin: the cache


def test_rm_by_source_id_and_name(lorry, monkeypatch):
    sources = [SQL, FRENCH, ROOT / "demo/adapters/json"]
    lorry.do("pull", *sources, "--base", BASE)
    by_source = {entry["sources"][0]: entry for entry in lorry.ls()}
    with lorry.serve(monkeypatch, str(BASE)) as server:
        assert admin(server, "POST", "/v1/adapters", {"name": "team/json", "source": str(sources[2])})[0] == 201
    assert "team/json" in lorry.do("ls")
    assert "removed" in lorry.do("rm", str(SQL))
    assert "removed" in lorry.do("rm", by_source[str(FRENCH)]["id"][:8])
    assert "still registered" in lorry.do("rm", "team/json")
    assert lorry.ls() == []
    assert "nothing in" in lorry.do("ls")
    code, _, err = lorry.run("rm", "team/json", "0123")
    assert code == 1 and err.count("nothing in") == 2
    with lorry.serve(monkeypatch, str(BASE)) as server:
        assert admin(server, "GET", "/v1/adapters/team/json")[1]["tier"] == "none"
        with client_of(server) as client:
            assert client.chat.completions.create(model="team/json", messages=QUESTION, max_tokens=5).choices


def test_pinned_images_stay_when_others_leave(lorry):
    room = ["--base", BASE, "--adapter-cache-bytes", "1400kB"]
    lorry.do("pull", SQL, *room)
    assert "stays" in lorry.do("pin", SQL)
    lorry.do("pull", FRENCH, "--adapter-cache-bytes", "20MB", "--base", BASE)
    assert [entry["pinned"] for entry in lorry.ls()].count(True) == 1
    assert "pinned" in lorry.do("ls")
    code, _, err = lorry.run("pull", ROOT / "demo/adapters/json", *room)
    assert code == 1 and "adapter-cache-bytes" in err, err
    assert [entry["sources"] for entry in lorry.ls()] == [[str(SQL)]], "the one without a pin has left"
    assert "may leave" in lorry.do("pin", SQL, "--unpin")
    lorry.do("pull", ROOT / "demo/adapters/json", *room)
    assert [entry["sources"] for entry in lorry.ls()] == [[str(ROOT / "demo/adapters/json")]]


def test_rm_under_a_running_server(lorry, monkeypatch):
    """Whatever leaves the cache, answers go on: from memory, or from the source again."""
    with lorry.serve(monkeypatch, "--adapter-host-bytes", "1MB", str(BASE)) as server:
        sources = {name: ROOT / "demo/adapters" / name for name in ("sql", "french", "json", "date", "morse")}
        for name, source in sources.items():
            assert admin(server, "POST", "/v1/adapters", {"name": name, "source": str(source)})[0] == 201
        assert eventually(lambda: len(lorry.ls()) == len(sources))
        with client_of(server) as client:
            def answers():
                return [client.chat.completions.create(model=name, messages=QUESTION, max_tokens=8, temperature=0)
                        .choices[0].message.content for name in sources]

            before = answers()
            assert "removed" in lorry.do("rm", *sources)
            for _ in range(3):
                assert answers() == before
                lorry.run("rm", *sources)  # what has been written again meanwhile, if anything


# ---- a running server's


def test_a_running_servers_adapters(lorry, monkeypatch):
    with lorry.serve(monkeypatch, str(BASE)) as server:
        there = ["--url", server.url, "--admin-key", "admin"]
        assert admin(server, "POST", "/v1/adapters", {"name": "team/sql", "source": str(SQL)})[0] == 201
        (adapter,) = lorry.ls(*there)
        assert adapter["name"] == "team/sql" and adapter["rank"] > 0
        assert re.search(r"team/sql +\S+ +(host|pool)", lorry.do("ls", *there))
        assert "stays" in lorry.do("pin", "team/sql", *there)
        assert lorry.ls(*there)[0]["pinned"]
        lorry.do("pin", "--unpin", "team/sql", *there)
        assert not lorry.ls(*there)[0]["pinned"]
        lorry.environment["LORRY_ADMIN_KEY"] = "admin"
        lorry.do("rm", "team/sql", "--url", server.url)
        assert lorry.ls("--url", server.url) == []
        code, _, err = lorry.run("rm", "team/sql", "--url", server.url)
        assert code == 1 and "team/sql" in err
        lorry.environment["LORRY_ADMIN_KEY"] = "wrong"
        code, _, err = lorry.run("ls", "--url", server.url)
        assert code == 1 and "401" in err and "LORRY_ADMIN_KEY" in err
    code, _, err = lorry.run("ls", *there)
    assert code == 1 and server.url in err
    assert lorry.run("ls", "--url", "ftp://x")[0] == 1


# ---- inspect


def test_inspect_looks_into_any_source(lorry, site, hub):
    site.put("/packed/sql.tar.gz", archive_of(SQL))
    for source in (f"{site.url}/sql", f"{site.url}/packed/sql.tar.gz", "hf://org/sql", SQL):
        report = json.loads(lorry.do("inspect", source, LOOPBACK, "--base", BASE, "--json"))
        assert report["fits"] and report["applied"] == 28
    code, _, err = lorry.run("inspect", "hf://org/other", LOOPBACK)
    assert code == 1 and "org/other" in err
    assert lorry.run("inspect", f"{site.url}/nothing.zip", LOOPBACK)[0] == 1


# ---- top


def test_one_frame_for_scripts(lorry, monkeypatch):
    with lorry.serve(monkeypatch, "--adapter", f"sql={SQL}", str(BASE)) as server:
        with client_of(server) as client:
            client.chat.completions.create(model="sql", messages=QUESTION, max_tokens=5)
        frame = lorry.do("top", server.url, "--once", "--interval", "200ms")
        assert "\033" not in frame
        assert re.search(r"^streams +0 running, 0 waiting", frame, re.M)
        assert re.search(r"^pool +1 +1\.\d+ MB", frame, re.M)
        assert re.search(r"^sql +\d+\.\d +0\.0 +1$", frame, re.M)
        frame = lorry.do("top", server.url, "--admin-key", "admin", "--interval", "200ms")  # no terminal
        assert re.search(r"^sql +\d+\.\d +0\.0 +1 +pool +\d+ +1\.\d+ MB", frame, re.M)
    code, _, err = lorry.run("top", server.url, "--once")
    assert code == 1 and server.url in err


class Screen:
    """A command on a terminal of its own."""

    def __init__(self, lorry, *arguments, rows=30, columns=100):
        self.master, self.slave = pty.openpty()
        self.resize(rows, columns)
        self.modes = termios.tcgetattr(self.slave)
        command = [binary(), *map(str, arguments)]
        self.process = subprocess.Popen(command, stdin=self.slave, stdout=self.slave, stderr=self.slave,
                                        env=lorry.environment)
        os.set_blocking(self.master, False)
        self.text = ""

    def resize(self, rows, columns):
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read(self) -> str:
        try:
            self.text += os.read(self.master, 1 << 16).decode(errors="replace")
        except BlockingIOError:
            pass
        return self.text

    def shows(self, text: str) -> bool:
        return eventually(lambda: text in self.read())

    def ended(self) -> int:
        code = self.process.wait(20)
        self.read()
        return code

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.master)
        os.close(self.slave)


@pytest.mark.parametrize("end", ["q", "\x03", signal.SIGTERM])
def test_a_live_view_that_leaves_the_terminal_as_it_was(lorry, server, end):
    screen = Screen(lorry, "top", server.url, "--interval", "200ms")
    try:
        assert screen.shows("lorry-demo") and "\033[?1049h" in screen.text
        assert eventually(lambda: screen.read().count("\033[H") >= 3), "it draws again and again"
        assert termios.tcgetattr(screen.slave) != screen.modes
        frames = screen.text.count("\033[H")
        screen.resize(8, 30)
        screen.process.send_signal(signal.SIGWINCH)
        assert eventually(lambda: screen.read().count("\033[H") > frames + 1)
        last = screen.text.rsplit("\033[H", 1)[1].split("\033[J")[0]
        assert last.count("\n") < 8
        assert max(len(line.rstrip("\r")) for line in last.replace("\033[K", "").split("\n")) <= 30, last
        if isinstance(end, str):
            os.write(screen.master, end.encode())
        else:
            screen.process.send_signal(end)
        assert screen.ended() == 0
        assert screen.text.endswith("\033[?25h\033[?1049l")
        assert termios.tcgetattr(screen.slave) == screen.modes
    finally:
        screen.close()


def test_a_bar_on_a_terminal(lorry, site):
    site.seconds_per_64k = 0.05
    screen = Screen(lorry, "pull", f"{site.url}/sql", LOOPBACK)
    try:
        assert screen.ended() == 0
        assert re.search(r"\[#*\.*\] [\d.]+ [kM]?B of 1\.\d+ MB", screen.text), screen.text
        assert screen.text.rsplit("\033[K", 1)[1].startswith(f"{site.url}/sql: ")
    finally:
        screen.close()


def test_a_server_that_goes_and_comes_back(lorry):
    with RunningServer() as running:
        screen = Screen(lorry, "top", running.url, "--interval", "100ms")
        try:
            assert screen.shows("lorry-demo")
            running.stop()
            assert screen.shows("trying again")
            time.sleep(0.3)
            os.write(screen.master, b"q")
            assert screen.ended() == 0
        finally:
            screen.close()
