"""Servers of the source tests, on the loopback: plain HTTP that can misbehave, a Hub in front of it, object stores."""

import contextlib
import dataclasses
import hashlib
import http.server
import json
import os
import pathlib
import socket
import subprocess
import threading
import time
import urllib.parse

ROOT = pathlib.Path(__file__).resolve().parents[2]


@dataclasses.dataclass
class File:
    content: bytes
    etag: str | None = None
    ranges: bool = True
    length: bool = True  # whether the length is announced
    headers: dict = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class Fault:
    """What happens to one request in place of a proper answer."""

    status: int = 0
    headers: dict = dataclasses.field(default_factory=dict)
    cut_after: int | None = None  # bytes of the body, then the connection breaks
    hang_after: int | None = None  # bytes of the body, then nothing more comes
    drip_s: float = 0.0  # between one byte of the body and the next
    method: str = "GET"
    change_to: File | None = None  # afterwards the file is another one
    corrupt: bool = False


@dataclasses.dataclass
class Seen:
    method: str
    path: str
    headers: dict


def tag(content: bytes) -> str:
    return f'"{hashlib.md5(content).hexdigest()}"'


class Site:
    """Plain HTTP: files by path, faults by path in the order in which they come, and what was asked."""

    def __init__(self, tls=None):
        self.files: dict[str, File] = {}
        self.faults: dict[str, list[Fault]] = {}
        self.seen: list[Seen] = []
        self.stop = threading.Event()
        site = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_GET(self):
                site.answer(self)

            do_HEAD = do_GET

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_):
                pass  # clients break off on purpose

        self.server = Server(("127.0.0.1", 0), Handler)
        if tls:
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        self.port = self.server.server_address[1]
        self.host = f"127.0.0.1:{self.port}"
        self.url = f"{'https' if tls else 'http'}://{self.host}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.server.shutdown()
        self.server.server_close()

    def put(self, path: str, content: bytes, **fields):
        fields.setdefault("etag", tag(content))
        self.files[path] = File(content, **fields)

    def fail(self, path: str, *faults: Fault):
        self.faults.setdefault(path, []).extend(faults)

    def asked(self, method: str, path_end: str) -> list[Seen]:
        return [seen for seen in self.seen if seen.method == method and seen.path.endswith(path_end)]

    # ---- what a request gets ----

    def answer(self, handler):
        path = urllib.parse.urlsplit(handler.path).path
        self.seen.append(Seen(handler.command, handler.path, dict(handler.headers)))
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            fault = self.next_fault(urllib.parse.unquote(path), handler.command)
            if fault and fault.status:
                self.send_status(handler, fault.status, fault.headers)
            else:
                self.serve(handler, path, fault or Fault())
        if fault and fault.change_to:
            self.files[path] = fault.change_to

    def next_fault(self, path, method):
        for index, fault in enumerate(self.faults.get(path, [])):
            if fault.method in (method, "*"):
                return self.faults[path].pop(index)
        return None

    def send_status(self, handler, status, headers=None, body=b""):
        handler.send_response(status)
        for name, value in (headers or {}).items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(body)

    def serve(self, handler, path, fault):
        file = self.files.get(path)
        if file is None:
            self.send_status(handler, 404)
            return
        self.serve_file(handler, file, fault)

    def serve_file(self, handler, file, fault):
        start = 0
        content = file.content
        asked = handler.headers.get("Range")
        matches = handler.headers.get("If-Range") in (None, file.etag)
        if asked and file.ranges and matches:
            start = int(asked.removeprefix("bytes=").split("-")[0])
            if start >= len(content):
                self.send_status(handler, 416)
                return
            handler.send_response(206)
            handler.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            handler.send_response(200)
        body = content[start:]
        if file.etag:
            handler.send_header("ETag", file.etag)
        for name, value in file.headers.items():
            handler.send_header(name, value)
        if file.length:
            handler.send_header("Content-Length", str(len(body)))
        else:
            handler.send_header("Connection", "close")
            handler.close_connection = True
        handler.end_headers()
        if handler.command != "HEAD":
            self.send_body(handler, body, fault)

    def send_body(self, handler, body, fault):
        if fault.corrupt:
            body = bytes(255 - byte for byte in body)
        if fault.cut_after is not None or fault.hang_after is not None:
            handler.wfile.write(body[: fault.cut_after if fault.cut_after is not None else fault.hang_after])
            handler.wfile.flush()
            if fault.hang_after is not None:
                self.stop.wait(120)
            handler.close_connection = True
            return
        if fault.drip_s:
            for i in range(len(body)):
                handler.wfile.write(body[i : i + 1])
                handler.wfile.flush()
                if self.stop.wait(fault.drip_s):
                    return
        step = 1 << 16
        for begin in range(0, len(body), step):
            handler.wfile.write(body[begin : begin + step])
            time.sleep(self.seconds_per_64k)

    seconds_per_64k = 0.0


