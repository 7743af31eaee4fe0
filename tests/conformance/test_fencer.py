# SPDX-License-Identifier: Apache-2.0
"""The remap and unfencing cases of Pacemaker's cts-fencing, with our agent and BMCs in place of its dummy."""

from collections.abc import Iterator

import pytest

from tests.conformance.container import Container
from tests.conformance.fencer import LOCAL, VICTIM, Fencer
from tests.rig.bmc import Bmc
from tests.rig.target import Target

BY_BMC = {"username": "ADMIN", "password": "ADMIN"}
NO_SUCH_DEVICE = 105
"""stonith_admin's exit status where no device, or no peer, can do it (CRM_EX_NOSUCH)."""


@pytest.fixture(autouse=True)
def _on(bmc: Bmc, second_bmc: Bmc) -> None:
    for each in (bmc, second_bmc):
        each.power = "on"
        (each.chassis / "log").write_text("")


@pytest.fixture
def target(debian: Container) -> Iterator[Target]:
    with debian.network():
        started = Target().__enter__()
    yield started
    started.__exit__(None, None, None)


def test_a_reboot_by_one_device_is_one_call(fencer: Fencer, bmc: Bmc) -> None:
    fencer.device("d1", ip=bmc.address, **BY_BMC)
    done = fencer.admin("-B", VICTIM, "-t", "60")
    assert done.returncode == 0, done.stderr + fencer.log
    assert bmc.commands() == ["power 0", "power 1"]
    fencer.logged("Operation 'reboot' .*using d1 returned 0")
    assert "Remapping" not in fencer.log


def test_off_leaves_it_off(fencer: Fencer, bmc: Bmc) -> None:
    fencer.device("d1", ip=bmc.address, **BY_BMC)
    assert fencer.admin("-F", VICTIM, "-t", "60").returncode == 0, fencer.log
    assert (bmc.commands(), bmc.power) == (["power 0"], "off")


def test_remap_simple(fencer: Fencer, bmc: Bmc, second_bmc: Bmc) -> None:
    """All devices of the level off, then all on: what is to be run on the target is left out while that is down."""
    fencer.device("d1", ip=bmc.address, **BY_BMC)
    fencer.device("d2", ip=second_bmc.address, **BY_BMC)
    fencer.level(1, "d1", "d2")
    assert fencer.admin("-B", VICTIM, "-t", "60").returncode == 0, fencer.log
    fencer.logged(
        f"Remapping multiple-device reboot targeting {VICTIM}",
        f"perform 'off' action targeting {VICTIM} using d1",
        f"perform 'off' action targeting {VICTIM} using d2",
        f"Remapped 'off' targeting {VICTIM} complete, remapping to 'on'",
        rf"Ignoring d1 'on' failure \(no capable peers\) targeting {VICTIM}",
        f"Undoing remap of reboot targeting {VICTIM}",
    )
    assert (bmc.commands(), second_bmc.commands()) == (["power 0"], ["power 0"])


def test_remap_simple_off(fencer: Fencer, bmc: Bmc, second_bmc: Bmc) -> None:
    fencer.device("d1", ip=bmc.address, pcmk_reboot_action="off", **BY_BMC)
    fencer.device("d2", ip=second_bmc.address, **BY_BMC)
    fencer.level(1, "d1", "d2")
    assert fencer.admin("-B", VICTIM, "-t", "60").returncode == 0, fencer.log
    fencer.logged(f"Not turning {VICTIM} back on using d1 because the device is configured to stay off")
    assert (bmc.power, second_bmc.power) == ("off", "off")


def test_remap_complex_1(fencer: Fencer, bmc: Bmc, second_bmc: Bmc) -> None:
    """A first level that fails, and a second one of two devices."""
    fencer.device("d0", ip=bmc.address, username="ADMIN", password="wrong")
    fencer.device("d1", ip=bmc.address, **BY_BMC)
    fencer.device("d2", ip=second_bmc.address, **BY_BMC)
    fencer.level(1, "d0")
    fencer.level(2, "d1", "d2")
    assert fencer.admin("-B", VICTIM, "-t", "60").returncode == 0, fencer.log
    fencer.logged(
        f"perform 'reboot' action targeting {VICTIM} using d0",
        f"Remapping multiple-device reboot targeting {VICTIM}",
        f"perform 'off' action targeting {VICTIM} using d1",
        f"perform 'off' action targeting {VICTIM} using d2",
    )
    assert (bmc.power, second_bmc.power) == ("off", "off")


def test_a_failure_is_the_fencers_failure_with_our_reason(fencer: Fencer, bmc: Bmc) -> None:
    fencer.device("d1", ip=bmc.address, username="ADMIN", password="wrong")
    assert fencer.admin("-F", VICTIM, "-t", "60").returncode != 0
    assert bmc.power == "on"
    fencer.logged("ERROR: .*password")
    assert "timed out" not in fencer.log.lower().replace("total timeout", ""), "a refusal is no timeout"


def test_unfence_on_target_1(fencer: Fencer, debian: Container, target: Target) -> None:
    """on for this node, which is to be run on it: its key is registered."""
    fencer.device("d1", LOCAL, devices=target.url())
    done = fencer.admin("-U", LOCAL, "-t", "60")
    assert done.returncode == 0, done.stderr + fencer.log
    fencer.logged(r"\(on\) to be executed on target")
    told = debian.run("fence_halvm", "-o", "status", "-n", LOCAL, "-d", target.url())
    assert (told.returncode, told.stdout) == (0, "Status: ON\n"), told.stderr


def test_unfence_on_target_2(fencer: Fencer, target: Target) -> None:
    """A target that is not there cannot unfence itself, and no other node does so in its place."""
    fencer.device("d1", f"{LOCAL} {VICTIM}", devices=target.url())
    assert fencer.admin("-U", VICTIM, "-t", "60").returncode == NO_SUCH_DEVICE, fencer.log


def test_an_unfenced_node_fences_by_storage(fencer: Fencer, debian: Container, target: Target) -> None:
    fencer.device("d1", f"{LOCAL} {VICTIM}", devices=target.url())
    assert fencer.admin("-U", LOCAL, "-t", "60").returncode == 0, fencer.log
    assert fencer.admin("-F", VICTIM, "-t", "60").returncode == 0, fencer.log
    assert debian.run("fence_halvm", "-o", "status", "-n", VICTIM, "-d", target.url()).returncode == 2
