# SPDX-License-Identifier: Apache-2.0
"""A BMC that says no: one clear sentence, at once, without a retry storm, and its session slot is free again."""

from collections.abc import Iterator
from functools import partial

import pytest

from tests.agent.halvm import at, halvm, together
from tests.rig.bmc import Bmc
from tests.rig.udp_proxy import UdpProxy

KG = b"0123456789"
LONG = "--deadline=90"
AT_ONCE_S = 45.0  # half of the deadline; Python's start may take any time on a busy machine
MOST_PACKETS = 30  # of two logins, some sent again on a busy machine: a refusal is believed when it comes again


@pytest.fixture(scope="module")
def keyed() -> Iterator[Bmc]:
    with Bmc("127.0.7.240", kg=KG) as started:
        yield started


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("-l", "ADMIN", "-p", "wrong"), "login: wrong password for user ADMIN"),
        (("-l", "ADMIN", "-p", ""), "login: wrong password for user ADMIN"),
        (("-l", "nobody", "-p", "ADMIN"), "login: unknown user nobody, or not allowed in as"),
        (("-l", "ADMIN", "-p", "ADMIN", "-C", "17"), "login: the BMC does not accept cipher suite 17"),
        (("-l", "user", "-p", "test", "-L", "user"), "chassis power off: refused with completion code 0xd4"),
    ],
)
def test_what_is_wrong_is_named_at_once(bmc: Bmc, proxy: UdpProxy, argv: tuple[str, ...], said: str) -> None:
    outcome = halvm("-a", bmc.address, "-u", str(proxy.port), *argv, "-o", "off", LONG)
    assert (outcome.status, outcome.stdout, len(outcome.lines)) == (1, "", 1)
    assert outcome.lines[0].startswith(f"ERROR: {bmc.address}: {said}")
    assert outcome.took_s < AT_ONCE_S
    assert proxy.passed.to_bmc <= MOST_PACKETS
    assert bmc.power == "on"


@pytest.mark.parametrize("kg", [None, b"another".hex()])
def test_a_wrong_kg_is_named_at_once(keyed: Bmc, kg: str | None) -> None:
    with UdpProxy((keyed.address, keyed.port), address=keyed.address) as proxy:
        given = () if kg is None else (f"--hexadecimal-kg={kg}",)
        outcome = halvm(*at(keyed, proxy.port), "-o", "off", LONG, *given)
        assert (outcome.status, len(outcome.lines)) == (1, 1)
        assert "wrong Kg" in outcome.stderr
        assert outcome.took_s < AT_ONCE_S
        assert proxy.passed.to_bmc <= MOST_PACKETS
    assert keyed.power == "on"


def test_the_right_kg_lets_in(keyed: Bmc) -> None:
    assert halvm(*at(keyed), "-o", "status", f"--hexadecimal-kg={KG.hex()}").stdout == "Status: ON\n"


@pytest.mark.slow
def test_session_slots_are_free_again() -> None:
    """ipmi_sim has 63 slots."""
    with Bmc("127.0.7.241") as own:
        outcomes = together([partial(halvm, *at(own), "-o", "status")] * 70)
        assert {outcome.status for outcome in outcomes} == {0}


@pytest.mark.slow
def test_wrong_passwords_leave_session_slots_free() -> None:
    """ipmi_sim has 63 slots, and frees one by itself after 20 s; each call logs in twice."""
    with Bmc("127.0.7.241") as own:
        outcomes = together([partial(halvm, *at(own, password="wrong"), "-o", "status")] * 35)
        assert {outcome.status for outcome in outcomes} == {1}
        assert all("wrong password for user ADMIN" in outcome.stderr for outcome in outcomes)
        assert halvm(*at(own), "-o", "status", "--deadline=10").status == 0
