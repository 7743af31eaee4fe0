# SPDX-License-Identifier: Apache-2.0
"""The whole sidecar while its list of LUNs, its configuration and its observers change: storage is well all the time,
so nothing may reset the node; and when it is lost, nothing may keep it from being reset."""

import os
import signal
import time
from pathlib import Path

import pytest

from fencer.sidecar.config import read_settings
from fencer.sidecar.processes import predecessor
from fencer.state.snapshot import PolicyState
from fencer.state.snapshot_file import write_snapshot
from tests.sidecar.running import PATIENCE_S, Sidecar, wait_for


def names(sidecar: Sidecar, text: str) -> None:
    """What the volume group's metadata name from now on."""
    (sidecar.directory / "list.new").write_text(text)
    (sidecar.directory / "list.new").replace(sidecar.directory / "list")


def luns(sidecar: Sidecar) -> list[str]:
    snapshot = sidecar.snapshot()
    return [lun.name for lun in snapshot.luns] if snapshot is not None else []


def until_luns(sidecar: Sidecar, *wanted: str) -> None:
    wait_for(lambda: luns(sidecar) == list(wanted), f"{wanted} are not watched")


def edit(sidecar: Sidecar, old: str, new: str) -> None:
    path = sidecar.directory / "watchdogd.toml"
    path.write_text(path.read_text().replace(old, new))


def end_observer(sidecar: Sidecar, by: signal.Signals = signal.SIGKILL) -> None:
    """Returns when another one observes. One that is stopped is replaced when a quarter of the grace is over."""
    before = (sidecar.directory / "observer").read_text()
    os.kill(int(before), by)
    wait_for(lambda: (sidecar.directory / "observer").read_text() not in ("", before), "no new observer")


def reload(sidecar: Sidecar, setting: str, value: float) -> None:
    """By SIGHUP, with a new value that has been taken on return."""
    path = sidecar.directory / "watchdogd.toml"
    others = [line for line in path.read_text().splitlines() if not line.startswith(f"{setting} =")]
    path.write_text("\n".join([*others, f"{setting} = {value}", ""]))
    sidecar.processes[-1].send_signal(signal.SIGHUP)
    wait_for(lambda: f"reloaded: {setting}" in sidecar.log(), "not reloaded")


def disturb(sidecar: Sidecar, event: str) -> None:
    """Does one of EVENTS."""
    match event:
        case "reload":
            reload(sidecar, "grace_s", 11)
        case "reload of what an observer knows":
            reload(sidecar, "check_interval_s", 0.2)
        case "observer killed":
            end_observer(sidecar)
        case "observer stopped":
            end_observer(sidecar, signal.SIGSTOP)


def well(sidecar: Sidecar, seconds: float = 2.5) -> None:
    """Longer than a loss takes to be noticed: fed, and no grace goes on, at whose end the node would be reset."""
    fed = len(sidecar.acts("keepalive"))
    time.sleep(seconds)
    sidecar.until_fed(fed + 1)
    wait_for(lambda: (sidecar.snapshot() or sidecar.until(PolicyState.KEEPALIVE)).grace_remaining_s is None, "a loss")
    assert sidecar.acts("reset") == []


def until_reset(sidecar: Sidecar, scene: str, why: str) -> None:
    """Plays a scene in which LUNs are lost for good, and waits for the reset; not for all of the long grace."""
    reload(sidecar, "grace_s", 1)
    sidecar.scene(scene)
    wait_for(lambda: "reset" in sidecar.acts(), why)


TROUBLES = ["fail physical volume U-sdc is missing on this node", "hang"]
EVENTS = ["reload", "reload of what an observer knows", "observer killed", "observer stopped"]


@pytest.mark.parametrize("trouble", [*TROUBLES, "2 sdb sdc"])
@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("require", ["all", "any"])
def test_what_lvm_says_or_does_not_say_resets_no_node(sidecar: Sidecar, trouble: str, event: str, require: str) -> None:
    names(sidecar, "2 sdb sdc")
    sidecar.configure(f'require = "{require}"\n')
    sidecar.start()
    sidecar.until(PolicyState.KEEPALIVE)
    if require == "any":
        sidecar.scene("lost sdc")
    names(sidecar, trouble)
    disturb(sidecar, event)
    well(sidecar)
    until_luns(sidecar, "sdb", "sdc")
    until_reset(sidecar, "lost", "lost for good, and no reset")


