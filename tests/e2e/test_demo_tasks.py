"""Every adapter does its own task and no other's, all of them mixed in the same batches."""

import subprocess
import sys

from running_server import ROOT


def test_tasks_and_adapters_do_not_mix(server):
    subprocess.run([sys.executable, ROOT / "demo/accuracy.py", "--url", server.url, "--n", "12", "--check"],
                   check=True, timeout=600)


def test_the_first_minute(server):
    subprocess.run([sys.executable, ROOT / "demo/accuracy.py", "--url", server.url, "--first-minute",
                    "--check"], check=True, timeout=600)
