# SPDX-License-Identifier: Apache-2.0
"""Probes all paths that are well by one system call, and takes all their answers at one wake-up.

It proves nothing but that a path is well: a read that it began was answered. A read that is refused, fails, is slow or
hangs says nothing here. The path's own turn comes AHEAD_S later, and probes it in a thread that may hang. Should this
thread hang, or the kernel have no such reads, all paths are probed by their turns alone.

Source: linux/aio_abi.h; RWF_NOWAIT of preadv2(2): io_submit(2) does not wait for a queue that is full or stopped.
"""

import ctypes
import functools
import mmap
import os
import struct
import threading
from collections.abc import Callable, Sequence

from fencer._typing import Final, NamedTuple, Protocol
from fencer.sidecar.observer.path_watch import Offer, PathWatch
from fencer.sidecar.observer.probe import PROBE_BYTES
from fencer.sidecar.observer.rounds import AHEAD_S, next_on_grid

MOST = 1024
"""Reads under way at most; paths beyond are probed by their turns."""

FEW = 4
"""Fewer paths are read by their turns at less cost."""

FEW_AGAIN_S = 10.0
"""How long after there were few paths they are counted again."""

_WINDOW_S = 0.8 * AHEAD_S
_SYSCALLS = {
    "x86_64": (206, 209, 208),  # io_setup, io_submit, io_getevents
    "aarch64": (0, 2, 4),
    "riscv64": (0, 2, 4),
    "ppc64le": (227, 230, 229),
}
_IOCB = struct.Struct("<QIIHhIQQqQII")  # data, key, rw_flags, opcode, priority, descriptor, buffer, bytes, offset, ...
_PREAD, _RWF_NOWAIT = 0, 8
_EVENT = struct.Struct("<QQqq")  # data, iocb, result


class Reads(Protocol):
    """Reads that are begun together. A number stands for each."""

    def begin(self, reads: Sequence[tuple[int, int]]) -> int:
        """Numbers and descriptors: how many of them, from the first on, are under way. Raises OSError when none."""

    def ended(self, least: int, timeout_s: float) -> list[tuple[int, int]]:
        """Numbers and bytes, or a negative errno: of those that have ended. Waits for least of them."""


@functools.cache
def load_syscall() -> Callable[..., int]:
    """The C library's syscall(2)."""
    call = ctypes.CDLL(None, use_errno=True).syscall
    call.restype = ctypes.c_long
    return call


class AsyncReads:
    """Reads of the first block of disks, all into one page that is not used. An adapter to the kernel.

    flags: of each read; for tests on file systems that know no RWF_NOWAIT.
    """

    def __init__(self, flags: int = _RWF_NOWAIT) -> None:
        """Raises OSError where the kernel has no such reads, or this machine is none that is known."""
        numbers = _SYSCALLS.get(os.uname().machine)
        if numbers is None:
            raise OSError(f"{os.uname().machine}: the numbers of its system calls are not known")
        setup, self._submit, self._getevents = numbers
        self._flags: Final = flags
        self._call: Final = load_syscall()
        self._context: Final = ctypes.c_ulong(0)
        if self._call(setup, MOST, ctypes.byref(self._context)) < 0:
            raise _error()
        self._page: Final = mmap.mmap(-1, PROBE_BYTES)
        self._buffer: Final = ctypes.addressof(ctypes.c_char.from_buffer(self._page))
        self._blocks: Final = ctypes.create_string_buffer(MOST * _IOCB.size)
        first = ctypes.addressof(self._blocks)
        self._pointers: Final = (ctypes.c_void_p * MOST)(*range(first, first + MOST * _IOCB.size, _IOCB.size))
        self._events: Final = ctypes.create_string_buffer(MOST * _EVENT.size)

    def begin(self, reads: Sequence[tuple[int, int]]) -> int:
        """As Reads."""
        reads = reads[:MOST]
        for place, (number, descriptor) in enumerate(reads):
            _IOCB.pack_into(
                self._blocks, place * _IOCB.size, number, 0, self._flags, _PREAD, 0, descriptor, self._buffer,
                PROBE_BYTES, 0, 0, 0, 0,
            )  # fmt: skip
        begun: int = self._call(self._submit, self._context, ctypes.c_long(len(reads)), self._pointers)
        if begun < 0:
            raise _error()
        return begun

    def ended(self, least: int, timeout_s: float) -> list[tuple[int, int]]:
        """As Reads."""
        seconds = int(timeout_s)
        timeout = (ctypes.c_long * 2)(seconds, int((timeout_s - seconds) * 1e9))
        number: int = self._call(
            self._getevents, self._context, ctypes.c_long(least), ctypes.c_long(MOST), self._events, timeout
        )
        ended = (_EVENT.unpack_from(self._events, place * _EVENT.size) for place in range(max(0, number)))
        return [(number, result) for number, _, result, _ in ended]


def _error() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))


class _Flying(NamedTuple):
    path: PathWatch
    offer: Offer


class ReadAhead:
    """paths: those that there are now. interval_s: of the probes."""

    def __init__(
        self,
        reads: Reads,
        interval_s: float,
        paths: Callable[[], Sequence[PathWatch]],
        clock: Callable[[], float],
    ) -> None:
        self._reads: Final = reads
        self._interval_s: Final = interval_s
        self._paths: Final = paths
        self._clock: Final = clock
        self._flying: Final[dict[int, _Flying]] = {}
        self._number = 0

    def run(self, ended: threading.Event) -> None:
        """Reads until ended. A fault of ours, or no AIO: the paths' turns go on without."""
        while True:
            now = self._clock()
            few_s = FEW_AGAIN_S if len(self._paths()) < FEW else 0.0
            if ended.wait(next_on_grid(now + few_s, self._interval_s) - now):
                return
            self.round()

    def round(self) -> None:
        """Reads through each path that offers itself. Its turn comes soon after; with it goes what was seen."""
        taken = {flying.path for flying in self._flying.values()}
        offered: list[tuple[int, _Flying]] = []
        for path in self._paths():
            if path in taken or len(taken) + len(offered) >= MOST:
                continue
            if (offer := path.offer()) is not None:
                self._number += 1
                offered.append((self._number, _Flying(path, offer)))
        begun = self._begin([(number, flying.offer.descriptor) for number, flying in offered])
        self._flying.update(offered[:begun])
        self._collect({number for number, _ in offered[:begun]})

    def _begin(self, reads: list[tuple[int, int]]) -> int:
        try:
            return self._reads.begin(reads) if reads else 0
        except OSError:
            return 0

    def _collect(self, awaited: set[int]) -> None:
        until_s = self._clock() + _WINDOW_S
        while True:
            left_s = max(0.0, until_s - self._clock())
            for number, result in self._reads.ended(len(awaited), left_s if awaited else 0.0):
                awaited.discard(number)
                flying = self._flying.pop(number, None)
                if flying is not None and result > 0:
                    flying.path.answered(flying.offer)
            if not awaited or left_s == 0.0:
                return
