# SPDX-License-Identifier: Apache-2.0
"""Programs that are missing, fail, hang or talk nonsense; and the LUNs, by the sidecar's snapshot."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from fencer.ctl.asking import read_cib, read_vgs
from fencer.ctl.side_by_side import SourceReading, parsed, side_by_side
from fencer.ctl.sources import crm_mon, lvm_report
from fencer.ctl.sources.commands import ToolAnswer, ask, run_program
from fencer.ctl.sources.local_files import last_fences, sidecar
from fencer.ctl.sources.luns import from_snapshot
from fencer.ctl.sources.lvm_report import parse_vgs
from fencer.errors import UsageError
from fencer.state.readings import SnapshotStatus
from tests import scenes


def test_a_program_that_is_not_installed():
    answer = ask(["halvm-no-such-program"])
    assert (answer.missing, answer.problem) == (True, "halvm-no-such-program: not installed")
    assert parsed(lambda _argv: answer, ("x",), str) == SourceReading()


def test_a_program_that_fails_or_hangs_is_one_sentence():
    assert ask(["sh", "-c", "echo no >&2; exit 3"]).problem == "sh: exit status 3: no"
    assert ask(["sleep", "60"], limit_s=0.1).problem == "sleep: no answer within 0.1 s"


def test_a_program_that_fails_and_tells_nothing_is_a_problem_and_not_an_empty_answer():
    """vgs prints an empty report when it refuses a field; and a whole one when another, broken group is in its way."""
    empty = ToolAnswer('{"report": [{"vg": []}]}', "vgs: exit status 5: Unrecognised field: vg_autoactivation")
    assert parsed(lambda _argv: empty, ("vgs",), parse_vgs) == SourceReading(problem=empty.problem)
    whole = ToolAnswer('{"report": [{"vg": [{"vg_name": "a"}]}]}', "vgs: exit status 5: x is missing")
    assert parsed(lambda _argv: whole, ("vgs",), parse_vgs).value is not None


def test_an_old_lvm_is_asked_without_autoactivation():
    def old(argv: Sequence[str]) -> ToolAnswer:
        if "autoactivation" in argv[-1]:
            return ToolAnswer('{"report": []}', "vgs: exit status 3: Unrecognised field: vg_autoactivation")
        return ToolAnswer('{"report": [{"vg": [{"vg_name": "a", "vg_systemid": "b"}]}]}')

    (group,) = read_vgs(old).value or ()
    assert (group.name, group.system_id, group.autoactivation) == ("a", "b", None)


def test_the_cib_of_a_cluster_that_does_not_run_is_this_nodes_file(tmp_path: Path):
    file = tmp_path / "cib.xml"
    stopped = ToolAnswer("", "cibadmin: exit status 102: not connected")
    assert "not connected; " in read_cib(lambda _argv: stopped, str(file)).problem
    file.write_bytes((Path(__file__).parent / "good/cib.xml").read_bytes())
    assert read_cib(lambda _argv: stopped, str(file)).value is not None
    missing = ToolAnswer("", "cibadmin: not installed", missing=True)
    assert read_cib(lambda _argv: missing, "/nosuch") == SourceReading()


@pytest.mark.peer
def test_the_real_crm_mon_and_lvm_are_understood(monkeypatch):
    """Without a cluster: crm_mon and crm_verify read the good CIB from a file; this machine has no volume group."""
    good = Path(__file__).parent / "good/cib.xml"
    monkeypatch.setenv("CIB_file", str(good))
    done = subprocess.run(crm_mon.COMMAND, capture_output=True, text=True, check=True, timeout=60)
    pacemaker = crm_mon.parse_crm_mon(done.stdout)
    assert [node.name for node in pacemaker.nodes] == ["serv-0001", "serv-0002"]
    assert [each.name for each in pacemaker.resources] == ["fence-serv-0001", "fence-serv-0002", "vg", "fs"]
    verified = subprocess.run(["crm_verify", "-V", "-x", good], capture_output=True, text=True, check=False, timeout=60)
    assert "error" not in verified.stderr
    for command, parse in ((lvm_report.VGS, parse_vgs), (lvm_report.LVS, lvm_report.parse_lvs)):
        assert not parsed(ask, command, parse).problem


def test_what_does_not_parse_is_a_problem():
    def parse(_text: str) -> str:
        raise ValueError("nonsense")

    assert parsed(lambda _argv: ask(["echo", "x"]), ("x",), parse) == SourceReading(problem="nonsense")


def test_our_own_programs_get_their_input():
    done = run_program([sys.executable, "-c", "import sys; print(sys.stdin.read().upper())"], "abc", 60.0)
    assert (done.status, done.out) == (0, "ABC\n")
    assert run_program(["/nosuch/program"], "", 1.0).status is None
    assert run_program(["sleep", "60"], "", 0.1).errors == "sleep: no answer within 0.1 s"


def test_a_source_that_hangs_or_breaks_leaves_the_others():
    def hang() -> SourceReading[str]:
        time.sleep(30)
        return SourceReading("late")

    def refuse() -> SourceReading[str]:
        raise UsageError("vg: no such group")

    def fail() -> SourceReading[str]:
        raise ZeroDivisionError("x")

    found = side_by_side({"a": lambda: SourceReading("1"), "b": hang, "c": refuse, "d": fail}, limit_s=2.0)
    assert found["a"] == SourceReading("1")
    assert found["b"].problem == "b: no answer within 2 s"
    assert found["c"].problem == "c: vg: no such group"
    assert "unexpected ZeroDivisionError" in found["d"].problem


def test_the_luns_as_the_sidecar_saw_them():
    snapshot = scenes.snapshot(nodes=2, luns=1)
    (lun,) = from_snapshot(snapshot)
    assert lun.own is True
    assert lun.reservation == snapshot.luns[0].type.replace("_", " ").lower()
    assert {key.node for key in lun.keys} == {key.node for key in snapshot.luns[0].keys}
    (gone,) = from_snapshot(snapshot._replace(luns=(snapshot.luns[0]._replace(keys=()),)))
    assert gone.own is False


def test_files_of_ours_that_are_missing_or_broken(tmp_path: Path):
    nowhere = str(tmp_path / "watchdogd.toml")
    assert sidecar(str(tmp_path), nowhere).status is SnapshotStatus.MISSING
    assert sidecar(str(tmp_path), __file__).problem == "it has not run since this node booted"
    (tmp_path / "watchdogd.json").write_text("{")
    assert sidecar(str(tmp_path)).status is SnapshotStatus.MALFORMED
    assert last_fences(str(tmp_path / "journal.db")).problem == ""
    (tmp_path / "journal.db").write_text("nonsense" * 1000)
    assert "journal.db" in last_fences(str(tmp_path / "journal.db")).problem


def test_the_last_fences_of_the_journal(tmp_path: Path):
    path = tmp_path / "journal.db"
    events = [scenes.fence(ago) for ago in (400.0, 300.0, 200.0, 100.0)]
    scenes.write_journal(path, *events, scenes.monitor())
    found = last_fences(str(path))
    assert [event.at_unix_s for event in found.latest] == [event.at_unix_s for event in reversed(events[1:])]
    assert len(found.monitors) == 1


def test_a_cib_that_is_no_regular_file_is_named_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "cib.xml")
    stopped = ToolAnswer("", "cibadmin: exit status 102: not connected")
    assert read_cib(lambda _argv: stopped, str(tmp_path / "cib.xml")).problem.endswith("cib.xml: not a regular file")
