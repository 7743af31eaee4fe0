# SPDX-License-Identifier: Apache-2.0
"""proof=self is refused, before anything is sent, where the bound is not given, not held, or not believed."""

import time
from pathlib import Path

import pytest

from fencer.agent.option_input import with_defaults
from fencer.agent.request import Caller, Request
from fencer.agent.request_builder import build_request
from fencer.agent.self_fence_request import doubt
from fencer.errors import UsageError
from fencer.model import ProofPolicy
from fencer.state.snapshot import PolicyState, Snapshot
from fencer.state.snapshot_file import write_snapshot
from tests.agent.test_request_builder import LUN, membership
from tests.scenes import BOOT, NOW, snapshot

BOOT_ID = Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def sidecar(**changes: object) -> Snapshot:
    """Ours, as it is now on this machine."""
    return snapshot()._replace(boot_id=BOOT_ID, written_monotonic_s=time.monotonic())._replace(**changes)


def ask(directory: Path, environ: dict[str, str] | None = None, **given: str) -> Request:
    given = {"action": "off", "proof": "self", "devices": LUN, "plug": "serv-0001"} | given
    given = {"state_dir": str(directory / "run")} | {name: value for name, value in given.items() if value}
    return build_request(with_defaults(given, environ or {}), given, Caller.CLUSTER, membership(directory))


def test_the_bound_and_time_for_it(tmp_path: Path) -> None:
    write_snapshot(str(tmp_path / "run"), sidecar())
    request = ask(tmp_path, self_fence_bound="24")
    assert request.policy is ProofPolicy.SELF
    assert request.self_fence_bound_s == 24.0
    assert request.timing.deadline_s == 34.0
    assert ask(tmp_path, self_fence_bound="60").timing.deadline_s == 70.0


@pytest.mark.parametrize("proof", ["storage", "any"])
def test_other_proofs_ask_no_sidecar_and_do_not_wait(tmp_path: Path, proof: str) -> None:
    request = ask(tmp_path, proof=proof, self_fence_bound="24")
    assert request.self_fence_bound_s == 0.0
    assert request.timing.deadline_s == 30.0


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, r"^self_fence_bound: proof=self waits so long .*: give the seconds"),
        ({"self_fence_bound": "0"}, r"^self_fence_bound: "),
        ({"self_fence_bound": "90000", "deadline": "86400"}, r"^self_fence_bound: "),
        ({"self_fence_bound": "24", "deadline": "33"}, r"^deadline: 33 s cannot hold self_fence_bound=24 .*: give 34 "),
        ({"self_fence_bound": "24", "devices": "", "ip": "b"}, r"^proof: self needs the shared LUNs"),
        ({"self_fence_bound": "24"}, r"^proof: halvm-watchdogd has not run in this boot"),
    ],
)
def test_what_cannot_be_held_is_refused(tmp_path: Path, given: dict[str, str], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        ask(tmp_path, **given)


def test_a_bound_that_is_given_stretches_pacemakers_patience(tmp_path: Path) -> None:
    write_snapshot(str(tmp_path / "run"), sidecar())
    pacemaker = {"PCMK_service": "pacemaker-fenced"}
    assert ask(tmp_path, pacemaker, self_fence_bound="40").timing.deadline_s == 50.0
    assert ask(tmp_path, pacemaker, self_fence_bound="55").timing.deadline_s == 65.0, "validate-all says what to set"
    with pytest.raises(UsageError, match=r"^deadline: 50 s cannot hold self_fence_bound=41"):
        ask(tmp_path, pacemaker, self_fence_bound="41", deadline="50")


def test_monitor_finds_it_out_before_a_fence_does_and_validation_needs_no_sidecar(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"has not run in this boot"):
        ask(tmp_path, action="monitor", self_fence_bound="24")
    assert ask(tmp_path, action="validate-all", self_fence_bound="24").self_fence_bound_s == 24.0
    with pytest.raises(UsageError, match=r"^deadline: "):
        ask(tmp_path, action="validate-all", self_fence_bound="24", deadline="20")
    ask(tmp_path, action="on", plug="serv-0002", self_fence_bound="24")


def test_a_torn_snapshot_is_no_evidence(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "watchdogd.json").write_text("{")
    with pytest.raises(UsageError, match=r"^proof: .*not JSON"):
        ask(tmp_path, self_fence_bound="24")


HERE = snapshot()
WATCHDOG = HERE.watchdog


@pytest.mark.parametrize("state", [PolicyState.KEEPALIVE, PolicyState.DEGRADED, PolicyState.PAUSED])
def test_an_armed_sidecar_of_ours_does_not_contradict(state: PolicyState) -> None:
    assert doubt(HERE._replace(state=state), HERE.bound_s, BOOT, NOW.monotonic_s) is None


@pytest.mark.parametrize(
    ("seen", "says"),
    [
        (HERE._replace(boot_id="another"), "not run in this boot"),
        (HERE._replace(written_monotonic_s=NOW.monotonic_s - 6), "does not run, its last word is 6 s old"),
        (HERE._replace(written_monotonic_s=NOW.monotonic_s + 6), "does not run"),
        (HERE._replace(written_monotonic_s=float("nan")), "does not run"),
        (HERE._replace(state=PolicyState.STOPPED), "does not run"),
        (HERE._replace(state=PolicyState.SELF_FENCE), "is resetting this node"),
        (HERE._replace(state=PolicyState.STARTING, watchdog=WATCHDOG._replace(armed=False)), "no watchdog armed"),
        (HERE._replace(watchdog=WATCHDOG._replace(armed=False, device="")), "no watchdog armed"),
        (HERE._replace(bound_s=22.5), "22 s is less than the 22.5 s"),
        (HERE._replace(bound_s=float("nan")), "is less than"),
    ],
)
def test_what_our_own_sidecar_says_against_it(seen: Snapshot, says: str) -> None:
    reason = doubt(seen, 22.0, BOOT, NOW.monotonic_s)
    assert reason is not None
    assert says in reason
