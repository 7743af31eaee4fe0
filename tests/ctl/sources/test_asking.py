"""Programs that are missing, fail, hang or talk nonsense; and the LUNs, by the sidecar's snapshot."""

import sys
import time
from pathlib import Path

from fencer.ctl.side_by_side import SourceReading, parsed, side_by_side
from fencer.ctl.sources.commands import ask, run_program
from fencer.ctl.sources.local_files import last_fences, sidecar
from fencer.ctl.sources.luns import from_snapshot
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
    assert sidecar(str(tmp_path)).status is SnapshotStatus.MISSING
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
