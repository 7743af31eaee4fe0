# SPDX-License-Identifier: Apache-2.0
"""monitor and on learn which BMC is a node's; another one with the same password is refused from then on."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.agent.halvm import Outcome, halvm
from tests.rig import require_program
from tests.rig.bmc import Bmc

GUID, ANOTHER = bytes(range(16)), bytes(range(1, 17))


@pytest.fixture
def bmc() -> Iterator[Bmc]:
    """The node's own."""
    require_program("ipmi_sim", "openipmi")
    with Bmc(guid=GUID) as started:
        yield started


@contextmanager
def swapped(bmc: Bmc) -> Iterator[Bmc]:
    """Another BMC at the same address, with the same password; its node is off."""
    bmc.stop()
    with Bmc(port=bmc.port, power="off", guid=ANOTHER) as wrong:
        yield wrong
    bmc.start()


@pytest.fixture
def state(tmp_path: Path) -> Path:
    directory = tmp_path / "state"
    directory.mkdir(mode=0o755)
    return directory


def file_of(state: Path, bmc: Bmc) -> Path:
    return state / f"bmc-serv-0002@127.0.0.1%{bmc.port}"


def call(bmc: Bmc, state: Path, action: str, node: str | None = "serv-0002", **more: str) -> Outcome:
    options = {"ip": bmc.address, "ipport": str(bmc.port), "username": "ADMIN", "password": "ADMIN", "action": action}
    options |= {"state_dir": str(state)} | more | ({} if node is None else {"nodename": node})
    return halvm(stdin="".join(f"{name}={value}\n" for name, value in options.items()))


@pytest.mark.parametrize("action", ["off", "reboot", "status", "on", "monitor"])
def test_another_bmc_than_the_one_that_was_learnt_is_refused(bmc: Bmc, state: Path, action: str) -> None:
    assert call(bmc, state, "monitor").status == 0
    with swapped(bmc) as wrong:
        outcome = call(wrong, state, action)
        assert (outcome.status, outcome.stdout, len(outcome.lines)) == (1, "", 1)
        assert "another BMC answers" in outcome.stderr
        remedy = f"if the board was replaced, remove {file_of(state, bmc)} and run the action monitor again"
        assert outcome.lines[0].endswith(remedy)
        assert wrong.log() == []
    assert call(bmc, state, "off").stdout == "Success: Powered OFF\n"


@pytest.mark.parametrize("action", ["off", "reboot"])
def test_what_a_monitor_without_a_node_has_seen_at_an_address_counts_for_its_fence(
    bmc: Bmc, state: Path, action: str
) -> None:
    """Pacemaker names no node to a monitor, and the device may have no plug."""
    assert call(bmc, state, "monitor", node=None).status == 0
    with swapped(bmc) as wrong:
        wrong.power = "on"
        outcome = call(wrong, state, action)
        assert (outcome.status, wrong.log()) == (1, [])
        assert "another BMC answers" in outcome.stderr
        remedy = f"remove {state / f'bmc-@127.0.0.1%{bmc.port}'} and run the action monitor again"
        assert outcome.lines[0].endswith(remedy)
    bmc.power = "off"
    assert call(bmc, state, action).status == 0


def test_what_a_monitor_without_a_node_has_seen_may_be_the_bmc_of_another_node(bmc: Bmc, state: Path) -> None:
    for node in (None, "serv-0003"):
        assert call(bmc, state, "monitor", node=node).status == 0
    outcome = call(bmc, state, "off")
    assert (outcome.status, bmc.power) == (1, "on")
    assert "this is the BMC of serv-0003" in outcome.stderr


@pytest.fixture
def cluster(tmp_path: Path) -> dict[str, str]:
    """Options by which a call knows the cluster's three nodes. It runs on serv-0001."""
    conf = tmp_path / "cluster.conf"
    nodes = "".join(f'<clusternode name="serv-000{number}" nodeid="{number}"/>' for number in (1, 2, 3))
    conf.write_text(f'<cluster name="lvm-cluster" config_version="1"><clusternodes>{nodes}</clusternodes></cluster>')
    return {"cluster_conf": str(conf), "local_node": "serv-0001"}