class Buckets(Site):
    """Lists its files as Google's and Azure's stores do; each first segment is a bucket."""

    def serve(self, handler, path, fault):
        query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(handler.path).query))
        if "list-type" in query:
            entry = "<Contents><Key>{}</Key><Size>{}</Size><ETag>{}</ETag><LastModified>{}</LastModified></Contents>"
            page = "<ListBucketResult>{}</ListBucketResult>"
            self.list(handler, path, query, page, entry, "2026-01-02T03:04:05Z")
        elif query.get("comp") == "list":
            entry = ("<Blob><Name>{}</Name><Properties><Content-Length>{}</Content-Length><Etag>{}</Etag>"
                     "<Last-Modified>{}</Last-Modified><Content-Type>x</Content-Type></Properties></Blob>")
            page = "<EnumerationResults><Blobs>{}</Blobs></EnumerationResults>"
            self.list(handler, path, query, page, entry, STORED_AT)
        else:
            super().serve(handler, urllib.parse.unquote(path), fault)

    def list(self, handler, path, query, page, entry, date):
        bucket, prefix = path.strip("/"), query.get("prefix", "")
        keys = [name.removeprefix(f"/{bucket}/") for name in self.files if name.startswith(f"/{bucket}/")]
        here = [key for key in keys if key.startswith(prefix) and "/" not in key[len(prefix):]]
        files = {key: self.files[f"/{bucket}/{key}"] for key in here}
        entries = [entry.format(key, len(file.content), file.etag, date) for key, file in files.items()]
        deeper = {key[: key.index("/", len(prefix)) + 1] for key in keys
                  if key.startswith(prefix) and "/" in key[len(prefix):]}
        name = "BlobPrefix><Name>{}</Name></BlobPrefix" if "Blobs" in page else "CommonPrefixes><Prefix>{}</Prefix></CommonPrefixes"
        entries += [f"<{name.format(folder)}>" for folder in sorted(deeper)]
        if self.endless:  # there is always one more page
            self.num_pages += 1
            entries = [entry.format(f"{prefix}x-{self.num_pages}-{i}", 1, '"x"', date) for i in range(1000)]
            more = f"page-{self.num_pages}"
            entries.append(f"<IsTruncated>true</IsTruncated><NextContinuationToken>{more}</NextContinuationToken>")
            page = page.replace("</Blobs>", f"</Blobs><NextMarker>{more}</NextMarker>")
            if "Blobs" in page:
                entries.pop()
        self.send_status(handler, 200, {"Content-Type": "application/xml"}, page.format("".join(entries)).encode())

    endless = False
    num_pages = 0

    def store(self, path: str, content: bytes):
        self.put(path, content, headers={"Last-Modified": STORED_AT})


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class S3Store:
    """s3s-fs, an S3 server that checks signatures: a directory of buckets. Ended by its process id."""

    PROGRAM = os.environ.get("LORRY_S3S_FS", ROOT / "build/s3s-fs/bin/s3s-fs")
    MISSING = f"{PROGRAM} is not there: tools/setup.sh test installs it"

    @classmethod
    def is_installed(cls) -> bool:
        return os.access(cls.PROGRAM, os.X_OK)

    def __init__(self, root: pathlib.Path):
        self.root = root
        self.port = free_port()
        command = [str(self.PROGRAM), "--access-key", "me", "--secret-key", "secret", "--host", "127.0.0.1", "--port",
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

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(10)

    def settings(self) -> dict[str, str]:
        return {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}", "AWS_REGION": "us-east-1",
                "AWS_ACCESS_KEY_ID": "me", "AWS_SECRET_ACCESS_KEY": "secret"}