def test_a_list_that_fails_is_a_reason_and_passes(sidecar: Sidecar) -> None:
    sidecar.start()
    sidecar.until(PolicyState.KEEPALIVE)
    names(sidecar, "fail physical volume U-sdc is missing on this node")
    reasons = ("LUNs: they cannot be listed: vg: physical volume U-sdc is missing on this node",)
    wait_for(lambda: sidecar.until(PolicyState.DEGRADED).reasons == reasons, "not told")
    wait_for(lambda: "U-sdc is missing" in sidecar.until(PolicyState.DEGRADED).luns_unsettled, "no metric")
    names(sidecar, "1 sdb")
    assert sidecar.until(PolicyState.KEEPALIVE).luns_unsettled == ""


def test_an_array_that_lacks_a_member_is_a_reason_until_its_lun_is_watched(sidecar: Sidecar) -> None:
    """Of an array that the physical volume lies on: the metadata of the group are no newer when it is whole again."""
    names(sidecar, "2 sdb lacks")
    sidecar.start()
    reasons = ("LUNs: /dev/md0: array md0 lacks 1 of its members",)
    wait_for(lambda: sidecar.until(PolicyState.DEGRADED).reasons == reasons, "not told")
    names(sidecar, "2 sdb sdc")
    until_luns(sidecar, "sdb", "sdc")
    assert sidecar.until(PolicyState.KEEPALIVE).luns_unsettled == ""
    well(sidecar)


REFUSED = "/dev/sdb is LUN naa.6001 on this node, and may be another LUN on another node: give naa.6001"


def test_devices_that_are_refused_after_an_upgrade_arm_nothing_and_say_why(sidecar: Sidecar) -> None:
    names(sidecar, f"refuse {REFUSED}")
    sidecar.start()
    reasons = (f"LUNs: they cannot be listed: devices: {REFUSED}",)
    wait_for(lambda: reasons[0] in sidecar.until(PolicyState.STARTING).reasons, "not told")
    assert "arm" not in sidecar.acts()
    names(sidecar, "1 sdb")
    sidecar.until(PolicyState.KEEPALIVE)


def test_devices_that_are_refused_after_an_upgrade_and_a_kill_reset_no_node(sidecar: Sidecar) -> None:
    """The watchdog ticks: the LUNs of the snapshot are watched, as where LVM does not answer."""
    fed = killed_while_lvm_hangs(sidecar)
    names(sidecar, f"refuse {REFUSED}")
    sidecar.start()
    sidecar.until_fed(fed + 3)
    wait_for(lambda: REFUSED in " ".join(sidecar.until(PolicyState.DEGRADED).reasons), "not told")
    well(sidecar)
    until_luns(sidecar, "sdb", "sdc")


@pytest.mark.parametrize("trouble", ["", *TROUBLES])
@pytest.mark.parametrize("event", ["", *EVENTS])
def test_vgreduce(sidecar: Sidecar, trouble: str, event: str) -> None:
    names(sidecar, "4 sdb sdc")
    sidecar.start()
    until_luns(sidecar, "sdb", "sdc")
    sidecar.until(PolicyState.KEEPALIVE)
    if trouble:
        names(sidecar, trouble)
        sidecar.until(PolicyState.DEGRADED)
    names(sidecar, "5 sdb")
    disturb(sidecar, event)
    until_luns(sidecar, "sdb")
    sidecar.scene("lost sdc")  # it is unmapped
    well(sidecar)
    assert sidecar.until(PolicyState.KEEPALIVE).reasons == ()
    until_reset(sidecar, "lost sdb", "the other one is required still")


def observers(sidecar: Sidecar) -> list[str]:
    return (sidecar.directory / "observers").read_text().splitlines()


