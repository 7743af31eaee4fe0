# SPDX-License-Identifier: Apache-2.0
"""One path of a FakeTarget that fails in a chosen way, at a chosen command, on a clock that only sleepers move."""

from collections.abc import Callable
from dataclasses import dataclass, field

from fencer.errors import FenceError, StillUnderWay, TransportError
from fencer.storage.logical_unit import LogicalUnit
from fencer.storage.nexus import Nexus
from fencer.storage.pr import InAction, OutAction
from fencer.storage.transport import ScsiReply, ScsiTransport
from tests.storage.fake_target import FakeTarget
from tests.storage.nodes import Clock, unbound

GONE = TransportError("/dev/sdb: no SCSI status: DID_NO_CONNECT")

RESERVATION, KEYS, FULL_STATUS = (
    bytes((0x5E, action)) for action in (InAction.READ_RESERVATION, InAction.READ_KEYS, InAction.READ_FULL_STATUS)
)
REGISTER, RESERVE, ABORT = (
    bytes((0x5F, action)) for action in (OutAction.REGISTER, OutAction.RESERVE, OutAction.PREEMPT_AND_ABORT)
)
"""The first two bytes of these commands."""

Fault = ScsiReply | FenceError | None
"""What the path answers instead: a status, an error of the transport, or (None) nothing: it hangs."""


@dataclass
class FaultyPath:
    """A ScsiTransport. fault: what happens to the commands for which strikes says so.

    executes: the target executes the command all the same, so that only the answer is spoilt.
    sent: the first two bytes of each CDB, with the time at which it was sent.
    """

    inner: ScsiTransport
    clock: Clock
    fault: Fault
    strikes: Callable[["FaultyPath", bytes], bool] = lambda _path, _cdb: True
    executes: bool = False
    sent: list[tuple[float, bytes]] = field(default_factory=list)
    hung: bool = False

    @property
    def name(self) -> str:
        return self.inner.name

    def execute(self, cdb: bytes, *, data_out: bytes = b"", data_in_length: int = 0, timeout_s: float) -> ScsiReply:
        if self.hung:
            raise StillUnderWay(f"{self.name}: an earlier command hangs")
        self.sent.append((self.clock.now, cdb[:2]))
        struck = self.strikes(self, cdb)
        if struck and not self.executes:
            return self._fail(timeout_s)
        reply = self.inner.execute(cdb, data_out=data_out, data_in_length=data_in_length, timeout_s=timeout_s)
        return self._fail(timeout_s) if struck else reply

    @property
    def commands(self) -> list[bytes]:
        """What was sent, without the times."""
        return [cdb for _, cdb in self.sent]

    def close(self) -> None:
        self.inner.close()

    def _fail(self, timeout_s: float) -> ScsiReply:
        match self.fault:
            case None:
                self.hung = True
                self.clock.sleep(timeout_s)
                raise StillUnderWay(f"{self.name}: no answer within {timeout_s:.1f} s")
            case FenceError():
                raise self.fault
            case _:
                return self.fault


def always(_path: FaultyPath, _cdb: bytes) -> bool:
    """For strikes: every command."""
    return True


def until(at_s: float) -> Callable[[FaultyPath, bytes], bool]:
    """For strikes: every command before a time of the path's clock."""
    return lambda path, _cdb: path.clock.now < at_s


def never(_path: FaultyPath, _cdb: bytes) -> bool:
    """For strikes: no command. The path only notes what is sent."""
    return False


def faulty(
    target: FakeTarget,
    name: str,
    clock: Clock,
    fault: Fault = GONE,
    strikes: Callable[[FaultyPath, bytes], bool] = always,
) -> FaultyPath:
    """A path of a target that has the fault."""
    return FaultyPath(target.nexus(name), clock, fault, strikes)


def unit(*paths: ScsiTransport, clock: Clock) -> LogicalUnit:
    """A LUN of these paths."""
    return LogicalUnit("naa.6001405000000001", "lun", [Nexus(path, sleep=clock.sleep) for path in paths], bound=unbound)
