# SPDX-License-Identifier: Apache-2.0
"""The whole sidecar as processes: what it arms, feeds, says and does in each case. See tests/sidecar/sidecar.py."""

import itertools
import os
import signal
import socket
import time
from pathlib import Path

from fencer.sidecar.feeder import REST_TIMES, UNARMED_REST_S
from fencer.state.snapshot import PolicyState
from tests.sidecar.running import PATIENCE_S, Sidecar, wait_for
from tests.sidecar.sidecar import LABORIOUS_S


def test_it_arms_after_the_first_look_and_feeds(sidecar: Sidecar) -> None:
    sidecar.start()
    sidecar.until_fed(3)
    snapshot = sidecar.until(PolicyState.KEEPALIVE)
    assert sidecar.acts("arm") == ["arm"]
    assert snapshot.watchdog.armed and snapshot.watchdog.timeout_s == 2
    assert snapshot.luns[0].registration == "registered"
    assert snapshot.luns[0].keys[0].node == "serv-0001"
    assert snapshot.luns[0].paths[0].up and snapshot.luns[0].paths[0].registered
    assert snapshot.luns[0].type == "write exclusive registrants only"
    assert snapshot.registrations == 1
    wait_for(lambda: "registration register success" in sidecar.journal(), "no event")


def test_nothing_is_armed_while_the_storage_is_away(sidecar: Sidecar) -> None:
    sidecar.grace(1)
    sidecar.scene("lost")
    sidecar.start()
    sidecar.until(PolicyState.STARTING)
    time.sleep(1.5)  # longer than the grace
    assert sidecar.acts() == []
    sidecar.scene("registered")
    sidecar.until_fed()


def test_an_orderly_stop_disarms(sidecar: Sidecar) -> None:
    sidecar.start()
    sidecar.until_fed()
    assert sidecar.stop() == 0
    assert sidecar.acts()[-2:] == ["disarm", "ended 0 "]
    snapshot = sidecar.until(PolicyState.STOPPED)
    assert not snapshot.watchdog.armed


def test_a_stop_with_nowayout_says_that_the_node_will_be_reset(sidecar: Sidecar) -> None:
    sidecar.start("nowayout")
    sidecar.until_fed()
    assert sidecar.stop() == 0
    assert "resets this node in 2 s unless" in sidecar.acts()[-1]
    assert sidecar.until(PolicyState.STOPPED).watchdog.armed


def test_a_stop_removes_the_key_first_where_that_is_asked(sidecar: Sidecar) -> None:
    sidecar.configure("unregister_on_stop = true\n")
    sidecar.start()
    sidecar.until_fed()
    assert sidecar.stop() == 0
    assert [act for act in sidecar.acts() if not act.startswith("keepalive")] == [
        "arm",
        "unregister 0xabc1",
        "disarm",
        "ended 0 ",
    ]


def test_a_stop_says_why_the_key_stays(sidecar: Sidecar) -> None:
    sidecar.configure("unregister_on_stop = true\n")
    (sidecar.directory / "holder").touch()
    sidecar.start()
    sidecar.until_fed()
    assert sidecar.stop() == 0
    assert sidecar.acts()[-1] == "ended 0 the key was not removed: sdb: this node holds the reservation"
    assert "not reloaded" not in sidecar.log()


def test_a_preemption_resets_at_once_and_the_reason_is_kept(sidecar: Sidecar) -> None:
    sidecar.start()
    sidecar.until_fed()
    sidecar.scene("preempted")
    wait_for(lambda: "reset" in sidecar.acts(), "no reset")
    fed = len(sidecar.acts("keepalive"))
    wait_for(lambda: any(act.startswith("say self-fence: preempted") for act in sidecar.acts()), "not said")
    record = sidecar.last()
    assert record.reason.startswith("preempted: sdb: our key was preempted")
    assert record.boot_id == "this-boot"
    wait_for(lambda: "self-fence reset unknown preempted" in sidecar.journal(), "no event")
    time.sleep(1.0)
    assert len(sidecar.acts("keepalive")) == fed
    assert "disarm" not in sidecar.acts()


def test_lost_storage_resets_after_the_grace_not_before(sidecar: Sidecar) -> None:
    sidecar.grace(4)
    sidecar.start()
    sidecar.until_fed()
    sidecar.scene("lost")
    lost = time.monotonic()
    degraded = sidecar.until(PolicyState.DEGRADED)
    assert degraded.grace_remaining_s is not None
    wait_for(lambda: "reset" in sidecar.acts(), "no reset")
    assert time.monotonic() - lost >= 4.0
    record = sidecar.last()
    assert record.reason.startswith("paths-lost")