def test_an_observer_that_is_started_again_has_the_serial_number_of_its_set(sidecar: Sidecar) -> None:
    """Also while another one is beginning: that one's number is higher, so no list of the old set counts after it."""
    names(sidecar, "4 sdb sdc")
    sidecar.start()
    sidecar.until(PolicyState.KEEPALIVE)
    (sidecar.directory / "begin").write_text("hang")
    names(sidecar, "5 sdb")
    wait_for(lambda: observers(sidecar)[-1] == "1 sdb", "no new observer")
    (sidecar.directory / "begin").unlink()
    wait_for(lambda: luns(sidecar) == ["sdb"], "not taken up")
    before = observers(sidecar)
    number = before[-1].split()[0]
    end_observer(sidecar)
    wait_for(lambda: len(observers(sidecar)) > len(before), "not started again")
    assert observers(sidecar)[-1] == f"{number} sdb"
    assert int(number) >= 2
    well(sidecar)


@pytest.mark.parametrize("event", ["a reload", "another list"])
def test_a_new_observer_reports_as_soon_as_it_is_in_its_place(sidecar: Sidecar, event: str) -> None:
    """A silent one would be replaced by the next, a quarter of the grace later."""
    sidecar.grace(80)
    names(sidecar, "4 sdb sdc")
    sidecar.start()
    until_luns(sidecar, "sdb", "sdc")
    sidecar.until(PolicyState.KEEPALIVE)
    before = len(observers(sidecar))
    if event == "a reload":
        reload(sidecar, "check_interval_s", 0.2)
    else:
        names(sidecar, "5 sdb")
        until_luns(sidecar, "sdb")
    sidecar.scene("lost")
    wait_for(lambda: "sdb" in " ".join(sidecar.until(PolicyState.DEGRADED).reasons), "the loss was not reported")
    assert len(observers(sidecar)) == before + 1


def test_what_a_new_observer_watches_counts_only_once_it_is_in_its_place(sidecar: Sidecar) -> None:
    """The supervisor is stopped: nothing puts it there, so the old one is believed."""
    names(sidecar, "4 sdb sdc")
    sidecar.start()
    sidecar.until(PolicyState.KEEPALIVE)
    first = int((sidecar.directory / "observer").read_text())
    supervisor = int(Path(f"/proc/{first}/stat").read_text().rpartition(")")[2].split()[1])
    (sidecar.directory / "begin").write_text("wait")
    names(sidecar, "5 sdb")
    wait_for(lambda: observers(sidecar)[-1] == "1 sdb", "no new observer")
    os.kill(supervisor, signal.SIGSTOP)
    (sidecar.directory / "begin").unlink()
    well(sidecar, 1.0)
    assert luns(sidecar) == ["sdb", "sdc"]
    os.kill(supervisor, signal.SIGCONT)
    until_luns(sidecar, "sdb")
    well(sidecar)


def test_a_lun_that_only_vanished_stays_required(sidecar: Sidecar) -> None:
    names(sidecar, "4 sdb sdc")
    sidecar.start()
    until_luns(sidecar, "sdb", "sdc")
    sidecar.until(PolicyState.KEEPALIVE)
    names(sidecar, "4 sdb")
    wait_for(lambda: "sdc: not found below" in sidecar.log(), "not told")
    well(sidecar)
    until_reset(sidecar, "lost sdc", "it was required")


