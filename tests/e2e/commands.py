"""`lorry` as people run it, with a cache of its own."""

import json
import os
import pathlib
import subprocess

from running_server import RunningServer, binary


class Commands:
    """The program in a cache of its own."""

    def __init__(self, root: pathlib.Path):
        self.cache = root / "xdg/lorry"
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith(("LORRY_", "VLLM_", "HF_", "AWS_"))}
        self.environment |= {"XDG_CACHE_HOME": str(root / "xdg"), "HF_HOME": str(root / "hf")}

    def start(self, *arguments, **options) -> subprocess.Popen:
        command = [binary(), *map(str, arguments)]
        return subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                env=self.environment, **options)

    def run(self, *arguments) -> tuple[int, str, str]:
        process = self.start(*arguments)
        out, err = process.communicate(timeout=120)
        return process.returncode, out, err

    def do(self, *arguments) -> str:
        code, out, err = self.run(*arguments)
        assert code == 0, err
        return out

    def ls(self, *arguments):
        return json.loads(self.do("ls", "--json", *arguments))

    def serve(self, monkeypatch, *arguments) -> RunningServer:
        monkeypatch.setenv("XDG_CACHE_HOME", self.environment["XDG_CACHE_HOME"])
        return RunningServer("--admin-key", "admin", *arguments)
