# SPDX-License-Identifier: Apache-2.0
"""Where LVM does not answer the race is played on the LUNs that were last known, and storage proves nothing."""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from fencer.agent.facts import Facts
from fencer.agent.plan import make_plan
from fencer.agent.request import Caller, Request, StorageRequest, Timing
from fencer.agent.run import Run
from fencer.agent.storage_worker import storage_job
from fencer.agent.verdict import Verdict, judge
from fencer.errors import StorageError, UsageError
from fencer.model import Action, ArbitrationMode, BmcSettings, Deadline, Proof, ProofPolicy, Secret
from fencer.observations import ArbitrationResult, ChassisObserved
from fencer.storage import open_luns
from fencer.storage.known_luns import read_known, write_known
from fencer.storage.lun import Lun, SharedLuns
from fencer.storage.settings import StorageSettings
from fencer.worker import Workers
from tests.rig.plays import obedient_power
from tests.storage.fake_target import FakeTarget
from tests.storage.nodes import A, B, lun, registered

GROUP = "shared_vg"
WWIDS = tuple(f"naa.6001405{n:025x}" for n in range(3))


class Host:
    """What this node sees: LVM's answer, and the disks. Children that are forked see what was set before."""

    def __init__(self, state_dir: str) -> None:
        self.state_dir = state_dir
        self.targets = {wwid: registered("a", "b", target=FakeTarget(wwid=wwid)) for wwid in WWIDS}
        self.lvm: Callable[[], tuple[str, ...]] = lambda: tuple(f"/dev/{wwid}" for wwid in WWIDS)
        self.waited_s: list[float] = []
        self.missing: tuple[str, ...] = ()

    def physical_volumes(self, _group: str, *, timeout_s: float) -> tuple[str, ...]:
        self.waited_s.append(timeout_s)
        return self.lvm()

    def find_luns(
        self, entries: Sequence[str], _devices: object, *, physical_volumes: Sequence[str] = ()
    ) -> SharedLuns:
        wanted = [*entries, *(volume.removeprefix("/dev/") for volume in physical_volumes)]
        for wwid in wanted:
            if wwid not in self.targets:
                raise UsageError(f"devices: {wwid} is not visible on this node: connect the storage")
        return SharedLuns(tuple(Lun(wwid, wwid, (), None, "") for wwid in sorted(wanted)), (), self.missing)

    def call(
        self,
        action: Action,
        policy: ProofPolicy = ProofPolicy.POWER,
        bmc: bool = True,
        *,
        mode: ArbitrationMode = ArbitrationMode.REQUIRED,
        devices: tuple[str, ...] = (),
    ) -> tuple[Verdict, Facts]:
        request = Request(
            action,
            Caller.CLUSTER,
            "b",
            action is Action.ON,
            policy,
            BmcSettings("bmc", 623, b"", Secret(b"")) if bmc and action is not Action.MONITOR else None,
            StorageRequest(
                StorageSettings(devices, None if devices else GROUP, A, state_dir=self.state_dir), B, arbitration=mode
            ),
            timing=Timing(deadline_s=20.0, rank_slot_s=0.0),
        )
        plan = make_plan(request)
        run = Run(plan, Deadline.after(20.0), Workers(obedient_power, storage_job), lambda _: None)
        facts = run.execute()
        return judge(plan, facts, run.late), facts


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    host = Host(str(tmp_path / "run"))
    monkeypatch.setattr("fencer.storage.volume_group.physical_volumes", host.physical_volumes)
    monkeypatch.setattr(open_luns, "UdevDevices", lambda: None)
    monkeypatch.setattr(open_luns, "find_luns", host.find_luns)
    monkeypatch.setattr(open_luns, "holders_active", lambda *_: False)
    monkeypatch.setattr(open_luns, "_disk", lambda found, _active: lun(host.targets[found.wwid], "a"))
    return host


def no_answer() -> tuple[str, ...]:
    raise StorageError(f"volume group {GROUP}: pvs: no answer within 3 s")


def test_what_a_good_monitor_found_is_kept(host: Host) -> None:
    assert read_known(host.state_dir, GROUP) == ()
    verdict, _ = host.call(Action.MONITOR)
    assert verdict.success, verdict
    assert read_known(host.state_dir, GROUP) == WWIDS
    assert read_known(host.state_dir, "another") == ()


def test_what_a_bad_monitor_found_is_not(host: Host) -> None:
    host.targets[WWIDS[1]] = registered("b", holder=None, target=FakeTarget(wwid=WWIDS[1]))
    verdict, _ = host.call(Action.MONITOR)
    assert not verdict.success
    assert read_known(host.state_dir, GROUP) == ()


@pytest.mark.parametrize(
    ("policy", "success"),
    [(ProofPolicy.POWER, True), (ProofPolicy.ANY, True), (ProofPolicy.ALL, False), (ProofPolicy.STORAGE, False)],
)
def test_the_race_is_played_by_the_last_known_list_and_storage_proves_nothing(
    host: Host, policy: ProofPolicy, success: bool
) -> None:
    write_known(host.state_dir, GROUP, WWIDS)
    host.lvm = no_answer
    verdict, facts = host.call(Action.OFF, policy)
    assert facts.arbitration is not None
    assert (facts.arbitration.result, facts.arbitration.lun[-2:]) == (ArbitrationResult.WON, WWIDS[0][-2:])
    assert verdict.success is success
    assert "storage" not in verdict.proofs
    (why,) = [reason for reason in verdict.reasons if "pvs" in reason]
    assert "the race is played on the 3 LUNs of the last good monitor or 'on'" in why
    assert "storage proves nothing" in why