@pytest.mark.parametrize(
    "first", [None, "serv-0002"], ids=["a monitor without a node before", "a monitor of the node before"]
)
@pytest.mark.parametrize("name", ["1", "serv-0002.example.org"], ids=["a plug", "the node's longer name"])
def test_a_monitor_by_a_plug_or_a_longer_name_prevents_no_fence(
    bmc: Bmc, state: Path, cluster: dict[str, str], name: str, first: str | None
) -> None:
    """A device may have a plug that Pacemaker leaves as it is. Which number it is says nothing."""
    for node in (first, name):
        assert call(bmc, state, "monitor", node=node, **cluster).status == 0
    with swapped(bmc) as wrong:
        wrong.power = "on"
        outcome = call(wrong, state, "off", **cluster)
        assert (outcome.status, wrong.log()) == (1, []), outcome.stderr
        assert "another BMC answers" in outcome.stderr
    outcome = call(bmc, state, "off", **cluster)
    assert (outcome.status, bmc.power) == (0, "off"), outcome.stderr


@pytest.mark.parametrize(("first", "then"), [("remote1", "serv-0002"), ("serv-0003", "remote1")])
def test_a_name_that_the_cluster_file_does_not_know_may_be_a_node(
    bmc: Bmc, state: Path, cluster: dict[str, str], first: str, then: str
) -> None:
    """Pacemaker's remote nodes are in no corosync.conf. With one address for two, the wrong one would go off."""
    assert call(bmc, state, "monitor", node=first, **cluster).status == 0
    outcome = call(bmc, state, "off", node=then, **cluster)
    assert (outcome.status, bmc.power) == (1, "on")
    files = state / f"bmc-{first}@*"
    assert f"this is the BMC of {first}" in outcome.stderr
    assert f"where {first} is only another name of this node, remove {files}, or" in outcome.stderr
    for file in state.glob(files.name):  # as the sentence says
        file.unlink()
    assert call(bmc, state, "off", node=then, **cluster).status == 0


def test_the_bmc_of_another_node_of_the_cluster_is_refused_by_any_of_its_names(
    bmc: Bmc, state: Path, cluster: dict[str, str]
) -> None:
    assert call(bmc, state, "monitor", node="serv-0003.example.org", **cluster).status == 0
    outcome = call(bmc, state, "off", **cluster)
    assert (outcome.status, bmc.power) == (1, "on")
    assert "this is the BMC of serv-0003" in outcome.stderr


def test_a_replaced_board_is_accepted_as_the_sentence_says(bmc: Bmc, state: Path) -> None:
    assert call(bmc, state, "monitor").status == 0
    file_of(state, bmc).unlink()
    with swapped(bmc) as replaced:
        assert call(replaced, state, "monitor").status == 0
        assert call(replaced, state, "off").stdout == "Success: Already OFF\n"


@pytest.mark.parametrize("action", ["on", "off", "reboot", "monitor"])
def test_what_learns(bmc: Bmc, state: Path, action: str) -> None:
    """A fence, too, that saw the chassis go off; in a child that nobody waits for."""
    bmc.power = "off" if action == "on" else "on"
    assert call(bmc, state, action).status == 0
    until = time.monotonic() + 60
    while not file_of(state, bmc).exists() and time.monotonic() < until:
        time.sleep(0.01)
    assert GUID.hex() in file_of(state, bmc).read_text()
    assert file_of(state, bmc).stat().st_mode & 0o777 == 0o600
    bmc.power = "off"
    assert call(bmc, state, "off").stdout == "Success: Already OFF\n"


def test_status_does_not_learn(bmc: Bmc, state: Path) -> None:
    assert call(bmc, state, "status").status == 0
    assert list(state.iterdir()) == []


@pytest.mark.parametrize("action", ["off", "reboot"])
def test_off_that_is_found_at_a_bmc_never_seen_is_no_proof(bmc: Bmc, state: Path, action: str) -> None:
    """Where a node is named, and nothing but power can prove."""
    bmc.power = "off"
    for _ in range(2):
        outcome = call(bmc, state, action)
        assert (outcome.status, outcome.stdout) == (1, "")
        assert "run the action monitor for this node once" in outcome.stderr
    assert call(bmc, state, action, node=None).status == 0
    bmc.power = "off"
    assert call(bmc, state, action, bmc_guid=GUID.hex()).status == 0
    bmc.power = "off"
    assert call(bmc, state, action, bmc_guid="none").status == 0


def test_two_nodes_with_one_bmc_fail_the_monitor(bmc: Bmc, state: Path) -> None:
    assert call(bmc, state, "monitor").status == 0
    outcome = call(bmc, state, "monitor", node="serv-0003")
    assert outcome.status == 1
    assert "this is the BMC of serv-0002" in outcome.stderr
    assert call(bmc, state, "monitor", node="serv-0003", target="0x20").status == 0  # two blades behind one BMC
    assert call(bmc, state, "monitor", node="serv-0004", bmc_guid="none").status == 0


