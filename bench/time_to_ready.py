"""How long servers take until they are ready, and what memory they have then; several binaries take turns.

    lorry bench make-model --shape 135m --output model
    python bench/time_to_ready.py --model model/base --rounds 10 OLD NEW
"""

import argparse
import pathlib
import re
import statistics
import subprocess
import time

KINDS = {"RssAnon": "anonymous", "RssFile": "of files", "VmHWM": "peak"}


def start(binary: str, model: str, is_cold: bool) -> dict[str, float]:
    if is_cold:
        for path in pathlib.Path(model).iterdir():
            subprocess.run(["dd", f"of={path}", "oflag=nocache", "conv=notrunc,fdatasync", "count=0"],
                           stderr=subprocess.DEVNULL, check=True)
    begin = time.monotonic()
    server = subprocess.Popen([binary, "serve", model, "--host", "127.0.0.1", "--port", "0", "--adapter-cache", "none"],
                              stderr=subprocess.PIPE, text=True)
    try:
        for line in server.stderr:
            if "ready on http" in line:
                break
        else:
            raise SystemExit(f"{binary} did not start")
        found = {"seconds": time.monotonic() - begin}
        status = pathlib.Path(f"/proc/{server.pid}/status").read_text(encoding="utf-8")
        for key in KINDS:
            found[key] = int(re.search(rf"{key}:\s+(\d+) kB", status)[1]) / 1000
        return found
    finally:
        server.terminate()
        server.wait()
        server.stderr.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--cold", action="store_true", help="the model is not in the page cache")
    parser.add_argument("binaries", nargs="+")
    arguments = parser.parse_args()
    runs: dict[str, list[dict]] = {binary: [] for binary in arguments.binaries}
    for _ in range(arguments.rounds):
        for binary, found in runs.items():
            found.append(start(binary, arguments.model, arguments.cold))
    for binary, found in runs.items():
        seconds = statistics.median(run["seconds"] for run in found)
        memory = ", ".join(f"{label} {statistics.median(run[key] for run in found):.0f} MB" for key, label in KINDS.items())
        print(f"{binary}: ready after {seconds:.2f} s; {memory}")


if __name__ == "__main__":
    main()
