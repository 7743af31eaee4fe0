"""monitor and on learn which BMC is a node's; another one with the same password is refused from then on."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agent.halvm import Outcome, halvm
from tests.rig import require_program
from tests.rig.bmc import Bmc

KNOWN = "bmc-serv-0002"


@pytest.fixture
def bmcs() -> Iterator[tuple[Bmc, Bmc]]:
    """The node's own, and another one with the same password, whose node is off."""
    require_program("ipmi_sim", "openipmi")
    with Bmc() as right, Bmc(power="off") as wrong:
        yield right, wrong


@pytest.fixture
def state(tmp_path: Path) -> Path:
    directory = tmp_path / "state"
    directory.mkdir(mode=0o755)
    return directory


def call(bmc: Bmc, state: Path, action: str, node: str | None = "serv-0002", **more: str) -> Outcome:
    options = {"ip": bmc.address, "ipport": str(bmc.port), "username": "ADMIN", "password": "ADMIN", "action": action}
    options |= {"state_dir": str(state)} | more | ({} if node is None else {"nodename": node})
    return halvm(stdin="".join(f"{name}={value}\n" for name, value in options.items()))


@pytest.mark.parametrize("action", ["off", "reboot", "status", "on", "monitor"])
def test_another_bmc_than_the_one_that_was_learnt_is_refused(bmcs: tuple[Bmc, Bmc], state: Path, action: str) -> None:
    right, wrong = bmcs
    assert call(right, state, "monitor").status == 0
    outcome = call(wrong, state, action)
    assert (outcome.status, outcome.stdout, len(outcome.lines)) == (1, "", 1)
    assert "another BMC answers" in outcome.stderr
    assert outcome.stderr.endswith(
        f"if the board was replaced, remove {state / KNOWN} and run the action monitor again\n"
    )
    assert wrong.log() == []
    assert call(right, state, "off").stdout == "Success: Powered OFF\n"


def test_a_replaced_board_is_accepted_as_the_sentence_says(bmcs: tuple[Bmc, Bmc], state: Path) -> None:
    right, wrong = bmcs
    assert call(right, state, "monitor").status == 0
    (state / KNOWN).unlink()
    assert call(wrong, state, "monitor").status == 0
    assert call(wrong, state, "off").stdout == "Success: Already OFF\n"


def test_on_learns_and_a_fence_does_not(bmcs: tuple[Bmc, Bmc], state: Path) -> None:
    right, _ = bmcs
    assert call(right, state, "off").status == 0
    assert not (state / KNOWN).exists()
    assert call(right, state, "on").status == 0
    assert right.guid.hex() in (state / KNOWN).read_text()
    assert (state / KNOWN).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("action", ["off", "reboot"])
def test_off_that_is_found_at_a_bmc_never_seen_is_no_proof(bmcs: tuple[Bmc, Bmc], state: Path, action: str) -> None:
    """Where a node is named, and nothing but power can prove."""
    _, wrong = bmcs
    outcome = call(wrong, state, action)
    assert (outcome.status, outcome.stdout) == (1, "")
    assert "run the action monitor for this node once" in outcome.stderr
    assert call(wrong, state, action, node=None).status == 0
    assert call(wrong, state, action, bmc_guid=wrong.guid.hex()).status == 0
    wrong.power = "off"
    assert call(wrong, state, action, bmc_guid="none").status == 0


def test_two_nodes_with_one_bmc_fail_the_monitor(bmcs: tuple[Bmc, Bmc], state: Path) -> None:
    right, _ = bmcs
    assert call(right, state, "monitor").status == 0
    outcome = call(right, state, "monitor", node="serv-0003")
    assert outcome.status == 1
    assert "this is the BMC of serv-0002" in outcome.stderr
    assert call(right, state, "monitor", node="serv-0003", target="0x20").status == 0  # two blades behind one BMC
    assert call(right, state, "monitor", node="serv-0004", bmc_guid="none").status == 0


def test_a_pinned_guid_wins_over_what_was_learnt(bmcs: tuple[Bmc, Bmc], state: Path) -> None:
    right, wrong = bmcs
    assert call(right, state, "monitor").status == 0
    assert call(wrong, state, "off", bmc_guid=str(wrong.guid.hex())).status == 0
    outcome = call(right, state, "off", bmc_guid=wrong.guid.hex())
    assert outcome.status == 1
    assert "correct bmc_guid" in outcome.stderr
    assert right.power == "on"


def test_a_guid_that_is_none_is_refused(bmcs: tuple[Bmc, Bmc], state: Path) -> None:
    outcome = call(bmcs[0], state, "off", bmc_guid="mine")
    assert outcome.lines == ["ERROR: bmc_guid: not a GUID: give 32 hexadecimal digits, or none"]
    assert bmcs[0].log() == []


def test_a_board_without_a_guid_says_that_the_protection_is_absent(state: Path) -> None:
    require_program("ipmi_sim", "openipmi")
    with Bmc(power="off", guid=b"\x20" * 16) as bmc:
        outcome = call(bmc, state, "monitor", verbose="1")
        assert outcome.status == 0
        assert "another BMC with the same password would not be noticed" in outcome.stderr
        assert list(state.iterdir()) == []
        assert call(bmc, state, "off").stdout == "Success: Already OFF\n"


@pytest.mark.parametrize("content", [b"", b"\xff", b"node serv-0002\n", b"x" * 10000])
def test_what_cannot_be_read_is_one_warning_and_the_node_is_fenced(
    bmcs: tuple[Bmc, Bmc], state: Path, content: bytes
) -> None:
    (state / KNOWN).write_bytes(content)
    outcome = call(bmcs[0], state, "off")
    assert (outcome.status, outcome.stdout) == (0, "Success: Powered OFF\n")
    assert len([line for line in outcome.lines if line.startswith("WARNING: ")]) == 1


def test_a_directory_of_others_says_nothing(bmcs: tuple[Bmc, Bmc], state: Path) -> None:
    right, wrong = bmcs
    assert call(wrong, state, "monitor").status == 0
    state.chmod(0o777)
    outcome = call(right, state, "off")
    assert (outcome.status, outcome.stdout) == (0, "Success: Powered OFF\n")
    assert "others may write to it" in outcome.stderr


@pytest.mark.parametrize("node", ["../escape", "a/b", "ä b", "%2f", "x" * 300])
def test_any_name_of_a_node_stays_in_the_directory(bmcs: tuple[Bmc, Bmc], state: Path, node: str) -> None:
    assert call(bmcs[0], state, "monitor", node=node).status == 0
    assert all(path.name.startswith("bmc-") and path.parent == state for path in state.rglob("*"))
    assert sorted(path.name for path in state.parent.iterdir()) == ["state"]


def test_suite_3_after_17_is_told_at_v(bmcs: tuple[Bmc, Bmc], state: Path) -> None:
    outcome = call(bmcs[0], state, "status", verbose="1")
    assert "cipher suite 3, since the BMC does not take suite 17" in outcome.stderr
    assert "cipher" not in call(bmcs[0], state, "status", verbose="1", cipher="3").stderr
