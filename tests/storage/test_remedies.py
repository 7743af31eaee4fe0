# SPDX-License-Identifier: Apache-2.0
"""Each failure of storage that reaches an operator says what to do: ``subject: operation: cause: remedy``."""

import errno
import os
from collections.abc import Callable

import pytest

from fencer import errors
from fencer.child_program import Done
from fencer.errors import MalformedAnswer, NotRegistered, PathsDiffer, StorageError, StorageRefused, TransportError
from fencer.observations import LunFailed, LunState, Noted, Observation
from fencer.storage.isolation import isolate
from fencer.storage.logical_unit import LogicalUnit
from fencer.storage.nexus import Nexus, Outcome
from fencer.storage.procedure import Opened, monitor, register_all, status
from fencer.storage.registration import History, Past, Terms
from fencer.storage.settings import StorageSettings
from fencer.storage.sgutils import SgTransport
from fencer.storage.transport import ScsiReply, ScsiStatus, Sense
from fencer.storage.turns import REASONS, REMEDIES
from fencer.storage.volume_group import BY_HAND, HELD_UP, read_volume_group
from tests.storage.faulty_path import Fault, FaultyPath, always
from tests.storage.nodes import A, Clock, contest, deadline, registered, unbound

CLASSES = [
    found
    for found in vars(errors).values()
    if isinstance(found, type) and issubclass(found, StorageError) and found is not PathsDiffer
]
SAID = {kind.remedy for kind in CLASSES} | set(REMEDIES.values())
SHORT_S = 3.0
NEVER = Past(History.NEVER)

FAULTS: dict[str, Fault] = {
    "no status": TransportError("/dev/sdb: no SCSI status: DID_NO_CONNECT"),
    "hangs": None,
    "not permitted": StorageRefused("/dev/sdb: SG_IO: Operation not permitted", "run as root, with CAP_SYS_RAWIO"),
    "does not decode": MalformedAnswer("/dev/sdb: READ KEYS: 3 bytes, the header has 8"),
    "busy": ScsiReply(ScsiStatus.BUSY, None, b""),
    "hardware error": ScsiReply(ScsiStatus.CHECK_CONDITION, Sense(4, 0x44, 0), b""),
    "unsupported": ScsiReply(ScsiStatus.CHECK_CONDITION, Sense(5, 0x20, 0), b""),
    "conflict": ScsiReply(ScsiStatus.RESERVATION_CONFLICT, None, b""),
}
SETTINGS = StorageSettings(("lun",), None, A)


def _isolate(lun: LogicalUnit, clock: Clock) -> list[Observation]:
    return [isolate(lun, contest(), deadline(clock, SHORT_S))]


def _register(lun: LogicalUnit, clock: Clock) -> list[Observation]:
    told: list[Observation] = []
    past = Past(History.NEVER)
    terms = Terms.on(SETTINGS, A)
    register_all(Opened((lun,)), terms, lambda _wwid: past, lambda *what: told.extend(what), deadline(clock, SHORT_S))
    return told


def _monitor(lun: LogicalUnit, clock: Clock) -> list[Observation]:
    told: list[Observation] = []
    within = deadline(clock, SHORT_S)
    monitor(Opened((lun,)), SETTINGS, lambda _wwid: NEVER, lambda *what: told.extend(what), within)
    return told


def _status(lun: LogicalUnit, clock: Clock) -> list[Observation]:
    told: list[Observation] = []
    status(Opened((lun,)), contest(), lambda *what: told.extend(what), deadline(clock, SHORT_S))
    return told


@pytest.mark.parametrize("kind", CLASSES)
def test_each_class_of_errors_has_a_remedy(kind: type[StorageError]) -> None:
    assert kind("/dev/sdb: PREEMPT: cause").with_remedy == f"/dev/sdb: PREEMPT: cause: {kind.remedy}"
    assert len(kind.remedy) > 10
    assert kind("/dev/sdb: cause", "do this").with_remedy == "/dev/sdb: cause: do this"
    assert kind("/dev/sdb: cause: do this", "").with_remedy == "/dev/sdb: cause: do this"


def test_each_outcome_of_a_command_has_a_remedy() -> None:
    assert set(REASONS) == set(REMEDIES) == set(Outcome)
    assert all(REMEDIES.values())


