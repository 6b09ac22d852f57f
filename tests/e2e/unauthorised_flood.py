"""Connections that send all they may without a key, and hold it: what bench/unauthorised_connections.py and a test use."""

import pathlib
import re
import resource
import select
import socket
import time

UNFINISHED_HEADER = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nX-Filler: " + b"x" * (63 << 10)
FIELDS = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\n" + b"".join(b"F%d: v\r\n" % i for i in range(4000))
BODY = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 33554432\r\n\r\n"
CHUNKED = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
OPEN_BODY = b"GET /health HTTP/1.1\r\nHost: x\r\nContent-Length: 33554432\r\n\r\n"
ONCE_LARGE = b"GET /health HTTP/1.1\r\nHost: x\r\nX-Filler: " + b"x" * (60 << 10) + b"\r\n\r\n"

KINDS = {  # what each connection sends
    "a header of 64 KiB, unfinished": lambda: UNFINISHED_HEADER,
    "a header of 4,000 fields, unfinished": lambda: FIELDS,
    "a body of 32 MiB without a key": lambda: BODY + b" " * (1 << 20),
    "chunks without a key": lambda: CHUNKED + (b"10000\r\n" + b" " * (64 << 10) + b"\r\n") * 8,
    "a body to a route that takes none": lambda: OPEN_BODY + b" " * (1 << 20),
    "a whole header of 60 KiB, then one unfinished": lambda: ONCE_LARGE + UNFINISHED_HEADER,
    "1,000 times GET /metrics, nothing read": lambda: b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 1000,
    "nothing": lambda: b"",
}


def resident_bytes(pid: int) -> int:
    status = pathlib.Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) << 10


def allow_descriptors(number: int):
    """Raises this process's limit where it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < number:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(number, hard), hard))


class Flood:
    """So many connections at once, of which nothing is read; each that the server closes is opened anew while `run` runs."""

    def __init__(self, port: int, number: int, contents: list[bytes]):
        self.port, self.number, self.contents = port, number, contents
        self.poll = select.epoll()
        self.open: dict[int, tuple[socket.socket, memoryview]] = {}
        self.num_opened = 0

    def run(self, seconds: float, each_step=lambda: None):
        """Calls each_step about every 20 ms."""
        end, next_step = time.monotonic() + seconds, 0.0
        while time.monotonic() < end:
            for _ in range(min(64, self.number - len(self.open))):
                self._add()
            for number, events in self.poll.poll(0.02, 256):
                self._serve(number, events)
            if time.monotonic() >= next_step:
                each_step()
                next_step = time.monotonic() + 0.02

    def _add(self):
        connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        connection.setblocking(False)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1400)  # else loopback buffers MiBs in the kernel
        connection.connect_ex(("127.0.0.1", self.port))
        content = memoryview(self.contents[self.num_opened % len(self.contents)])
        self.num_opened += 1
        self.open[connection.fileno()] = (connection, content)
        self.poll.register(connection, select.EPOLLOUT | select.EPOLLRDHUP)

    def _serve(self, number: int, events: int):
        connection, rest = self.open[number]
        try:
            if events & (select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR):
                raise ConnectionResetError
            if rest:
                rest = rest[connection.send(rest[:256 << 10]):]
                self.open[number] = (connection, rest)
            if not rest:  # it is held
                self.poll.modify(connection, select.EPOLLRDHUP)
        except BlockingIOError:
            pass
        except OSError:
            self.poll.unregister(connection)
            connection.close()
            del self.open[number]

    def close(self):
        for connection, _ in self.open.values():
            connection.close()
        self.poll.close()
