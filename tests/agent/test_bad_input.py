# SPDX-License-Identifier: Apache-2.0
"""Bad input: one sentence that names the option and the remedy, exit 1, nothing sent."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from tests.agent.halvm import Call, Outcome, at, halvm, together
from tests.rig.bmc import Bmc
from tests.rig.target import Target
from tests.rig.udp_proxy import UdpProxy

CLUSTER = """<cluster name="c"><clusternodes>
<clusternode name="serv-0001" nodeid="1"/><clusternode name="serv-0002" nodeid="2"/>
</clusternodes></cluster>"""


@dataclass(frozen=True)
class Bad:
    """argv: beside the BMC's address. says: how the sentence begins. remedy: what it contains."""

    argv: tuple[str, ...]
    says: str
    remedy: str = "give "


KEYS = ("-k", "2", "--local-key=1")
BAD = [
    Bad(("-o", "explode"), "Failed: Unrecognised action 'explode'", "give one of on, off"),
    Bad(("-o", "off", "-u", "70000"), "ipport: 70000"),
    Bad(("-o", "off", "-u", "x"), "ipport: not a whole"),
    Bad(("-o", "off", "--delay=-1"), "delay: not a time"),
    Bad(("-o", "off", "--deadline=0"), "deadline: 0"),
    Bad(("-o", "off", "--power-timeout=soon"), "power_timeout: not a time"),
    Bad(("-o", "off", "--retry-on=many"), "retry_on: not a whole"),
    Bad(("-o", "off", "-L", "king"), "privlvl: not a choice"),
    Bad(("-o", "off", "-m", "hammer"), "method: not a choice"),
    Bad(("-o", "off", "-C", "nine"), "cipher: not the number of a cipher suite"),
    Bad(("-o", "off", "--target=far"), "target: not an IPMB"),
    Bad(("-o", "off", "--hexadecimal-kg=xyz"), "hexadecimal_kg: not hexadecimal"),
    Bad(("-o", "off", "--hexadecimal-kg=" + 21 * "00"), "hexadecimal_kg: 21 bytes", "at most 20"),
    Bad(("-o", "off", "-p", 21 * "x"), "password: 21 bytes"),
    Bad(("-o", "off", "-l", 17 * "x"), "username: 17 bytes"),
    Bad(("-o", "off", "-S", "/nonexistent"), "password_script: no such command"),
    Bad(("-o", "off", "-S", "/etc/passwd"), "password_script: permission denied"),
    Bad(("-o", "off", "-S", "/bin/false"), "password_script: exit status 1, and printed nothing"),
    Bad(("-o", "off", "-S", " "), "password_script:"),
    Bad(("-o", "off", "-S", "'"), "password_script:"),
    Bad(("-o", "off", "--proof=all"), "proof: all needs the shared LUNs"),
    Bad(("-o", "off", "--proof=storage"), "proof: storage needs the shared LUNs"),
    Bad(("-o", "off", "--proof=luck"), "proof: not a choice"),
    Bad(("-o", "off", "-d", "/dev/null", *KEYS), "devices: /dev/null is not a block device"),
    Bad(("-o", "off", "-d", "/etc/passwd", *KEYS), "devices: /etc/passwd is not a block device"),
    Bad(("-o", "off", "-d", "/dev/gone", *KEYS), "devices: /dev/gone does not exist", "correct the name"),
    Bad(("-o", "off", "-d", "sdb", *KEYS), "devices: sdb is neither a path nor a WWID"),
    Bad(("-o", "off", "-d", "iscsi://x", *KEYS), "devices: 'iscsi://x' is not an iSCSI URL"),
    Bad(("-o", "off", "-d", "iscsi://x:99999/iqn.x/1", *KEYS), "devices: 'iscsi://x:99999/iqn.x/1'"),
    Bad(("-o", "off", "--vg=vanished", *KEYS), "vg: no physical volume of volume group vanished", "correct the name"),
    Bad(("-o", "off", "-d", "/dev/null", "-k", "0", "--local-key=1"), "key: 0 is no"),
    Bad(("-o", "off", "-d", "/dev/null", "-k", "1", "--local-key=0"), "local_key: 0 is no"),
    Bad(("-o", "off", "-d", "/dev/null", "-k", "spam", "--local-key=1"), "key: not a"),
    Bad(("-o", "off", "-d", "/dev/null", "-k", "1" * 17, "--local-key=1"), "key: a number that does not fit"),
    Bad(("-o", "off", "-d", "/dev/null", "-k", "0x1", "--local-key=01"), "key: 0x1 is this node's own key"),
    Bad(("-o", "off", "--cluster-conf=/nonexistent"), "cluster_conf: /nonexistent: No such file"),
    Bad(("-o", "off", "--cluster-conf=/etc/passwd"), "cluster_conf: /etc/passwd line 1", "correct the XML"),
    Bad(("-o", "off", "--no-such"), "Command line: option --no-such not recognized", "see --help"),
    Bad(("-o", "off", "--po=1"), "Command line: option --po", "see --help"),
    Bad(("-o", "off", "--delay"), "Command line: option --delay", "see --help"),
]


