# SPDX-License-Identifier: Apache-2.0
"""The agent and its journal: what it records."""

import json
import signal
import sqlite3
import subprocess
import time
from pathlib import Path

import pytest

from fencer.agent import journal_entry
from fencer.agent.journal_entry import Record
from fencer.agent.plan import make_plan
from fencer.agent.request import Caller, Request
from fencer.agent.run import Stamped
from fencer.agent.verdict import Verdict
from fencer.journal.event import Event, EventKind, StepName
from fencer.journal.event import FenceOutcome as Outcomes
from fencer.model import Action, BmcSettings, ChassisCommand, PowerState, Proof, ProofPolicy, Secret
from fencer.observations import (
    Arbitrated,
    ArbitrationResult,
    ChassisCommanded,
    ChassisObserved,
    LunIsolated,
    LunsIdentified,
    Noted,
    SessionOpened,
)
from tests.agent.halvm import AGENT, Call, at, halvm
from tests.agent_storage.nodes import Node
from tests.journal.calls import call, recorded
from tests.rig import require_program
from tests.rig.bmc import Bmc
from tests.rig.target import Target

SENTINEL = "S3nt1nelN3verKept"


# --- what is recorded -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("action", "kind", "proofs"),
    [
        ("off", EventKind.FENCE, (Proof.POWER,)),
        ("reboot", EventKind.FENCE, (Proof.POWER,)),
        ("on", EventKind.POWER_ON, ()),
        ("monitor", EventKind.MONITOR, ()),
    ],
)
def test_who_whom_what_and_by_what_it_is_proved(bmc: Bmc, path: str, tmp_path: Path, action, kind, proofs) -> None:
    nodes = "".join(f'<clusternode name="serv-000{number}" nodeid="{number}"/>' for number in (1, 2))
    conf = tmp_path / "cluster.conf"
    conf.write_text(f'<cluster name="alpha" config_version="1"><clusternodes>{nodes}</clusternodes></cluster>')
    before = time.time()
    assert call(bmc, path, action, f"--cluster-conf={conf}", "--local-node=serv-0002").status == 0
    (event,) = recorded(path)
    assert (event.kind, event.action, event.outcome, event.error) == (kind, action, Outcomes.SUCCESS, "")
    assert (event.program, event.actor, event.target) == ("fence_halvm", "serv-0002", "serv-0001")
    assert (event.proofs, event.weak) == (proofs, False)
    assert before <= event.at_unix_s <= event.at_unix_s + event.took_s <= time.time()
    (session,) = [step for step in event.steps if step.name is StepName.SESSION and step.text.endswith("session open")]
    assert session.text == f"BMC {bmc.address}: session open"
    assert [step.at_s for step in event.steps] == sorted(step.at_s for step in event.steps)
    assert event.steps[-1].at_s <= event.took_s


def test_a_failure_is_recorded_with_its_reason(bmc: Bmc, path: str) -> None:
    outcome = halvm(*at(bmc, password="wrong"), f"--journal={path}", "-o", "off", "-n", "serv-0001")
    (event,) = recorded(path)
    assert event.outcome is Outcomes.FAILURE
    assert outcome.lines == [f"ERROR: {event.error}"]
    assert event.proofs == ()


def test_a_diagnostic_interrupt_is_no_fence(bmc: Bmc, path: str) -> None:
    """ipmi_sim refuses it, by a code that may pass."""
    call(bmc, path, "diag", "--deadline=3")
    assert (recorded(path)[0].kind, recorded(path)[0].outcome) == (EventKind.DIAG, Outcomes.FAILURE)


def test_a_node_without_a_name_goes_by_its_bmc(bmc: Bmc, path: str) -> None:
    halvm(*at(bmc), f"--journal={path}", "-o", "off")
    assert recorded(path)[0].target == bmc.address


def test_a_session_weaker_than_it_could_be_is_told(path: str) -> None:
    with Bmc(guid=bytes(16)) as bmc:  # it does not take suite 17
        call(bmc, path, "off")
    (event,) = recorded(path)
    (who,) = (step.text for step in event.steps if "cipher" in step.text)
    assert "it has no GUID of its own: another BMC with the same password would not be noticed" in who
    assert who.endswith("cipher suite 3, since the BMC does not take suite 17")


@pytest.mark.parametrize("argv", [("status",), ("list",), ("list-status",), ("validate-all",), ("off", "--dry-run")])
def test_what_proves_nothing_leaves_no_record(bmc: Bmc, path: str, argv: tuple[str, ...]) -> None:
    call(bmc, path, *argv)
    assert not Path(path).exists()


