#!/usr/bin/env python3
"""What the dearest requests of the lane of short text take: bodies of 32 KiB of every kind of text through each tokenizer,
and 61 messages through each chat template, of a server of its own with nothing else to do. Each time is the least of a few.

    bench/worst_short_text.py [--tokenizers DIR] [--chat-templates DIR]

Needs a built lorry ($LORRY_BINARY, or build/release/lorry) and Python. Without the directories it takes those of
$LORRY_TEST_DATA; the demo's own tokenizer and template are always among them.
"""

import argparse
import json
import os
import pathlib
import random
import shutil
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests/e2e"))
from running_server import RunningServer  # noqa: E402
from text_beside import machine  # noqa: E402

BODY_BYTES = (32 << 10) - 512  # of text, with room for the rest of the body: kShortBytes of src/server/text_threads.cc
NUM_MESSAGES = 61  # kShortObjects there, but for the body and what is in it
REPEATS = 5
SHOWN_TEMPLATES = 5


def words(rng: random.Random) -> str:
    letters = "etaoinshrdlucmfwypvbgkjqxz"
    return " ".join("".join(rng.choices(letters, k=rng.randint(1, 9))) for _ in range(BODY_BYTES // 4))


def characters(rng: random.Random, first: int, last: int) -> str:
    return "".join(chr(rng.randint(first, last)) for _ in range(BODY_BYTES))


def kinds() -> dict[str, str]:
    """Each is cut to the body's size."""
    rng = random.Random(11)
    return {
        "English": "The quick brown fox jumps over the lazy dog. " * 800,
        "words at random": words(rng),
        "one letter": "a" * BODY_BYTES,
        "letters without a space": characters(rng, ord("a"), ord("z")),
        "digits": characters(rng, ord("0"), ord("9")),
        "punctuation": characters(rng, 0x21, 0x2F),
        "spaces": " " * BODY_BYTES,
        "lines": "\n" * BODY_BYTES,
        "Chinese": characters(rng, 0x4E00, 0x9FFF),
        "emoji": characters(rng, 0x1F600, 0x1F64F),
        "accents on one letter": "e" + "\u0301" * BODY_BYTES,
    }


def cut(text: str) -> str:
    """As much of it as has room in JSON."""
    while (num_bytes := len(json.dumps(text, ensure_ascii=False).encode())) > BODY_BYTES:
        text = text[:len(text) * BODY_BYTES // num_bytes]
    return text


def least_ms(server: RunningServer, body: dict) -> float | None:
    """None: it is refused."""
    payload = json.dumps(body, ensure_ascii=False).encode()
    assert len(payload) <= 32 << 10 and payload.count(b"{") <= 64
    seconds = []
    for _ in range(REPEATS):
        begin = time.perf_counter()
        if server.request("POST", "/tokenize", payload)[0] != 200:
            return None
        seconds.append(time.perf_counter() - begin)
    return min(seconds) * 1e3


def tokenizers(directory: pathlib.Path | None) -> dict[str, pathlib.Path]:
    found = sorted(directory.glob("*/tokenizer.json")) if directory else []
    return {"demo": ROOT / "demo/base"} | {path.parent.name: path.parent for path in found}


def serve_with(tokenizer: pathlib.Path, scratch: pathlib.Path) -> RunningServer:
    """The demo's model with another tokenizer: its answers mean nothing, /tokenize is right."""
    model = scratch / tokenizer.name
    shutil.copytree(ROOT / "demo/base", model)
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        (model / name).unlink()
        if (tokenizer / name).is_file():
            shutil.copyfile(tokenizer / name, model / name)
    return RunningServer(str(model), "--adapter-cache", "none", "--no-access-log")


def print_tokenizers(directory: pathlib.Path | None):
    columns = tokenizers(directory)
    texts = {name: cut(text) for name, text in kinds().items()}
    times: dict[str, list[str]] = {name: [] for name in texts}
    with tempfile.TemporaryDirectory() as scratch:
        for path in columns.values():
            with serve_with(path, pathlib.Path(scratch)) as server:
                for name, text in texts.items():
                    ms = least_ms(server, {"prompt": text})
                    times[name].append("refused" if ms is None else f"{ms:.1f}")
    print(f"{'32 KiB of text, ms':<28}" + "".join(f"{name:>14}" for name in columns))
    for name, row in times.items():
        print(f"{name:<28}" + "".join(f"{ms:>14}" for ms in row))


def conversation() -> dict:
    content = "The quick brown fox. " * (BODY_BYTES // NUM_MESSAGES // 24)
    roles = ("user", "assistant")
    return {"messages": [{"role": roles[i % 2], "content": content} for i in range(NUM_MESSAGES)]}


def print_templates(directory: pathlib.Path | None):
    paths = [ROOT / "demo/base/chat_template.jinja", *sorted(directory.rglob("*.jinja") if directory else [])]
    times: list[tuple[float, str]] = []
    for path in paths:
        with RunningServer("--adapter-cache", "none", "--no-access-log", "--chat-template", str(path)) as server:
            ms = least_ms(server, conversation())
        if ms is not None:
            times.append((ms, path.name))
    times.sort(reverse=True)
    print(f"\n{NUM_MESSAGES} messages through {len(paths)} chat templates, of which {len(times)} take them: the slowest, ms")
    for ms, name in times[:SHOWN_TEMPLATES]:
        print(f"{name:<70} {ms:.1f}")


def main():
    data = os.environ.get("LORRY_TEST_DATA")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for what in ("tokenizers", "chat-templates"):
        default = pathlib.Path(data, what.replace("-", "_")) if data else None
        parser.add_argument(f"--{what}", type=pathlib.Path, default=default)
    options = parser.parse_args()
    print(f"{machine()}\n")
    print_tokenizers(options.tokenizers)
    print_templates(options.chat_templates)


if __name__ == "__main__":
    main()
