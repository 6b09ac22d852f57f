"""Every adapter does its own task and no other's, all of them mixed in the same batches."""

import subprocess
import sys

from running_server import ROOT


def test_tasks_and_adapters_do_not_mix(server):
    """The small form of demo/accuracy.md. It looks for mix-ups: the wrong adapter gets nothing right on its own task and
    something right on another's. How well the weights do is the table's matter, hence the low bar on own tasks."""
    subprocess.run([sys.executable, ROOT / "demo/accuracy.py", "--url", server.url, "--n", "20", "--check",
                    "--least-own", "50"], check=True, timeout=600)


def test_the_first_minute(server):
    subprocess.run([sys.executable, ROOT / "demo/accuracy.py", "--url", server.url, "--first-minute",
                    "--check"], check=True, timeout=600)
