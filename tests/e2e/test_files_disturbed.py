"""The short form of files_disturbed.py."""

from files_disturbed import DisturbedFiles


def test_files_that_change_under_the_server_stop_nobody_else(tmp_path):
    proof = DisturbedFiles(tmp_path, seed=3)
    proof.run(30)
    assert proof.counts["undisturbed"] > 50 and proof.counts["disturbed, right"] > 10
    assert sum(proof.errors.values()) > 10