@pytest.fixture(scope="module")
def outcomes() -> dict[Bad, Outcome]:
    """Of all of them, side by side; nothing was sent."""
    with Bmc("127.0.7.230") as bmc, UdpProxy((bmc.address, bmc.port), address=bmc.address) as proxy:
        found = dict(zip(BAD, together(partial(halvm, *at(bmc, proxy.port), *bad.argv) for bad in BAD), strict=True))
        assert proxy.passed.to_bmc == 0
        assert bmc.log() == []
        return found


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: " ".join(bad.argv)[:60])
def test_bad_input_is_one_sentence_and_nothing_is_sent(outcomes: dict[Bad, Outcome], bad: Bad) -> None:
    outcome = outcomes[bad]
    assert (outcome.status, outcome.stdout) == (1, "")
    assert len(outcome.lines) == 1, outcome.stderr
    assert outcome.lines[0].startswith(f"ERROR: {bad.says}")
    assert bad.remedy in outcome.lines[0]


@pytest.mark.parametrize("argv", [("-o", "off"), ("-o", "monitor"), ("-o", "status"), ("-l", "ADMIN")], ids=" ".join)
def test_a_missing_address_names_every_way_out(argv: tuple[str, ...]) -> None:
    outcome = halvm(*argv)
    assert (outcome.status, len(outcome.lines)) == (1, 1)
    assert outcome.lines[0].startswith("ERROR: ip: ")
    assert "vg=" in outcome.lines[0]


@pytest.mark.parametrize("action", ["off", "reboot", "diag"])
def test_this_node_as_target_is_refused(bmc: Bmc, proxy: UdpProxy, cluster_conf: Path, action: str) -> None:
    cluster_conf.write_text(CLUSTER)
    known = (f"--cluster-conf={cluster_conf}", "--local-node=serv-0001")
    for name in ("serv-0001", "SERV-0001", "serv-0001.example.org"):
        outcome = halvm(*at(bmc, proxy.port), "-o", action, "-n", name, *known)
        assert (outcome.status, len(outcome.lines)) == (1, 1), name
        assert "a node cannot fence itself" in outcome.stderr
    assert proxy.passed.to_bmc == 0


def test_diag_without_a_bmc_is_refused() -> None:
    outcome = halvm("-o", "diag", "-d", "iscsi://127.0.0.1:1/iqn.2026-11.nowhere/1", *KEYS)
    assert (outcome.status, outcome.stdout, len(outcome.lines)) == (1, "", 1)
    assert outcome.lines[0].startswith("ERROR: ip: diag is an interrupt that the BMC sends")


def test_two_names_of_one_lun_are_refused(bmc: Bmc, proxy: UdpProxy) -> None:
    with Target() as target:
        twin = target.url(1).replace("127.0.0.1", "localhost")
        outcome = halvm(*at(bmc, proxy.port), "-o", "off", "-d", f"{target.url(1)},{twin}", *KEYS)
    assert (outcome.status, len(outcome.lines)) == (1, 1)
    assert outcome.lines[0].startswith("ERROR: devices: ")
    assert "name it once" in outcome.lines[0]
    assert bmc.log() == []


@pytest.mark.slow
def test_a_password_script_that_hangs_ends_in_a_sentence(bmc: Bmc, proxy: UdpProxy) -> None:
    call = Call(*at(bmc, proxy.port), "-o", "off", "-S", "sleep 60")
    outcome = call.end()
    call.assert_all_gone()
    assert outcome.lines[0].startswith("ERROR: password_script: no answer within 5 s: give ")
    assert proxy.passed.to_bmc == 0


def test_a_huge_name_does_not_fill_a_callers_pipe(bmc: Bmc) -> None:
    lines = [f"ipaddr={bmc.address}", f"nodename={'x' * 500_000}", "action=off", "devices=/dev/null", "verbose=3"]
    outcome = halvm(stdin="\n".join(lines) + "\n")
    assert outcome.status == 1
    assert len(outcome.stdout) + len(outcome.stderr) < 8000


def test_control_characters_do_not_reach_a_terminal(bmc: Bmc) -> None:
    outcome = halvm(*at(bmc), "-o", "off", "-S", "/tmp/\x1b[2Jx")
    assert outcome.status == 1
    assert "\x1b" not in outcome.stderr
