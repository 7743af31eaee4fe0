# SPDX-License-Identifier: Apache-2.0
"""How long devices hold commands, read from a machine's sysfs, and what of it does not go with the grace."""

from pathlib import Path

import pytest

from fencer.sidecar import device_timeouts
from fencer.sidecar.config import parse_settings
from fencer.sidecar.device_timeouts import MapTimeouts, PathTimeouts, Queueing, parse_maps, path_advice, read_path
from fencer.sidecar.settings import Settings
from fencer.storage.lun import Lun


def settings(grace_s: float = 70) -> Settings:
    return parse_settings(f'vg = "x"\ngrace_s = {grace_s}\n')


def add_disk(sys: Path, name: str, where: str, timeout: int, **attributes: str) -> None:
    """where: between the host adapter and the disk. attributes: of the iSCSI session or the FC remote port."""
    device = sys / "devices/pci0000:00/host3" / where / "target3:0:0/3:0:0:0"
    (device / "block" / name).mkdir(parents=True)
    (device / "timeout").write_text(f"{timeout}\n")
    (sys / "block" / name).mkdir(parents=True)
    (sys / "block" / name / "device").symlink_to(device)
    kind = "iscsi_session" if where.startswith("session") else "fc_remote_ports"
    for key, value in attributes.items():
        file = sys / "class" / kind / where / key
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{value}\n")


def test_the_timeouts_of_an_iscsi_disk(tmp_path: Path):
    add_disk(tmp_path, "sdb", "session7", 30, recovery_tmo="120")
    assert read_path("/dev/sdb", str(tmp_path)) == PathTimeouts("sdb", 30, replacement_s=120)


def test_the_timeouts_of_a_fibre_channel_disk(tmp_path: Path):
    add_disk(tmp_path, "sdc", "rport-3:0-2", 60, fast_io_fail_tmo="5", dev_loss_tmo="30")
    assert read_path("sdc", str(tmp_path)) == PathTimeouts("sdc", 60, fast_io_fail_s=5, dev_loss_s=30)


@pytest.mark.parametrize("told", ["off", "-1", ""])
def test_what_is_off_or_unreadable_is_no_number(tmp_path: Path, told: str):
    add_disk(tmp_path, "sdc", "rport-3:0-2", 60, fast_io_fail_tmo=told, dev_loss_tmo=told)
    assert read_path("sdc", str(tmp_path)) == PathTimeouts("sdc", 60)
    assert read_path("sdz", str(tmp_path)) == PathTimeouts("sdz")


def test_what_multipathd_says_of_its_maps():
    text = "mpatha|12 chk\nmpathb|on\nmpathc|off\nmpathd|-\nmpathe|40 sec\nmpathf|???\n\nnonsense\n"
    assert parse_maps(text, 5.0) == {
        "mpatha": MapTimeouts("mpatha", Queueing.FOR_A_WHILE, 60.0),
        "mpathb": MapTimeouts("mpathb", Queueing.QUEUE),
        "mpathc": MapTimeouts("mpathc", Queueing.FAIL),
        "mpathd": MapTimeouts("mpathd", Queueing.FAIL),
        "mpathe": MapTimeouts("mpathe", Queueing.FOR_A_WHILE, 40.0),
        "mpathf": MapTimeouts("mpathf", Queueing.UNKNOWN),
    }


@pytest.mark.parametrize(
    ("path", "multipath", "words"),
    [
        (PathTimeouts("sdb", 30), False, []),
        (PathTimeouts("sdb", 60), False, []),
        (PathTimeouts("sdb", 120), False, ["give grace_s = 125 or more"]),
        (PathTimeouts("sdb", 30, replacement_s=120), False, []),
        (PathTimeouts("sdb", 30, replacement_s=5), False, ["replacement_timeout is 5 s and there is no multipath map"]),
        (PathTimeouts("sdb", 30, replacement_s=120), True, ["I/O stands still", "5 to 15"]),
        (PathTimeouts("sdb", 30, replacement_s=5), True, []),
        (PathTimeouts("sdb", 30, fast_io_fail_s=5, dev_loss_s=600), True, []),
        (PathTimeouts("sdb", 30, fast_io_fail_s=5, dev_loss_s=30), True, ["dev_loss_tmo is 30 s", "to infinity"]),
        (PathTimeouts("sdb"), True, []),
    ],
)
def test_what_does_not_go_with_the_grace(path: PathTimeouts, multipath: bool, words: list[str]):
    said = " ".join(path_advice(path, multipath, settings()))
    assert bool(said) is bool(words)
    for each in words:
        assert each in said


@pytest.mark.parametrize(("deadline_s", "advised"), [(2, False), (30, True), (60, True), (15, False)])
def test_a_probe_that_waits_longer_than_the_kernel(deadline_s: float, advised: bool):
    patient = parse_settings(f'vg = "x"\ngrace_s = 300\nprobe_deadline_s = {deadline_s}\n')
    said = list(path_advice(PathTimeouts("sdb", 30), False, patient))
    assert bool(said) is advised
    assert all("give probe_deadline_s = 15 or less" in each for each in said)


def test_the_grace_that_is_advised_is_enough():
    path = PathTimeouts("sdb", 120)
    assert list(path_advice(path, False, settings(70)))
    assert not list(path_advice(path, False, settings(125)))


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ("mpatha|off", "no_path_retry is fail"),
        ("mpatha|4 chk", "I/O fails after 20 s"),
        ("mpatha|14 chk", ""),
        ("mpatha|on", ""),
    ],
)
def test_maps_that_give_up_before_the_grace(tmp_path: Path, monkeypatch, told: str, words: str):
    add_disk(tmp_path, "sdb", "session7", 30, recovery_tmo="5")
    add_disk(tmp_path, "sdc", "session8", 30, recovery_tmo="5")
    asked = {device_timeouts._SHOW_MAPS: told, device_timeouts._SHOW_CONFIG: 'polling_interval "5"\n'}
    monkeypatch.setattr(device_timeouts, "_asked", lambda command: asked[command])
    lun = Lun("naa.1", "mpatha", ("/dev/sdb", "/dev/sdc"), "/dev/mapper/mpatha", "dm-0")
    said = device_timeouts.advice([lun], settings(), str(tmp_path))
    assert len(said) == bool(words)
    assert all(each.startswith("mpatha: ") and words in each for each in said)


def test_one_sentence_for_all_paths_that_it_is_about(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(device_timeouts, "_asked", lambda _command: "")
    for number, name in ((1, "sdb"), (2, "sdc")):
        add_disk(tmp_path, name, f"rport-3:0-{number}", 30, dev_loss_tmo="30")
    lun = Lun("naa.1", "mpatha", ("/dev/sdb", "/dev/sdc"), "/dev/mapper/mpatha", "dm-0")
    (said,) = device_timeouts.advice([lun], settings(), str(tmp_path))
    assert said.startswith("sdb, sdc: dev_loss_tmo is 30 s")