@pytest.mark.parametrize("trouble", ["", *TROUBLES])
@pytest.mark.parametrize("event", ["", *EVENTS])
def test_vgextend_registers_and_then_requires(sidecar: Sidecar, trouble: str, event: str) -> None:
    sidecar.start()
    sidecar.until(PolicyState.KEEPALIVE)
    sidecar.scene("lost sdc")
    if trouble:
        names(sidecar, trouble)
        wait_for(lambda: "LUNs: they cannot be listed" in sidecar.log(), "not told")
    names(sidecar, "2 sdb sdc")
    disturb(sidecar, event)
    until_luns(sidecar, "sdb", "sdc")
    wait_for(lambda: "new, and not required before it is well" in sidecar.log(), "not told")
    snapshot = sidecar.until(PolicyState.DEGRADED)
    assert "sdc: new, not registered yet" in snapshot.luns_unsettled
    well(sidecar)
    sidecar.scene("registered")
    sidecar.until(PolicyState.KEEPALIVE)
    until_reset(sidecar, "lost sdc", "it is required now")


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ("no libudev", "not reloaded: the new observer: no libudev; everything goes on as before"),
        ("hang", "not reloaded: the new observer has not begun within 1.5 s"),
    ],
)
def test_a_reload_whose_observer_does_not_begin_is_refused(sidecar: Sidecar, how: str, sentence: str) -> None:
    process = sidecar.start("hurried")
    sidecar.until(PolicyState.KEEPALIVE)
    (sidecar.directory / "begin").write_text(how)
    edit(sidecar, "check_interval_s = 0.1", "check_interval_s = 0.2")
    process.send_signal(signal.SIGHUP)
    wait_for(lambda: sentence in sidecar.log(), "no sentence")
    well(sidecar)
    snapshot = sidecar.until(PolicyState.KEEPALIVE)
    assert (snapshot.check_interval_s, snapshot.observer_restarts) == (0.1, 0)


def test_the_record_names_why_nobody_observes(sidecar: Sidecar) -> None:
    """Each has a quarter of the grace to say it, less the pause of up to 5 s before it: after that it counts
    as hung."""
    sidecar.grace(30)
    sidecar.start()
    sidecar.until(PolicyState.KEEPALIVE)
    (sidecar.directory / "begin").write_text("no libudev")
    os.kill(int((sidecar.directory / "observer").read_text()), signal.SIGKILL)
    wait_for(lambda: "reset" in sidecar.acts(), "no reset")
    record = sidecar.last()
    assert "it ended: no libudev" in record.reason


def test_nothing_is_watched_before_the_luns_are_known_and_why_is_told(sidecar: Sidecar) -> None:
    names(sidecar, "fail pvs: no answer within 10 s")
    sidecar.start()
    snapshot = sidecar.until(PolicyState.STARTING)
    wait_for(lambda: any("pvs: no answer" in one for one in (sidecar.snapshot() or snapshot).reasons), "not told")
    names(sidecar, "1 sdb")
    sidecar.until_fed()


# --- killed while the LUNs cannot be listed --------------------------------------------------------------------------


def kill(sidecar: Sidecar) -> None:
    sidecar.processes[-1].kill()
    sidecar.processes[-1].wait()


def killed_while_lvm_hangs(sidecar: Sidecar) -> int:
    """How often it had fed."""
    names(sidecar, "2 sdb sdc")
    sidecar.start()
    until_luns(sidecar, "sdb", "sdc")
    sidecar.until(PolicyState.KEEPALIVE)
    names(sidecar, "hang")
    kill(sidecar)
    return len(sidecar.acts("keepalive"))


def test_killed_while_lvm_hangs_it_goes_on_with_the_luns_of_its_snapshot(sidecar: Sidecar) -> None:
    fed = killed_while_lvm_hangs(sidecar)
    sidecar.start()
    sidecar.until_fed(fed + 3)
    wait_for(lambda: "LUNs: they cannot be listed: no answer within" in sidecar.log(), "not told")
    well(sidecar)
    until_luns(sidecar, "sdb", "sdc")
    until_reset(sidecar, "lost sdc", "it is required")


def test_killed_again_before_its_first_look_it_knows_them_still(sidecar: Sidecar) -> None:
    fed = killed_while_lvm_hangs(sidecar)
    (sidecar.directory / "begin").write_text("hang")
    process = sidecar.start()

    def published() -> bool:
        snapshot = sidecar.snapshot()
        return snapshot is not None and (snapshot.pid, snapshot.state) == (process.pid, PolicyState.STARTING)

    wait_for(published, "no snapshot")
    kill(sidecar)
    (sidecar.directory / "begin").unlink()
    sidecar.start()
    sidecar.until_fed(fed + 3)
    well(sidecar)
    until_luns(sidecar, "sdb", "sdc")


