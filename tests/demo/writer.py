# SPDX-License-Identifier: Apache-2.0
"""A node that writes to the shared LUN and will not stop: an iSCSI initiator that writes one block after the other.

    python -m tests.demo.writer URL INITIATOR KEY RUN RESERVATION-TYPE

It logs in with the node's initiator name and registers the node's key on its own session, with the product's own
code: under the reservation only a *registered nexus* may write, and on tgtd a registration belongs to the session. Were
another session registered, these writes would be refused from the start and prove nothing. Then it writes one block
after the other, notes each answer as a line on stdout, and goes on whatever the answer is: it is the node that nobody
can reach any more.
"""

import contextlib
import json
import select
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from fencer.model import Deadline, ReservationKey, ReservationType
from fencer.observations import LunRegistered
from fencer.storage.libiscsi import IscsiTransport, IscsiUrl
from fencer.storage.logical_unit import LogicalUnit
from fencer.storage.nexus import Nexus
from fencer.storage.registration import History, Past, Terms, register
from fencer.storage.transport import ScsiReply, ScsiStatus
from tests.demo.interrupts import Interrupts

BLOCK_BYTES = 512
FIRST_LBA = 64
BLOCKS = 8192
PACE_S = 0.01
BEGIN_S = 60.0  # to log in and register, on a machine that does other things, too
OWN_ISID = 0x0D0001
"""Not the agent's: a login with the same name and ISID would end the other session."""

GOOD = "good"
CONFLICT = "RESERVATION CONFLICT"


@dataclass(frozen=True, slots=True)
class Write:
    """One answer. at_s: when it came, CLOCK_MONOTONIC, the same clock in all processes of a host."""

    number: int
    at_s: float
    answer: str

    @property
    def accepted(self) -> bool:
        return self.answer == GOOD


def block(run: str, number: int) -> bytes:
    """What is written to ``lba(number)``."""
    return f"{run}, write {number}\n".encode().ljust(BLOCK_BYTES, b".")


def lba(number: int) -> int:
    return FIRST_LBA + number % BLOCKS


class Writer:
    """The parent's view. Context manager: started and writing when it is entered."""

    def __init__(
        self,
        interrupts: Interrupts,
        url: str,
        initiator: str,
        key: ReservationKey,
        run: str,
        kind: ReservationType = ReservationType.WRITE_EXCLUSIVE_REGISTRANTS_ONLY,
    ) -> None:
        self._interrupts = interrupts
        self.run = run
        self.writes: list[Write] = []
        self._arguments = [url, initiator, str(key), run, str(int(kind))]
        self._process: subprocess.Popen[bytes] | None = None
        self._rest = b""

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "tests.demo.writer", *self._arguments]
        try:
            with self._interrupts.held():
                self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with self._interrupts.held():
            process, self._process = self._process, None
            if process is not None:
                process.kill()
                process.wait()
                if process.stdout is not None:
                    process.stdout.close()

    def await_write(self, wanted: Callable[[Write], bool], timeout_s: float = 60.0) -> Write:
        """The first answer that is wanted. Raises RuntimeError when the writer ends or none comes in time."""
        until, looked_at = time.monotonic() + timeout_s, 0
        while True:
            for write in self.writes[looked_at:]:
                if wanted(write):
                    return write
            looked_at = len(self.writes)
            if not self._receive(until - time.monotonic()):
                raise RuntimeError(f"the writer stopped or hangs; its last words: {self.writes[-1:]}")

    def listen(self, seconds: float) -> None:
        """Takes in what it says for a while."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and self._receive(left):
            pass

    def _receive(self, timeout_s: float) -> bool:
        assert self._process is not None and self._process.stdout is not None, "not entered"
        stream = self._process.stdout
        if timeout_s <= 0 or not select.select([stream], [], [], timeout_s)[0]:
            return False
        data = stream.read1(65536)  # type: ignore[attr-defined]
        *lines, self._rest = (self._rest + data).split(b"\n")
        self.writes += [Write(*json.loads(line)) for line in lines]
        return bool(data)

    @property
    def accepted(self) -> list[Write]:
        return [write for write in self.writes if write.accepted]

    @property
    def first_refused(self) -> Write | None:
        """The first write that was not accepted."""
        return next((write for write in self.writes if not write.accepted), None)

    def after(self, at_s: float) -> list[Write]:
        return [write for write in self.writes if write.at_s > at_s]


# --- the process --------------------------------------------------------------------------------------------------


def _answer(reply: ScsiReply) -> str:
    if reply.status is ScsiStatus.GOOD:
        return GOOD
    if reply.status is ScsiStatus.CHECK_CONDITION and reply.sense is not None:
        sense = reply.sense
        said = "unit attention" if sense.key == 6 else f"sense key {sense.key:x}h"
        what = " (reservations preempted)" if (sense.asc, sense.ascq) == (0x2A, 0x03) else ""
        return f"{said} {sense.asc:02X}h/{sense.ascq:02X}h{what}"
    return reply.status.name.replace("_", " ")


def _write_cdb(number: int) -> bytes:
    """WRITE(10), one block (SBC-3 5.32)."""
    return bytes((0x2A, 0)) + lba(number).to_bytes(4) + bytes((0, 0, 1, 0))


def main() -> None:
    url, initiator, key, run, kind = sys.argv[1:]
    deadline = Deadline.after(BEGIN_S)
    transport = IscsiTransport(IscsiUrl.parse(url), initiator=initiator, isid=OWN_ISID, deadline=deadline)
    nexus = Nexus(transport)
    nexus.standard_inquiry(deadline)  # takes the unit attention that every new session starts with
    lun = LogicalUnit(nexus.wwid(deadline) or "", url, (nexus,))
    terms = Terms(ReservationKey.parse(key), ReservationType(int(kind)), aptpl=False)
    done, *_ = register(lun, terms, Past(History.NEVER), deadline)
    if not isinstance(done, LunRegistered):
        sys.exit(f"writer: {done.reason}")
    number = 0
    while True:
        number += 1
        reply = transport.execute(_write_cdb(number), data_out=block(run, number), timeout_s=10)
        print(json.dumps((number, time.monotonic(), _answer(reply))), flush=True)
        time.sleep(PACE_S)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        main()
