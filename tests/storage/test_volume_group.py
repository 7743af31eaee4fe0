# SPDX-License-Identifier: Apache-2.0
import contextlib
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fencer.child_program import Done
from fencer.errors import FenceError, StorageError, UsageError
from fencer.storage.volume_group import NO_COPY, physical_volumes, read_volume_group
from tests.storage.fake_devices import WWID_A, WWID_B, FakeDevices


def pv(name="/dev/sdb", vg="shared_vg", count=1, **more):
    return {
        "pv_name": name,
        "pv_uuid": "U1",
        "pv_missing": "",
        "vg_name": vg,
        "vg_uuid": "V",
        "pv_count": str(count),
        **more,
    }


class FakePvs:
    """Answers as pvs does, and keeps what it was asked."""

    def __init__(self, *rows, returncode=0, stderr="", stdout=None):
        self.stdout = json.dumps({"report": [{"pv": list(rows)}]}) if stdout is None else stdout
        self.stderr = stderr
        self.returncode = returncode
        self.argv: tuple[str, ...] = ()

    def __call__(self, argv, timeout_s):
        self.argv = tuple(argv)
        return Done(self.returncode, self.stdout, self.stderr)


def ask(pvs, name="shared_vg"):
    return physical_volumes(name, run=pvs, timeout_s=5)


def test_volumes_of_this_group_only_sorted():
    pvs = FakePvs(pv("/dev/sdc", count=2), pv("/dev/sda3", vg="root"), pv("/dev/mapper/mpatha", count=2))
    assert ask(pvs) == ("/dev/mapper/mpatha", "/dev/sdc")


def test_pvs_only_reads():
    pvs = FakePvs(pv())
    ask(pvs)
    assert pvs.argv[0] == "pvs"
    assert {"--readonly", "--nolocking", "--foreign", "--shared"} <= set(pvs.argv)


def test_the_metadata_say_how_new_they_are_and_what_they_name():
    pvs = FakePvs(pv("/dev/sdc", count=2, pv_uuid="U2", vg_seqno="7"), pv("/dev/sdb", count=2, vg_seqno="7"))
    assert read_volume_group("shared_vg", run=pvs, timeout_s=5) == (
        "V", 7, (("/dev/sdb", "U1"), ("/dev/sdc", "U2")),
    )  # fmt: skip


def test_an_lvm_that_does_not_say_how_new_they_are_is_read_all_the_same():
    assert read_volume_group("shared_vg", run=FakePvs(pv()), timeout_s=5).seqno == 0


def copied(tmp_path: Path, *rows):
    """The answer on a node with sdb and sdc, two LUNs, and sdd, another path to that of sdb."""
    node = FakeDevices(tmp_path)
    for name, wwid in (("sdb", WWID_A), ("sdc", WWID_B), ("sdd", WWID_A)):
        node.disk(name, wwid)
    return read_volume_group("shared_vg", run=FakePvs(*rows), timeout_s=5, devices=node).volumes


@pytest.mark.parametrize("group", ["shared_vg", "its_old_name"])
@pytest.mark.parametrize(("chosen", "copy"), [("/dev/sdb", "/dev/sdc"), ("/dev/sdc", "/dev/sdb"), ("/dev/sdb", "?")])
def test_a_physical_volume_that_is_on_two_luns_is_on_neither(tmp_path: Path, chosen: str, copy: str, group: str):
    """Each node may choose another one: this one then isolates a copy, on which the victim does not write."""
    rows = pv(chosen), pv(copy, vg=group, count=0, pv_duplicate="duplicate")
    with pytest.raises(StorageError, match=f"physical volume {chosen} is on another LUN, too") as raised:
        copied(tmp_path, *rows)
    assert raised.value.with_remedy.endswith(f": {NO_COPY}")


def test_a_second_path_without_multipath_is_no_copy(tmp_path: Path):
    assert copied(tmp_path, pv(), pv("/dev/sdd", count=0, pv_duplicate="duplicate")) == (("/dev/sdb", "U1"),)


def test_a_copy_of_another_groups_volume_does_not_matter(tmp_path: Path):
    other = pv("/dev/sdc", vg="other", count=0, pv_uuid="U2", pv_duplicate="duplicate")
    assert copied(tmp_path, pv(), other) == (("/dev/sdb", "U1"),)


@pytest.mark.parametrize("name", ["", "-vg", "a b", "a/b", "a;b", "a\n", "é", "..", ".", "a" * 128, '"', "--config=x"])
def test_bad_name_is_refused_before_pvs_is_run(name):
    pvs = FakePvs(pv())
    with pytest.raises(UsageError, match=r"vg: .* is not a volume group name"):
        ask(pvs, name)
    assert pvs.argv == ()


def test_unknown_group_names_the_remedy():
    with pytest.raises(
        UsageError, match=r"no physical volume of volume group shared_vg is visible on this node: correct"
    ):
        ask(FakePvs(pv(vg="root")))


@pytest.mark.parametrize("missing", [{"name": "[unknown]"}, {"pv_missing": "missing"}])
def test_missing_volume_is_named(missing):
    with pytest.raises(StorageError, match=r"volume group shared_vg: physical volume U2 is missing on this node"):
        ask(FakePvs(pv(count=2), pv(**{"name": "/dev/sdc", "count": 2, "pv_uuid": "U2", **missing})))


def test_incomplete_answer_is_an_error():
    with pytest.raises(StorageError, match="pvs shows 1 of 2 physical volumes: boom"):
        ask(FakePvs(pv(count=2), stderr="boom\n", returncode=5))