STORED_AT = "Fri, 02 Jan 2026 03:04:05 GMT"


@dataclasses.dataclass
class Repo:
    files: dict[str, bytes]
    large: set[str]  # kept outside git (LFS)
    private_to: str = ""  # a token
    commit: str = ""
    names: set[str] = dataclasses.field(default_factory=lambda: {"main"})  # of this commit

    def __post_init__(self):
        state = json.dumps({path: hashlib.sha1(data).hexdigest() for path, data in self.files.items()})
        self.commit = self.commit or hashlib.sha1(state.encode()).hexdigest()


def git_blob_id(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class Hub(Site):
    """The Hub's protocol. Large files are on another host, `cdn`, under their SHA-256."""

    def __init__(self, cdn: Site):
        self.cdn = cdn
        self.repos: dict[str, Repo] = {}
        self.redirect_to = None  # in place of the cdn
        super().__init__()

    def add(self, name: str, repo: Repo):
        self.repos[name] = repo
        for path in repo.large:
            content = repo.files[path]
            self.cdn.put(f"/cdn/{hashlib.sha256(content).hexdigest()}", content, etag='"of-the-cdn"')

    def serve(self, handler, path, fault):
        parts = [urllib.parse.unquote(part) for part in path.strip("/").split("/")]
        if parts[:2] == ["api", "models"] and len(parts) == 6 and parts[4] == "revision":
            self.serve_info(handler, "/".join(parts[2:4]), parts[5])
        elif len(parts) >= 5 and parts[2] == "resolve":
            self.serve_resolve(handler, "/".join(parts[:2]), parts[3], "/".join(parts[4:]), fault)
        else:
            self.send_status(handler, 404)

    def find(self, handler, name, revision):
        """The repository, or None after a refusal as the Hub words it."""
        repo = self.repos.get(name)
        token = handler.headers.get("Authorization", "").removeprefix("Bearer ")
        if repo is None or (repo.private_to and token != repo.private_to):
            status, code = (404, "RepoNotFound") if token else (401, "RepoNotFound")
            self.send_status(handler, status, {"X-Error-Code": code, "X-Error-Message": "Repository not found"})
            return None
        if revision != repo.commit and revision not in repo.names:
            self.send_status(handler, 404, {"X-Error-Code": "RevisionNotFound"})
            return None
        return repo

    def serve_info(self, handler, name, revision):
        repo = self.find(handler, name, revision)
        if repo is None:
            return
        info = {
            "id": name,
            "modelId": name,
            "sha": repo.commit,
            "private": bool(repo.private_to),
            "siblings": [{"rfilename": path} for path in sorted(repo.files)],
        }
        self.send_status(handler, 200, {"Content-Type": "application/json"}, json.dumps(info).encode())

    def serve_resolve(self, handler, name, revision, path, fault):
        repo = self.find(handler, name, revision)
        if repo is None:
            return
        content = repo.files.get(path)
        if content is None:
            self.send_status(handler, 404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": repo.commit})
            return
        if path not in repo.large:
            file = File(content, f'"{git_blob_id(content)}"', headers={"X-Repo-Commit": repo.commit})
            self.serve_file(handler, file, fault)
            return
        sha256 = hashlib.sha256(content).hexdigest()
        headers = {
            "Location": self.redirect_to or f"{self.cdn.url}/cdn/{sha256}?signature=of-the-hub",
            "X-Repo-Commit": repo.commit,
            "X-Linked-Etag": f'"{sha256}"',
            "X-Linked-Size": str(len(content)),
            "ETag": f'"{git_blob_id(content)}"',
        }
        self.send_status(handler, 302, headers)