def test_none_keeps_no_journal(bmc: Bmc, tmp_path: Path) -> None:
    assert call(bmc, "none", "off").stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_on_stdin(bmc: Bmc, path: str) -> None:
    lines = [f"ipaddr={bmc.address}", f"ipport={bmc.port}", "login=ADMIN", "passwd=ADMIN", "nodename=serv-0001"]
    assert halvm(stdin="\n".join([*lines, f"journal={path}"])).status == 0
    assert recorded(path)[0].action == "reboot"


def test_killed_before_its_verdict_the_outcome_is_unknown_and_its_steps_are_kept(bmc: Bmc, path: str) -> None:
    for number, group in enumerate((False, True), 1):
        bmc.ignore(off=True)
        (bmc.chassis / "log").write_text("")
        told = Path(f"{path}.{number}.debug")
        running = Call(*at(bmc), f"--journal={path}", "-o", "off", "-n", "serv-0001", "-v", "-D", str(told))
        while "power 0" not in bmc.commands() or not told.exists() or "session open" not in told.read_text():
            time.sleep(0.01)
        time.sleep(0.2)  # what is told there goes to the journal next
        running.kill(signal.SIGKILL, group=group)
        assert running.end().status == -signal.SIGKILL
        running.assert_all_gone()
        event = recorded(path, number)[0]
        assert (event.outcome, event.error) == (Outcomes.UNKNOWN, "it was ended before there was a verdict")
        assert (event.kind, event.target, event.proofs) == (EventKind.FENCE, "serv-0001", ())
        assert event.steps[0].name is StepName.SESSION


def test_told_to_stop_the_outcome_is_unknown(bmc: Bmc, path: str) -> None:
    bmc.ignore(off=True)
    running = Call(*at(bmc), f"--journal={path}", "-o", "off")
    while "power 0" not in bmc.commands():
        time.sleep(0.01)
    running.kill(signal.SIGTERM)
    running.end()
    event = recorded(path)[0]
    assert (event.outcome, event.error) == (Outcomes.UNKNOWN, "interrupted by SIGTERM")


def test_isolation_and_unfencing_are_recorded_lun_by_lun(tmp_path: Path) -> None:
    require_program("tgtd", "tgt")
    with Target(luns=2) as target:
        one, two = (Node(number, tmp_path, target.urls) for number in (0, 1))
        assert one.unfence().status == two.unfence().status == 0
        assert one.call("off", two.name).status == 0
        lost = two.call("off", one.name)
    fence_lost, fence, *unfences = recorded(str(tmp_path / "journal.db"), 4)
    assert {event.kind for event in unfences} == {EventKind.UNFENCE}
    assert {(event.actor, event.target) for event in unfences} == {(one.name, one.name), (two.name, two.name)}
    assert [step.name for step in unfences[0].steps].count(StepName.REGISTER) == 2
    assert (fence.actor, fence.target, fence.proofs, fence.weak) == (one.name, two.name, (Proof.STORAGE,), True)
    assert [step.name for step in fence.steps].count(StepName.ISOLATE) == 2
    assert [step.name for step in fence.steps].count(StepName.ARBITRATE) == 1
    assert (fence_lost.actor, fence_lost.outcome) == (two.name, Outcomes.FAILURE)
    assert fence_lost.error in lost.stderr


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_fifty_agents_at_once(bmc: Bmc, path: str) -> None:
    """A BMC has no fifty sessions: nobody listens, and all fail."""
    words = (f"--journal={path}", "-a", bmc.address, "-u", "9", "-o", "monitor", "--deadline=3")
    calls = [Call(*words, "-n", f"serv-{number}") for number in range(50)]
    for each in calls:
        assert each.end().status == 1
    assert {event.target for event in recorded(path, 50)} == {f"serv-{number}" for number in range(50)}
    db = sqlite3.connect(path)
    assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)


# --- no secret ------------------------------------------------------------------------------------------------------


def _script(tmp_path: Path) -> Path:
    script = tmp_path / "script"
    script.write_text(f"#!/bin/sh\necho {SENTINEL}\n")
    script.chmod(0o700)
    return script


