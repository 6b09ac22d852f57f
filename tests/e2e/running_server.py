"""One `lorry serve` on a free loopback port, and what tests ask of it without a client library."""

import http.client
import json
import os
import pathlib
import re
import signal
import subprocess
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
READY = re.compile(r"ready on http://127\.0\.0\.1:(\d+)")
START_LIMIT_S = 120
STOP_LIMIT_S = 60


def binary() -> str:
    """The program under test: $LORRY_BINARY, or what `make build` leaves."""
    path = pathlib.Path(os.environ.get("LORRY_BINARY", ROOT / "build/release/lorry"))
    assert path.is_file(), f"{path} is not there: run `make build`, or set LORRY_BINARY"
    return str(path)


class RunningServer:
    """Starts in the constructor, and is ready after it. Use as a context manager; ends by its own process id."""

    def __init__(self, *arguments: str):
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("LORRY_", "VLLM_"))}
        if "LORRY_CPU" in os.environ:
            environment["LORRY_CPU"] = os.environ["LORRY_CPU"]
        command = [binary(), "serve", "--host", "127.0.0.1", "--port", "0", *arguments]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL,
                                        text=True, env=environment)
        self.log: list[str] = []
        self._found_port = threading.Event()
        self.port = 0
        self._reader = threading.Thread(target=self._read_log, daemon=True)
        self._reader.start()
        if not self._found_port.wait(START_LIMIT_S) or not self.port:
            self.kill()
            raise AssertionError("the server did not start:\n" + "".join(self.log))

    def _read_log(self):
        for line in self.process.stderr:
            self.log.append(line)
            match = READY.search(line)
            if match:
                self.port = int(match[1])
                self._found_port.set()
        self._found_port.set()  # it ended

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            assert self.stop() == 0, "".join(self.log[-20:])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def signal_stop(self):
        self.process.send_signal(signal.SIGTERM)

    def wait(self, limit_s: float = STOP_LIMIT_S) -> int:
        code = self.process.wait(limit_s)
        self._reader.join(limit_s)
        return code

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        self.signal_stop()
        try:
            return self.wait()
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def kill(self):
        self.process.kill()
        self.process.wait()

    def request(self, method: str, path: str, body=None, headers=None):
        """(status, headers with lower-case names, text). `body`: bytes, or what is sent as JSON."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            payload = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
            connection.request(method, path, payload, headers or {})
            answer = connection.getresponse()
            text = answer.read().decode()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, text
        finally:
            connection.close()

    def get_json(self, path: str):
        status, _, text = self.request("GET", path)
        assert status == 200, text
        return json.loads(text)

    def post_json(self, path: str, body):
        status, _, text = self.request("POST", path, body)
        assert status == 200, text
        return json.loads(text)

    def metric(self, name: str, **labels: str) -> float:
        """The sum of the samples of that name that have these labels."""
        total = 0.0
        for sample_labels, value in self.samples(name):
            if all(sample_labels.get(key) == expected for key, expected in labels.items()):
                total += value
        return total

    def samples(self, name: str):
        """[(labels, value)] of a metric."""
        _, _, text = self.request("GET", "/metrics")
        found = []
        for line in text.splitlines():
            match = re.fullmatch(re.escape(name) + r"(?:\{(.*)\})? (\S+)", line)
            if match:
                labels = dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', match[1] or ""))
                found.append((labels, float(match[2])))
        return found


def processor_seconds(pid: int) -> float:
    """That a process has used so far."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def eventually(condition, limit_s: float = 20.0) -> bool:
    """True once the condition holds."""
    deadline = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
