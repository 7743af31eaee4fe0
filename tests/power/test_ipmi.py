# SPDX-License-Identifier: Apache-2.0
"""IpmiChassisPower against ipmi_sim: what it reaches, what it says when it is refused, how few packets it needs."""

import subprocess
import sys

import pytest

from fencer.errors import UsageError
from fencer.model import BmcSettings, ChassisCommand, Method, PowerState, Privilege, Secret
from fencer.observations import ChassisCommanded, ChassisObserved, PowerDone, SessionOpened
from fencer.power.ipmi import IpmiChassisPower
from fencer.power.procedure import PowerAim, PowerGoal, PowerTiming
from tests.power.forked import Ended, forked
from tests.power.seen import Seen
from tests.rig import require_program
from tests.rig.bmc import Bmc
from tests.rig.udp_proxy import OPEN_SESSION_RESPONSE, RAKP_4, UdpProxy, Way, payload_type

pytestmark = pytest.mark.peer

OFF, ON = ChassisObserved(PowerState.OFF), ChassisObserved(PowerState.ON)
STATUS = PowerGoal(PowerAim.STATUS)


def settings(at: Bmc | UdpProxy) -> BmcSettings:
    return BmcSettings(at.address, at.port, b"ADMIN", Secret(b"ADMIN"))


def refused(ended: Ended) -> str:
    """The one final sentence of a run that was not let in."""
    assert len(ended.seen) == 1
    assert ended.failure.final
    return ended.failure.reason


def test_off(bmc: Bmc) -> None:
    ended = forked(settings(bmc), PowerGoal(PowerAim.OFF))
    assert ended.seen == Seen((SessionOpened(), ON, ChassisCommanded(ChassisCommand.OFF), OFF, PowerDone()))
    assert bmc.power == "off"


def test_on(bmc: Bmc) -> None:
    bmc.power = "off"
    assert forked(settings(bmc), PowerGoal(PowerAim.ON)).done
    assert bmc.power == "on"


def test_reboot(bmc: Bmc) -> None:
    assert forked(settings(bmc), PowerGoal(PowerAim.REBOOT)).done
    assert bmc.commands() == ["power 0", "power 1"]


def test_reboot_by_cycle(bmc: Bmc) -> None:
    """ipmi_sim hands a power cycle to its hook as a reset: no off phase is ever seen, so off is made certain."""
    ended = forked(settings(bmc), PowerGoal(PowerAim.REBOOT, Method.CYCLE), PowerTiming(cycle_watch_s=0.2))
    assert ended.done
    assert OFF in ended.seen
    assert bmc.commands()[-2:] == ["power 0", "power 1"]


@pytest.mark.parametrize(("power", "seen"), [("on", ON), ("off", OFF)])
def test_status(bmc: Bmc, power: str, seen: ChassisObserved) -> None:
    bmc.power = power
    assert forked(settings(bmc), STATUS).seen == Seen((SessionOpened(), seen, PowerDone()))


def test_diag_is_sent(bmc: Bmc) -> None:
    """ipmi_sim does not know the diagnostic interrupt and says so; nothing else happens to the chassis."""
    ended = forked(settings(bmc), PowerGoal(PowerAim.DIAG))
    assert ended.done or "chassis power diag: refused with completion code" in ended.failure.reason
    assert bmc.power == "on"


def test_reboot_packets(bmc: Bmc, proxy: UdpProxy) -> None:
    """Of many tries, since on a busy machine an answer may come so late that the packet was sent again."""
    for _ in range(40):
        proxy.reset_counts()
        assert forked(settings(proxy), PowerGoal(PowerAim.REBOOT)).done
        passed = proxy.passed
        if max(passed.to_bmc, passed.to_client) <= 12:
            return
    raise AssertionError(passed)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"password": Secret(b"open sesame")}, "login: wrong password for user ADMIN"),
        ({"username": b"nobody"}, "login: unknown user nobody, or not allowed in as operator"),
        ({"username": b"nobody", "privilege": Privilege.USER}, "login: unknown user nobody, or not allowed in as user"),
        ({"kg": Secret(b"open sesame")}, "login: wrong Kg (BMC key)"),
        ({"cipher": 17}, "login: the BMC does not accept cipher suite 17 (invalid authentication algorithm)"),
    ],
)
def test_a_refused_login_is_one_sentence_and_no_storm(
    bmc: Bmc, proxy: UdpProxy, change: dict[str, object], sentence: str
) -> None:
    ended = forked(settings(proxy)._replace(**change), STATUS)  # type: ignore[arg-type]
    assert refused(ended) == f"127.0.0.1: {sentence}"
    assert proxy.passed.to_bmc <= 30  # of two logins: a refusal is believed when it comes again