def test_no_byte_of_a_secret_is_kept(bmc: Bmc, path: str, tmp_path: Path) -> None:
    """In every option that holds one, in every record: refused, succeeded, killed."""
    where = ("-a", bmc.address, "-u", str(bmc.port), "-n", "serv-0001", "-v", "-D", str(tmp_path / "debug"))
    kg = SENTINEL.encode().hex()
    secrets = [
        ("-p", SENTINEL),
        ("-S", str(_script(tmp_path))),
        ("-p", "ADMIN", f"--hexadecimal-kg={kg}"),
        ("-p", SENTINEL, "-P", SENTINEL),
    ]
    calls = 0
    for secret in secrets:
        for action in ("off", "monitor"):
            halvm(*where, f"--journal={path}", "-l", "ADMIN", *secret, "-o", action, "--deadline=2")
            calls += 1
    lines = "\n".join((f"ip={bmc.address}", f"ipport={bmc.port}", "login=ADMIN", f"passwd={SENTINEL}", SENTINEL))
    halvm(stdin=f"{lines}\naction=monitor\ndeadline=2\njournal={path}\n")
    recorded(path, calls + 1)
    seen = {each.name for each in tmp_path.iterdir()}
    assert {"journal.db", "journal.db-wal", "debug"} <= seen
    for each in tmp_path.iterdir():
        if each.is_file() and each.name != "script":
            content = each.read_bytes().lower()
            assert SENTINEL.lower().encode() not in content, each
            assert kg.lower().encode() not in content, each


# --- time -----------------------------------------------------------------------------------------------------------


class _Kept:
    """A journal writer that remembers."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def begun(self, _path: str, event: Event) -> None:
        self.events.append(event)

    def saw(self, step: object) -> None:
        pass

    def ended(self, event: Event) -> None:
        self.events.append(event)


def _record(kept: _Kept) -> Record:
    bmc = BmcSettings("192.168.1.50", 623, b"ADMIN", Secret(b"ADMIN"))
    request = Request(Action.OFF, Caller.PERSON, "serv-0001", False, ProofPolicy.ANY, bmc=bmc)
    return Record(make_plan(request), "serv-0002", "journal.db", kept)  # type: ignore[arg-type]


def test_a_clock_that_jumps_changes_no_duration(monkeypatch: pytest.MonkeyPatch) -> None:
    """NTP sets the clock back an hour between the beginning and the verdict."""
    kept, wall, monotonic = _Kept(), [1_763_800_000.0], [100.0]
    monkeypatch.setattr(journal_entry.time, "time", lambda: wall[0])
    monkeypatch.setattr(journal_entry.time, "monotonic", lambda: monotonic[0])
    run = _record(kept)
    run.begin()
    wall[0] -= 3600.0
    monotonic[0] += 2.5
    run.end(Verdict(0, "Success: Powered OFF", (Proof.POWER,)))
    assert (kept.events[-1].at_unix_s, kept.events[-1].took_s) == (1_763_800_000.0, 2.5)


def test_a_step_took_as_long_as_since_what_it_waited_for() -> None:
    kept = _Kept()
    run = _record(kept)
    run.begin()
    for at_s, what in (
        (1.0, SessionOpened()),
        (2.0, LunsIdentified(("a", "b"))),
        (3.0, Arbitrated(ArbitrationResult.WON, "a")),
        (3.25, ChassisCommanded(ChassisCommand.OFF)),
        (3.5, LunIsolated("a", True, False)),
        (4.0, LunIsolated("b", True, False)),
        (4.5, Noted("something to read")),
        (5.0, ChassisObserved(PowerState.OFF)),
    ):
        run.observe([Stamped(at_s, what)])
    run.end(Verdict(0))
    steps = {(step.name, step.at_s): step.took_s for step in kept.events[-1].steps}
    assert steps == {
        (StepName.SESSION, 1.0): 1.0,
        (StepName.IDENTIFY, 2.0): 2.0,
        (StepName.ARBITRATE, 3.0): 1.0,
        (StepName.COMMAND, 3.25): 0.25,  # power waits for the arbitration
        (StepName.ISOLATE, 3.5): 0.5,
        (StepName.ISOLATE, 4.0): 1.0,  # side by side
        (StepName.OTHER, 4.5): 1.5,
        (StepName.CHASSIS, 5.0): 1.75,
    }


def test_json_of_a_real_call(bmc: Bmc, path: str) -> None:
    call(bmc, path, "off")
    recorded(path)
    done = subprocess.run(
        [AGENT, "-o", "history", f"--journal={path}", "--json"], capture_output=True, text=True, timeout=60, check=True
    )
    assert json.loads(done.stdout)["proofs"] == ["power"]