@pytest.mark.parametrize("paths", [1, 2])
@pytest.mark.parametrize("work", [_isolate, _register, _monitor, _status])
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_lun_that_fails_says_what_to_do(
    fault: Fault, work: Callable[[LogicalUnit, Clock], list[Observation]], paths: int
) -> None:
    clock, target = Clock(), registered("a1", "a2", "b")
    nexuses = [
        Nexus(FaultyPath(target.nexus(name), clock, fault, always), sleep=clock.sleep) for name in ("a1", "a2")[:paths]
    ]
    told = work(LogicalUnit(target.wwid, "lun", nexuses, bound=unbound), clock)
    failed = [each.reason for each in told if isinstance(each, LunFailed)]
    assert failed
    for reason in failed:
        known = SAID | {"run as root, with CAP_SYS_RAWIO", "switch them on at the target, or give another LUN"}
        remedy = next((each for each in known if reason.endswith((f": {each}", f"; {each}"))), None)
        assert remedy is not None, reason
        assert reason.count(remedy) == 1, "once, however many paths failed"


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_lun_that_takes_no_command_says_what_to_do(fault: Fault) -> None:
    clock, target = Clock(), registered("a1", "b")
    path = FaultyPath(target.nexus("a1"), clock, fault, lambda _path, cdb: cdb[0] == 0x5F)
    lun = LogicalUnit(target.wwid, "lun", [Nexus(path, sleep=clock.sleep)], bound=unbound)
    end = isolate(lun, contest(repair=False), deadline(clock, SHORT_S))
    assert isinstance(end, LunFailed)
    known = SAID | {"run as root, with CAP_SYS_RAWIO"}
    assert any(end.reason.endswith(f": {each}") for each in known) or "run 'on' for this node" in end.reason, end.reason


def test_a_node_without_a_registration_is_told_to_register_or_to_reboot() -> None:
    clock, target = Clock(), registered("b")
    target.nexus("a")
    lun = LogicalUnit(target.wwid, "lun", [Nexus(target.nexus("a"), sleep=clock.sleep)])
    end = isolate(lun, contest(), deadline(clock))
    assert isinstance(end, LunFailed)
    assert end.reason.endswith(f"key {A} is not registered here: {NotRegistered.remedy}")


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.EPERM, "run as root"),
        (errno.EACCES, "run as root"),
        (errno.ENOTTY, "give a shared SCSI disk"),
        (errno.ENXIO, "connect this path again"),
        (errno.ENODEV, "connect this path again"),
        (errno.ENOENT, "connect this path again"),
        (errno.EMFILE, "raise the limit of open files"),
        (errno.EIO, StorageError.remedy),
    ],
)
def test_a_path_that_does_not_open_says_what_to_do(number: int, remedy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_arguments: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "open", fails)
    monkeypatch.setattr("fencer.storage.sgutils._library", object)
    with pytest.raises(StorageError) as raised:
        SgTransport("/dev/sdb")
    assert raised.value.with_remedy.startswith(f"/dev/sdb: open: {os.strerror(number)}: {remedy}")


@pytest.mark.parametrize(("kind", "remedy"), [("fails", BY_HAND), ("hangs", HELD_UP), ("cannot start", BY_HAND)])
def test_pvs_that_fails_says_what_to_do(kind: str, remedy: str) -> None:
    def run(argv: object, timeout_s: float) -> Done:
        if kind == "hangs":
            raise TimeoutError
        if kind == "cannot start":
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return Done(5, "", "devices file is missing")

    with pytest.raises(StorageError) as raised:
        read_volume_group("shared", run=run, timeout_s=5)
    assert raised.value.with_remedy.endswith(f": {remedy}")


def test_paths_that_do_not_answer_a_monitor_are_to_be_mended() -> None:
    clock, target = Clock(), registered("a1", "a2", "b")
    bad = FaultyPath(target.nexus("a1"), clock, FAULTS["no status"], always)
    lun = LogicalUnit(target.wwid, "lun", [Nexus(bad, sleep=clock.sleep), Nexus(target.nexus("a2"))], bound=unbound)
    told = _monitor(lun, clock)
    assert any(isinstance(each, LunState) for each in told)
    assert any(isinstance(each, Noted) and each.text.endswith(": mend these paths") for each in told)