def test_kg(bmc: Bmc) -> None:
    with Bmc(kg=b"0123456789") as keyed:
        assert forked(settings(keyed)._replace(kg=Secret(b"0123456789")), STATUS).done
        assert refused(forked(settings(keyed), STATUS)) == "127.0.0.1: login: wrong Kg (BMC key)"


def test_a_session_without_the_privilege_is_refused_the_command(bmc: Bmc) -> None:
    ended = forked(settings(bmc)._replace(privilege=Privilege.USER), PowerGoal(PowerAim.OFF))
    assert ended.failure.final
    assert ended.failure.reason.endswith(
        "chassis power off: refused with completion code 0xd4 (insufficient privilege)"
    )
    assert bmc.power == "on"


def test_a_privilege_that_is_not_granted(bmc: Bmc, proxy: UdpProxy) -> None:
    proxy.tamper = _answer(RAKP_4, 0x0A)
    ended = forked(settings(proxy)._replace(privilege=Privilege.ADMINISTRATOR), STATUS)
    assert refused(ended) == "127.0.0.1: login: privilege level administrator is not granted to user ADMIN"


def test_administrator_gives_way_to_operator(bmc: Bmc, proxy: UdpProxy) -> None:
    answered: list[bytes] = []

    def refuse_first(way: Way, packet: bytes) -> bytes:
        if payload_type(packet) == RAKP_4 and not answered:
            answered.append(packet)
            return _with_status(packet, 0x0A)
        return packet

    proxy.tamper = refuse_first
    assert forked(settings(proxy), PowerGoal(PowerAim.OFF)).done
    assert answered
    assert bmc.power == "off"


def test_no_free_session_slot_is_worth_another_attempt(bmc: Bmc, proxy: UdpProxy) -> None:
    proxy.tamper = _answer(OPEN_SESSION_RESPONSE, 0x01)
    ended = forked(settings(proxy), STATUS)
    assert not ended.failure.final
    assert ended.failure.reason == "127.0.0.1: login: the BMC refuses all logins: it has no free session slot"
    assert proxy.passed.to_bmc <= 20


def test_a_refused_command(bmc: Bmc) -> None:
    bmc.refuse()
    ended = forked(settings(bmc), PowerGoal(PowerAim.OFF))
    assert "chassis power off: refused with completion code" in ended.failure.reason
    assert bmc.power == "on"


def test_sessions_are_closed(bmc: Bmc) -> None:
    ended = forked(settings(bmc), STATUS, times=50)
    assert sum(isinstance(each, PowerDone) for each in ended.seen) == 50


@pytest.mark.slow
def test_processes_close_their_sessions(bmc: Bmc) -> None:
    assert all(forked(settings(bmc), STATUS).done for _ in range(50))


def test_ipv6() -> None:
    require_program("ipmi_sim", "openipmi")
    with Bmc("::1") as bmc:
        assert forked(settings(bmc), PowerGoal(PowerAim.OFF)).done
        assert bmc.power == "off"


def test_a_name(bmc: Bmc) -> None:
    assert forked(settings(bmc)._replace(address="localhost"), STATUS).done


def test_bridging(bmc: Bmc) -> None:
    """To the BMC itself: ipmi_sim dies of a chassis command bridged to a controller that has no chassis."""
    assert forked(settings(bmc)._replace(bridge_address=0x20), PowerGoal(PowerAim.REBOOT)).done


def test_bridging_to_nobody(bmc: Bmc) -> None:
    ended = forked(settings(bmc)._replace(bridge_address=0x44), STATUS)
    assert "(bridged to 0x44): refused with completion code 0x83" in ended.failure.reason


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"username": b"u" * 17}, "username"),
        ({"password": Secret(b"secret" * 4)}, "password"),
        ({"kg": Secret(b"secret" * 4)}, "Kg"),
        ({"cipher": 8}, "cipher"),
    ],
)
def test_what_ipmi_can_not_carry_is_refused_beforehand(change: dict[str, object], word: str) -> None:
    given = BmcSettings("127.0.0.1", 623, b"ADMIN", Secret(b"ADMIN"))._replace(**change)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=word) as caught:
        IpmiChassisPower(given)
    assert "secret" not in str(caught.value)


def test_pyghmi_is_not_imported_before_it_is_needed() -> None:
    program = "import sys, fencer.power.ipmi; sys.exit(any(name.startswith('pyghmi') for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def _with_status(packet: bytes, status: int) -> bytes:
    """An RMCP+ setup answer with another status code (IPMI 2.0 §13.18: byte 2 of the payload)."""
    return packet[:17] + bytes((status,)) + packet[18:]


def _answer(kind: int, status: int):
    def tamper(way: Way, packet: bytes) -> bytes:
        return _with_status(packet, status) if payload_type(packet) == kind else packet

    return tamper