def test_what_a_fence_met_says_nothing_about_other_nodes(bmc: Bmc, state: Path) -> None:
    """Boards that have one GUID by manufacture are fenced one after the other, where nobody ever ran a monitor."""
    for node in ("serv-0002", "serv-0003", "serv-0002"):
        bmc.power = "on"
        assert call(bmc, state, "off", node=node).stdout == "Success: Powered OFF\n"


def test_one_node_may_have_two_bmcs(bmc: Bmc, state: Path) -> None:
    """One for each power supply."""
    with Bmc(guid=ANOTHER) as second:
        for each in (bmc, second, bmc, second):
            assert call(each, state, "monitor").status == 0


def test_a_pinned_guid_wins_over_what_was_learnt(bmc: Bmc, state: Path) -> None:
    assert call(bmc, state, "monitor").status == 0
    outcome = call(bmc, state, "off", bmc_guid=ANOTHER.hex())
    assert outcome.status == 1
    assert "correct bmc_guid" in outcome.stderr
    assert bmc.power == "on"
    with swapped(bmc) as wrong:
        assert call(wrong, state, "off", bmc_guid=ANOTHER.hex()).status == 0


def test_a_guid_that_is_none_is_refused(bmc: Bmc, state: Path) -> None:
    outcome = call(bmc, state, "off", bmc_guid="mine")
    assert outcome.lines == ["ERROR: bmc_guid: not a GUID: give 32 hexadecimal digits, or none"]
    assert bmc.log() == []


def test_a_board_without_a_guid_says_that_the_protection_is_absent(state: Path) -> None:
    require_program("ipmi_sim", "openipmi")
    with Bmc(power="off", guid=b"\x20" * 16) as bare:
        outcome = call(bare, state, "monitor", verbose="1")
        assert outcome.status == 0
        assert "another BMC with the same password would not be noticed" in outcome.stderr
        assert list(state.iterdir()) == []
        assert call(bare, state, "off").stdout == "Success: Already OFF\n"


@pytest.mark.parametrize("content", [b"", b"\xff", b"node serv-0002\n", b"x" * 10000])
def test_what_cannot_be_read_is_one_warning_and_the_node_is_fenced(bmc: Bmc, state: Path, content: bytes) -> None:
    file_of(state, bmc).write_bytes(content)
    outcome = call(bmc, state, "off")
    assert (outcome.status, outcome.stdout) == (0, "Success: Powered OFF\n")
    assert len([line for line in outcome.lines if line.startswith("WARNING: ")]) == 1


def test_a_directory_of_others_says_nothing(bmc: Bmc, state: Path) -> None:
    with swapped(bmc) as wrong:
        assert call(wrong, state, "monitor").status == 0
    state.chmod(0o777)
    outcome = call(bmc, state, "off")
    assert (outcome.status, outcome.stdout) == (0, "Success: Powered OFF\n")
    assert "others may write to it" in outcome.stderr


@pytest.mark.parametrize("node", ["../escape", "a/b", "\u00e4 b", "%2f", "x" * 300])
def test_any_name_of_a_node_stays_in_the_directory(bmc: Bmc, state: Path, node: str) -> None:
    for _ in range(2):
        assert call(bmc, state, "monitor", node=node).status == 0
    assert all(path.name.startswith("bmc-") and path.parent == state for path in state.rglob("*"))
    assert sorted(path.name for path in state.parent.iterdir()) == ["state"]


def test_suite_3_after_17_is_shown_at_v(bmc: Bmc, state: Path) -> None:
    outcome = call(bmc, state, "status", verbose="1")
    assert "cipher suite 3, since the BMC does not take suite 17" in outcome.stderr
    assert "cipher" not in call(bmc, state, "status", verbose="1", cipher="3").stderr


@pytest.mark.parametrize("pinned", [False, True])
def test_list_status_does_not_show_the_state_of_another_nodes_chassis(bmc: Bmc, state: Path, pinned: bool) -> None:
    assert call(bmc, state, "monitor").status == 0
    more = {"bmc_guid": GUID.hex()} if pinned else {}
    assert call(bmc, state, "list-status", **more).stdout == "serv-0002,,ON\n"
    with swapped(bmc) as wrong:
        outcome = call(wrong, state, "list-status", **more)
        assert (outcome.status, outcome.stdout) == (0, "serv-0002,,UNKNOWN\n")
        assert [line.startswith("WARNING: serv-0002: ") for line in outcome.lines] == [True]
        assert "another BMC answers" in outcome.stderr


def test_list_status_learns_nothing(bmc: Bmc, state: Path) -> None:
    assert call(bmc, state, "list-status").stdout == "serv-0002,,ON\n"
    assert not file_of(state, bmc).exists()