def test_failure_of_another_group_does_not_matter():
    assert ask(FakePvs(pv(), returncode=5, stderr="Cannot process volume group other")) == ("/dev/sdb",)


def test_failure_without_an_answer_is_named():
    with pytest.raises(StorageError, match="pvs: exit status 5: devices file is missing"):
        ask(FakePvs(returncode=5, stderr="x\n  devices file is missing\n\n", stdout=""))


def test_two_groups_of_one_name():
    with pytest.raises(UsageError, match="two volume groups named shared_vg: rename one"):
        ask(FakePvs(pv(), pv("/dev/sdc", vg_uuid="W")))


def test_no_lvm_names_the_package():
    def none(argv, timeout_s):
        raise FileNotFoundError(2, "No such file or directory", argv[0])

    with pytest.raises(UsageError, match="install the package lvm2"):
        ask(none)


def test_silence_is_a_storage_error():
    def silent(argv, timeout_s):
        raise TimeoutError

    with pytest.raises(StorageError, match="pvs: no answer within 5 s"):
        ask(silent)


@pytest.mark.parametrize(
    "stdout",
    ["{", "[]", "null", '{"report": 5}', '{"report": [{"pv": [5]}]}', '{"report": [{"pv": 5}]}', "[" * 100_000],
)
def test_report_that_does_not_decode(stdout):
    with pytest.raises(StorageError, match="its report does not decode"):
        ask(FakePvs(stdout=stdout))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.sampled_from(["report", "pv", "vg_name", "pv_name", "pv_count"]) | st.text(), inner)
    ),
)


@given(st.text() | JSON.map(json.dumps) | JSON.map(lambda pvs: json.dumps({"report": [{"pv": pvs}]})))
def test_any_report_answers_or_is_a_fence_error(stdout):
    with contextlib.suppress(FenceError):
        ask(FakePvs(stdout=stdout))


SITE_SETTINGS = (
    "report { binary_values_as_numeric=1 }",
    "report { prefixes=1 }",
    "report { prefixes=1 quoted=0 }",
    "report { compact_output=1 }",
    'report { compact_output_cols="pv_missing,vg_uuid,pv_count" }',
    "report { buffered=0 }",
    "report { headings=0 }",
    "report { headings=2 }",
    "report { columns_as_rows=1 }",
    "report { aligned=0 }",
    'report { output_format="basic" }',
    'report { output_format="json_std" }',
    'report { separator=";" list_item_separator="|" }',
    "report { two_word_unknown_device=1 }",
    "log { command_names=1 }",
    "log { report_command_log=1 }",
    "log { verbose=3 }",
    "log { silent=1 }",
    'log { prefix="LVM: " indent=1 }',
    "config { checks=1 abort_on_errors=0 }",
    'global { units="s" suffix=0 }',
)


@pytest.mark.peer
def test_real_lvm_shows_a_foreign_group_and_a_missing_volume(tmp_path: Path, monkeypatch):
    """Two loop devices and a copy of one, a group owned by another host's system ID, without device-mapper."""
    if os.geteuid() != 0 or not shutil.which("pvcreate") or not shutil.which("losetup"):
        pytest.skip("needs root, lvm2 and losetup")
    # So that archives and backups of the trial group do not land in /etc/lvm.
    monkeypatch.setenv("LVM_SYSTEM_DIR", str(tmp_path))
    monkeypatch.setenv("LVM_SUPPRESS_FD_WARNINGS", "1")
    name = f"fence_halvm_test_{os.getpid()}"
    host = 'global/system_id_source="lvmlocal" local/system_id="elsewhere"'
    loops: list[str] = []

    def lvm(program: str, *arguments: str) -> None:
        subprocess.run(
            [program, "-qq", "-y", "--driverloaded", "n", "--config", host, *arguments],
            check=True,
            capture_output=True,
            timeout=60,
        )

    try:
        for number in (1, 2):
            disk = tmp_path / f"disk{number}"
            with disk.open("wb") as file:
                file.truncate(16 << 20)
            done = subprocess.run(["losetup", "-f", "--show", str(disk)], capture_output=True, text=True, timeout=60)
            if done.returncode != 0 or not Path(done.stdout.strip()).is_block_device():
                pytest.skip(f"no loop device: {done.stderr}")
            loops.append(done.stdout.strip())
            lvm("pvcreate", loops[-1])
        lvm("vgcreate", name, *loops)
        assert subprocess.run(["vgs", "--readonly", name], check=False, capture_output=True, timeout=60).returncode != 0
        assert physical_volumes(name, timeout_s=30) == tuple(sorted(loops))
        assert not (tmp_path / "hints").exists()
        for setting in SITE_SETTINGS:
            (tmp_path / "lvm.conf").write_text(setting)
            assert physical_volumes(name, timeout_s=30) == tuple(sorted(loops)), setting
        (tmp_path / "lvm.conf").unlink()

        copy = shutil.copy(tmp_path / "disk1", tmp_path / "copy")
        done = subprocess.run(["losetup", "-f", "--show", copy], capture_output=True, text=True, check=True, timeout=60)
        loops.append(done.stdout.strip())
        with pytest.raises(StorageError, match=f"physical volume {loops[0]} is on another LUN, too: {loops[2]}"):
            physical_volumes(name, timeout_s=30)
        subprocess.run(["losetup", "-d", loops.pop()], check=True, timeout=60)

        subprocess.run(["losetup", "-d", loops.pop()], check=True, timeout=60)
        with pytest.raises(StorageError, match="is missing on this node"):
            physical_volumes(name, timeout_s=30)
    finally:
        for loop in loops:
            subprocess.run(["losetup", "-d", loop], check=False, timeout=60)
