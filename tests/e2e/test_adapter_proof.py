"""Short forms of adapter_proof.py."""

from adapter_proof import KilledServers, Reloads


def test_killed_servers_leave_nothing_half_written_that_is_used(tmp_path):
    proof = KilledServers(tmp_path, seed=7)
    proof.run(5)
    assert proof.num_asked > 0


def test_answers_are_wholly_of_one_version_while_a_name_moves(tmp_path):
    proof = Reloads(tmp_path)
    proof.run(30)
    assert all(proof.count_of(version) > 0 for version in proof.versions)
