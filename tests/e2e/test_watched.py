"""A watched directory while the server runs: what changes, what is passed over, what it costs to do nothing."""

import json
import shutil
import time

from running_server import ROOT, RunningServer, eventually, processor_seconds

ADAPTERS = ROOT / "demo/adapters"


def say(server, model: str) -> str:
    body = {"model": model, "messages": [{"role": "user", "content": "42"}], "max_tokens": 20, "temperature": 0}
    status, _, text = server.request("POST", "/v1/chat/completions", body)
    return json.loads(text)["choices"][0]["message"]["content"] if status == 200 else f"{status} {text}"


def test_changes_are_seen_soon_and_bad_ones_change_nothing(tmp_path):
    watched = tmp_path / "watched"
    shutil.copytree(ADAPTERS / "roman", tmp_path / "v1")
    shutil.copytree(ADAPTERS / "french", tmp_path / "v2")
    shutil.copytree(ADAPTERS / "french", watched / "team/copy")
    (watched / "current").symlink_to(tmp_path / "v1")
    with RunningServer(str(ROOT / "demo/base"), "--adapter-dir", str(watched), "--threads", "1", "--kv-memory",
                       "64MiB", "--adapter-cache", "none") as server:
        assert say(server, "current") == "XLII"
        (tmp_path / "link").symlink_to(tmp_path / "v2")
        (tmp_path / "link").rename(watched / "current")
        # Within a second where nobody else needs the processor (watch_rounds_test.cc); by looking at everything, after 20.
        assert eventually(lambda: say(server, "current") == "quarante-deux", 10)

        assert say(server, "team/copy") == "quarante-deux"
        config = watched / "team/copy/adapter_config.json"
        good = config.read_text()
        config.write_text(json.dumps({**json.loads(good), "r": 999}))
        assert eventually(lambda: any("team/copy" in line and "changed" in line for line in server.log))
        assert say(server, "team/copy") == "quarante-deux"
        shutil.copytree(ADAPTERS / "roman", watched / "team/copy", dirs_exist_ok=True)
        assert eventually(lambda: say(server, "team/copy") == "XLII")

        shutil.copytree(ADAPTERS / "sql", watched / "not a name")
        assert eventually(lambda: any("not a name" in line for line in server.log))
        before = processor_seconds(server.process.pid)
        time.sleep(3)
        assert processor_seconds(server.process.pid) - before < 0.3
        assert len([line for line in server.log if "not a name" in line]) == 1