def test_a_flap_shorter_than_the_grace_resets_nothing(sidecar: Sidecar) -> None:
    sidecar.grace(6)
    sidecar.start()
    sidecar.until_fed()
    sidecar.scene("lost")
    sidecar.until(PolicyState.DEGRADED)
    sidecar.scene("registered")
    sidecar.until(PolicyState.KEEPALIVE)
    time.sleep(6.5)  # longer than the grace
    assert sidecar.acts("reset") == []


def test_in_watchdog_mode_it_only_stops_feeding(sidecar: Sidecar) -> None:
    sidecar.configure('self_fence = "watchdog"\n')
    process = sidecar.start()
    sidecar.until_fed()
    sidecar.scene("preempted")
    sidecar.until(PolicyState.SELF_FENCE)
    fed = len(sidecar.acts("keepalive"))
    process.send_signal(signal.SIGTERM)  # a stop now would feed it once more
    time.sleep(1.5)
    assert process.poll() is None
    assert len(sidecar.acts("keepalive")) == fed
    assert not {"disarm", "reset"} & set(sidecar.acts())


def test_a_node_that_was_preempted_in_this_boot_is_not_served(sidecar: Sidecar) -> None:
    sidecar.scene("preempted")
    assert sidecar.start().wait(PATIENCE_S) == 3
    (end,) = sidecar.acts()
    assert "another node fenced this one" in end and "reboot this node" in end


def test_a_device_that_cannot_be_a_watchdog_ends_it(sidecar: Sidecar) -> None:
    assert sidecar.start("taken").wait(PATIENCE_S) == 1
    assert "only alarms" in sidecar.acts()[-1]


def test_a_device_that_takes_no_keepalive_is_told_and_tried_again_at_leisure(sidecar: Sidecar) -> None:
    sidecar.start("takes2")
    reasons = ("/dev/watchdog9: keepalive: No such device",)
    wait_for(lambda: sidecar.until(PolicyState.DEGRADED).reasons == reasons, "not told")
    before, began = len(sidecar.acts("refused")), time.monotonic()
    time.sleep(1.5)
    wait_for(lambda: len(sidecar.acts("refused")) - before >= 2, "not tried again")
    assert len(sidecar.acts("refused")) - before <= 5 * (time.monotonic() - began)
    assert sidecar.log().count("ERROR: /dev/watchdog9: keepalive") == 1


def test_a_device_that_does_not_take_its_first_keepalive_is_not_left_running(sidecar: Sidecar) -> None:
    assert sidecar.start("takes0").wait(PATIENCE_S) == 1
    assert sidecar.acts() == ["arm", "refused", "disarm", "ended 1 /dev/watchdog9: keepalive: No such device"]


def _rests_s(sidecar: Sidecar, count: int) -> list[float]:
    """How long the feeder decides nothing between two of the next decisions."""
    path = sidecar.directory / "decisions"

    def decisions() -> list[list[float]]:
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        return [[float(time_s) for time_s in line.split()] for line in lines if line.endswith("\n")]

    before = len(decisions())
    wait_for(lambda: len(decisions()) - before > count, "it decides nothing")
    return [after[0] - first[1] for first, after in itertools.pairwise(decisions()[before:])]


def test_after_a_turn_that_took_long_reports_have_to_wait(sidecar: Sidecar) -> None:
    """The feeder is real-time: on a slow processor the observer would get nothing of it."""
    sidecar.scene("lost")
    sidecar.start("laborious")
    sidecar.until(PolicyState.STARTING)
    assert min(_rests_s(sidecar, 3)) >= UNARMED_REST_S
    sidecar.scene("registered")
    sidecar.until_fed()
    assert REST_TIMES * LABORIOUS_S <= min(_rests_s(sidecar, 10)) < UNARMED_REST_S


def test_a_killed_observer_is_started_again_and_counted(sidecar: Sidecar) -> None:
    sidecar.start()
    sidecar.until_fed()
    sidecar.scene("die")
    wait_for(lambda: "told to die" in sidecar.log(), "its end was not told")
    sidecar.scene("registered")
    wait_for(lambda: (sidecar.snapshot() or sidecar.until(PolicyState.KEEPALIVE)).observer_restarts > 0, "not counted")
    sidecar.until(PolicyState.KEEPALIVE)
    assert sidecar.acts("reset") == []


