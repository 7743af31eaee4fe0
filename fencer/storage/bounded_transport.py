# SPDX-License-Identifier: Apache-2.0
"""A transport whose caller never waits past its timeout, even where the kernel holds the command.

SG_IO on a path that the kernel has blocked (iSCSI until replacement_timeout, FC until dev_loss_tmo) returns when the
path is unblocked, not when the command's own timeout is over, and no signal reaches a thread that waits there (state
D). So the commands of a LUN's paths run in a spare thread, which is left behind when one hangs; the next command gets
another thread.
"""

from _queue import Empty, SimpleQueue
from _thread import allocate_lock, get_ident
from collections.abc import Callable

from fencer._typing import Final, TypeVar
from fencer.errors import StillUnderWay
from fencer.storage.thread_start import start_thread
from fencer.storage.transport import ScsiReply, ScsiTransport

T = TypeVar("T")

TARGET_S = 2.0
"""What a command is given below: its caller may turn to another path earlier, without making the kernel abort it."""

_Ends = SimpleQueue[tuple[object, BaseException | None]]
_Jobs = SimpleQueue[tuple[Callable[[], object], _Ends] | None]


class SpareThreads:
    """Runs jobs in threads beside the caller: in one thread, as long as no job hangs."""

    def __init__(self) -> None:
        self._idle: Final[list[_Jobs]] = []
        self._closed = False

    def begin(self, subject: str, job: Callable[[], T]) -> Callable[[float], T]:
        """Starts a job. Returns a function that waits for its end, at most the given seconds.

        That function returns or raises what the job did, or raises StillUnderWay; then the job goes on."""
        ends: _Ends = SimpleQueue()
        try:
            jobs = self._idle.pop()
        except IndexError:
            jobs = SimpleQueue()
            start_thread(self._serve, (jobs,))
        jobs.put((job, ends))

        def end(timeout_s: float) -> T:
            try:
                result, error = ends.get(timeout=timeout_s)
            except Empty:
                raise StillUnderWay(f"{subject}: no answer within {timeout_s:.1f} s") from None
            if error is not None:
                raise error
            return result  # type: ignore[return-value]

        return end

    def close(self) -> None:
        """Ends the threads; those that hang, when their job ends. Never raises."""
        self._closed = True
        while self._idle:
            self._idle.pop().put(None)

    def _serve(self, jobs: _Jobs) -> None:
        """In a thread of its own."""
        while (next_job := jobs.get()) is not None:
            job, ends = next_job
            try:
                end: tuple[object, BaseException | None] = job(), None
            except BaseException as error:  # noqa: BLE001 - raised again where it was asked for
                end = None, error
            self._idle.append(jobs)
            ends.put(end)
            if self._closed:
                self.close()


class BoundedTransport:
    """ScsiTransport that runs another one's commands in spare threads.

    While a command hangs every later one is refused at once; the path is usable again when the hung one has ended. Its
    late answer is dropped. Not for use by several threads at once.
    """

    def __init__(self, inner: ScsiTransport, threads: SpareThreads) -> None:
        self._inner: Final = inner
        self._threads: Final = threads
        self._in_use: Final = allocate_lock()
        self._thread: int | None = None  # that runs a job of this path now
        self._closed = False

    @property
    def name(self) -> str:
        return self._inner.name

    def execute(self, cdb: bytes, *, data_out: bytes = b"", data_in_length: int = 0, timeout_s: float) -> ScsiReply:
        """See ScsiTransport. Raises StillUnderWay when no answer came in time, or an earlier command hangs."""

        def command() -> ScsiReply:
            below_s = max(timeout_s, TARGET_S)
            return self._inner.execute(cdb, data_out=data_out, data_in_length=data_in_length, timeout_s=below_s)

        return command() if get_ident() == self._thread else self.bounded(command, timeout_s)

    def bounded(self, job: Callable[[], T], timeout_s: float) -> T:
        """Runs a job of several commands in a spare thread: changing threads costs as much as a command.

        Raises what the job raises, or StillUnderWay when it has not ended in time, or an earlier one hangs. A job goes
        on after its caller has stopped waiting, so it must only read.
        """
        self._take()
        try:
            end = self._threads.begin(self.name, lambda: self._run(job))
        except RuntimeError:  # no thread is left: nothing of it hangs
            self._in_use.release()
            raise
        return end(timeout_s)

    def here(self, job: Callable[[], T]) -> T:
        """Runs a job of several commands in the calling thread, which hangs when they do: for spare threads. Raises
        StillUnderWay where an earlier one hangs."""
        self._take()
        return self._run(job)

    def close(self) -> None:
        """Gives the nexus up; a hung command keeps its descriptor until it ends. Never raises."""
        self._closed = True
        if self._in_use.acquire(blocking=False):  # and keeps it
            self._inner.close()

    def _take(self) -> None:
        if not self._in_use.acquire(blocking=False):
            raise StillUnderWay(f"{self.name}: an earlier command hangs")

    def _run(self, job: Callable[[], T]) -> T:
        self._thread = get_ident()
        try:
            return job()
        finally:
            self._thread = None
            self._in_use.release()
            if self._closed:
                self.close()
