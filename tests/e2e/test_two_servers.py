"""Two servers on one adapter cache. The same with 20 rounds of 200 registrations: two_servers.py."""

import two_servers


def test_what_was_acknowledged_outlives_kills_of_two_servers():
    assert two_servers.play(rounds=2, registrations=40, seed=7) == 0