def test_an_observer_that_says_nothing_is_a_loss(sidecar: Sidecar) -> None:
    sidecar.grace(2)
    sidecar.start()
    sidecar.until_fed()
    sidecar.scene("silent")
    wait_for(lambda: "reset" in sidecar.acts(), "no reset")
    record = sidecar.last()
    assert record.reason.startswith(("observers-silent", "paths-lost"))


def test_a_killed_publisher_is_started_again(sidecar: Sidecar) -> None:
    sidecar.start()
    sidecar.until(PolicyState.KEEPALIVE)
    before = int((sidecar.directory / "publishers").read_text().split()[-1])
    os.kill(before, signal.SIGKILL)
    wait_for(lambda: int((sidecar.directory / "publishers").read_text().split()[-1]) != before, "no new publisher")
    (sidecar.state / "watchdogd.json").unlink()
    sidecar.until(PolicyState.KEEPALIVE)
    assert sidecar.acts("reset") == []


def test_a_child_that_cannot_be_started_is_started_later(sidecar: Sidecar) -> None:
    sidecar.start()
    sidecar.until(PolicyState.KEEPALIVE)
    sidecar.memory(short=True)
    before = int((sidecar.directory / "publishers").read_text().split()[-1])
    os.kill(before, signal.SIGKILL)
    time.sleep(0.5)  # some tries
    fed = len(sidecar.acts("keepalive"))
    sidecar.until_fed(fed + 2)
    sidecar.memory(short=False)
    wait_for(lambda: int((sidecar.directory / "publishers").read_text().split()[-1]) != before, "no new publisher")
    assert sidecar.acts("reset") == []


def test_an_observer_that_cannot_be_started_is_told_and_started_later(sidecar: Sidecar) -> None:
    sidecar.grace(30)
    sidecar.start()
    sidecar.until(PolicyState.KEEPALIVE)
    sidecar.memory(short=True)
    sidecar.scene("die")
    wait_for(lambda: "observer: no process could be started for it: Cannot allocate" in sidecar.log(), "not told")
    sidecar.scene("registered")
    sidecar.memory(short=False)
    fed = len(sidecar.acts("keepalive"))
    sidecar.until_fed(fed + 2)
    sidecar.until(PolicyState.KEEPALIVE)
    assert sidecar.acts("reset") == []


def test_a_reload_without_memory_is_refused_and_nothing_ends(sidecar: Sidecar) -> None:
    process = sidecar.start()
    sidecar.until_fed()
    sidecar.memory(short=True)
    process.send_signal(signal.SIGHUP)
    wait_for(lambda: "not reloaded: no process could be started for it" in sidecar.log(), "no sentence")
    fed = len(sidecar.acts("keepalive"))
    sidecar.until_fed(fed + 2)


def test_a_stop_without_memory_says_that_the_key_stays(sidecar: Sidecar) -> None:
    sidecar.configure("unregister_on_stop = true\n")
    sidecar.start()
    sidecar.until_fed()
    sidecar.memory(short=True)
    assert sidecar.stop() == 0
    assert "ended 0 the key was not removed: no process could be started for it: Cannot" in sidecar.acts()[-1]


def test_a_stopped_publisher_delays_neither_feeding_nor_reset(sidecar: Sidecar) -> None:
    sidecar.start()
    sidecar.until_fed()
    publisher = int((sidecar.directory / "publishers").read_text().split()[-1])
    os.kill(publisher, signal.SIGSTOP)
    fed = len(sidecar.acts("keepalive"))
    sidecar.until_fed(fed + 3)
    sidecar.scene("preempted")
    wait_for(lambda: "reset" in sidecar.acts(), "no reset")


def test_no_child_outlives_the_feeder(sidecar: Sidecar) -> None:
    process = sidecar.start()
    sidecar.until_fed()
    publisher = int((sidecar.directory / "publishers").read_text().split()[-1])
    process.kill()
    process.wait()

    def gone() -> bool:
        try:
            return Path(f"/proc/{publisher}/stat").read_text().rpartition(")")[2].split()[0] in ("Z", "X")
        except FileNotFoundError:
            return True

    wait_for(gone, "the publisher lives on")


def test_systemd_is_told(sidecar: Sidecar, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(PATIENCE_S)
        sidecar.scene("lost")
        sidecar.start(notify=str(tmp_path / "notify"))
        assert manager.recv(4096).startswith(b"STATUS=starting")
        sidecar.scene("registered")
        told = b""
        while b"READY=1" not in told:
            told = manager.recv(4096)
        sidecar.processes[-1].send_signal(signal.SIGTERM)
        while b"STOPPING=1" not in told:
            told = manager.recv(4096)