@pytest.mark.parametrize("after", ["2 sdb sdc", "3 sdb", "3 sdb sdc sdd"])
def test_the_first_list_replaces_the_luns_of_the_snapshot(sidecar: Sidecar, after: str) -> None:
    fed = killed_while_lvm_hangs(sidecar)
    sidecar.start()
    sidecar.until_fed(fed + 3)
    names(sidecar, after)
    until_luns(sidecar, *after.split()[1:])
    well(sidecar)
    assert sidecar.until(PolicyState.KEEPALIVE).luns_unsettled == ""
    names(sidecar, "9 sdb")
    until_luns(sidecar, "sdb")


def test_a_preemption_is_seen_on_the_luns_of_the_snapshot(sidecar: Sidecar) -> None:
    fed = killed_while_lvm_hangs(sidecar)
    sidecar.scene("preempted sdc")
    sidecar.start()
    wait_for(lambda: "reset" in sidecar.acts(), "no reset")
    assert len(sidecar.acts("keepalive")) == fed


@pytest.mark.parametrize("how", ["stopped in order", "other devices"])
def test_other_luns_of_a_snapshot_are_not_taken_up(sidecar: Sidecar, how: str) -> None:
    killed_while_lvm_hangs(sidecar)
    before = read_settings(str(sidecar.directory / "watchdogd.toml"))
    known = predecessor(before, "this-boot")
    assert known is not None
    assert known.luns is not None
    assert [lun.name for lun in known.luns.luns] == ["sdb", "sdc"]
    if how == "other devices":
        again = before._replace(devices=("/dev/sdd",))
    else:
        again = before
        snapshot = sidecar.snapshot()
        assert snapshot is not None
        write_snapshot(str(sidecar.state), snapshot._replace(watchdog=snapshot.watchdog._replace(armed=False)))
    known = predecessor(again, "this-boot")
    assert known is not None
    assert known.luns is None


# --- one instance, and what a stop leaves ---------------------------------------------------------------------------


def test_a_second_one_is_refused_and_touches_nothing(sidecar: Sidecar) -> None:
    first = sidecar.start()
    sidecar.until(PolicyState.KEEPALIVE)
    assert sidecar.start().wait(PATIENCE_S) == 1
    assert f"runs already, as process {first.pid}" in sidecar.acts("ended")[0]
    snapshot = sidecar.until(PolicyState.KEEPALIVE)
    assert snapshot.pid == first.pid
    assert len(sidecar.acts("arm")) == 1
    first.send_signal(signal.SIGTERM)
    assert first.wait(PATIENCE_S) == 0
    sidecar.start()
    wait_for(lambda: len(sidecar.acts("arm")) == 2, "the lock outlived its process")


def test_a_stop_during_a_loss_says_that_this_node_is_unguarded(sidecar: Sidecar) -> None:
    sidecar.grace(60)
    sidecar.start()
    sidecar.until(PolicyState.KEEPALIVE)
    sidecar.scene("lost")
    sidecar.until(PolicyState.DEGRADED)
    assert sidecar.stop() == 0
    assert "THIS NODE IS UNGUARDED NOW: stopped while sdb: no path left" in sidecar.acts("ended")[0]
    assert "ERROR: THIS NODE IS UNGUARDED NOW" in sidecar.log()


def test_a_target_that_lists_all_the_keys_that_it_can_is_published(sidecar: Sidecar) -> None:
    (sidecar.directory / "keys").write_text("8190")
    names(sidecar, "1 sdb sdc sdd")
    sidecar.start()
    snapshot = sidecar.until(PolicyState.KEEPALIVE)
    assert [(len(lun.keys), lun.more_keys) for lun in snapshot.luns] == [(64, 8191 - 64)] * 3
    later_s = snapshot.written_monotonic_s + 2.5
    wait_for(lambda: sidecar.until(PolicyState.KEEPALIVE).written_monotonic_s > later_s, "no fresh one")
    assert len((sidecar.directory / "publishers").read_text().split()) == 1