LACKING = "/dev/md0: array md0 lacks 1 of its members, so that not all LUNs below it are known: add them"


@pytest.mark.parametrize("policy", list(ProofPolicy))
@pytest.mark.parametrize("mode", list(ArbitrationMode))
def test_an_array_that_lacks_a_member_is_no_proof_and_may_hide_the_arbiter(
    host: Host, policy: ProofPolicy, mode: ArbitrationMode
) -> None:
    """The other node may see the LUN of that member, arbitrate there, and write to it."""
    host.missing = (LACKING,)
    verdict, facts = host.call(Action.OFF, policy, mode=mode)
    by_power = mode is not ArbitrationMode.REQUIRED and policy in (ProofPolicy.POWER, ProofPolicy.ANY)
    assert (verdict.success, bool(facts.commanded)) == (by_power, mode is not ArbitrationMode.REQUIRED)
    assert Proof.STORAGE not in verdict.proofs
    assert any(LACKING in reason for reason in verdict.reasons), verdict


def test_a_monitor_of_an_array_that_lacks_a_member_fails_and_keeps_no_list(host: Host) -> None:
    host.missing = (LACKING,)
    verdict, _ = host.call(Action.MONITOR)
    assert not verdict.success
    assert LACKING in verdict.reasons
    assert read_known(host.state_dir, GROUP) == ()


def test_a_node_whose_array_lacks_a_member_registers_on_the_others(host: Host) -> None:
    host.missing = (LACKING,)
    verdict, facts = host.call(Action.ON, bmc=False)
    assert verdict.success, verdict
    assert [note.text for note in facts.notes] == [LACKING]
    assert len(facts.registered) == len(WWIDS)
    assert read_known(host.state_dir, GROUP) == ()


@pytest.mark.parametrize("action", [Action.OFF, Action.ON, Action.MONITOR, Action.STATUS])
def test_a_name_of_this_node_alone_is_refused_by_each_action(host: Host, action: Action) -> None:
    host.targets["/dev/sdb"] = host.targets[WWIDS[0]]
    verdict, facts = host.call(action, bmc=False, devices=("/dev/sdb",))
    assert not verdict.success
    assert any("devices: /dev/sdb is LUN" in reason for reason in verdict.reasons), verdict
    assert not facts.commanded


def test_without_a_list_power_is_not_touched(host: Host) -> None:
    host.lvm = no_answer
    verdict, facts = host.call(Action.OFF)
    assert not verdict.success
    assert not facts.commanded
    assert not any(isinstance(state, ChassisObserved) for state in facts.states)


def test_a_lun_of_the_list_that_is_gone_leaves_the_race_undecided(host: Host) -> None:
    """It may be the arbiter that the other node sees."""
    write_known(host.state_dir, GROUP, WWIDS)
    host.lvm = no_answer
    del host.targets[WWIDS[1]]
    verdict, facts = host.call(Action.OFF)
    assert not verdict.success
    assert not facts.commanded
    assert any(WWIDS[1] in reason and "not visible" in reason for reason in verdict.reasons)


@pytest.mark.parametrize("action", [Action.MONITOR, Action.ON])
def test_only_a_fence_does_without_lvm(host: Host, action: Action) -> None:
    write_known(host.state_dir, GROUP, WWIDS)
    host.lvm = no_answer
    verdict, _ = host.call(action, bmc=False)
    assert not verdict.success
    assert any("no answer" in reason for reason in verdict.reasons)


def test_lvm_is_given_less_time_where_there_is_a_list(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = StorageSettings((), GROUP, A, state_dir=host.state_dir)
    open_luns.open_luns(settings, Deadline.after(30), in_doubt=True)
    write_known(host.state_dir, GROUP, WWIDS)
    open_luns.open_luns(settings, Deadline.after(30), in_doubt=True)
    open_luns.open_luns(settings, Deadline.after(30))
    assert host.waited_s == [open_luns.LVM_S, open_luns.LVM_IN_DOUBT_S, open_luns.LVM_S]


def test_where_lvm_answers_the_list_is_not_looked_at(host: Host) -> None:
    write_known(host.state_dir, GROUP, WWIDS[:1])
    verdict, facts = host.call(Action.OFF, ProofPolicy.ALL)
    assert verdict.success, verdict
    assert len(facts.isolated) == 3


@pytest.mark.parametrize("content", ["", "{", "[]", '{"wwids": 5}', '{"wwids": [1]}', '{"wwids": [""]}', "[" * 100_000])
def test_a_list_that_is_none(tmp_path: Path, content: str) -> None:
    (tmp_path / f"luns-{GROUP}.json").write_text(content)
    assert read_known(str(tmp_path), GROUP) == ()


@pytest.mark.parametrize("trouble", ["FIFO", "link", "directory others may write to"])
def test_a_list_that_another_user_may_have_put_there(tmp_path: Path, trouble: str) -> None:
    path = tmp_path / f"luns-{GROUP}.json"
    write_known(str(tmp_path), GROUP, WWIDS)
    match trouble:
        case "FIFO":
            path.unlink()
            os.mkfifo(path)
        case "link":
            path.rename(tmp_path / "real")
            path.symlink_to(tmp_path / "real")
        case _:
            tmp_path.chmod(0o777)
    assert read_known(str(tmp_path), GROUP) == ()


def test_a_list_that_is_the_same_is_not_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_known(str(tmp_path), GROUP, WWIDS)

    def refuse(*_arguments: Any, **_more: Any) -> None:
        raise AssertionError("written again")

    monkeypatch.setattr("fencer.atomic_file.replace_file", refuse)
    write_known(str(tmp_path), GROUP, tuple(reversed(WWIDS)))
