"""A transport whose caller never waits past its timeout, whatever the kernel does with the command.

SG_IO on a path that the kernel has blocked (iSCSI until replacement_timeout, FC until dev_loss_tmo) returns when the
path is unblocked, not when the command's own timeout is over, and no signal reaches a thread that waits there (state
D). So the commands of each path run in a thread of that path, which is left behind when it hangs.

The threads are bare ones: threading is slow to load, and its handshake at each start costs more than a command.
"""

from _queue import Empty, SimpleQueue
from _thread import get_ident, start_new_thread
from collections.abc import Callable

from fencer._typing import Final, TypeVar
from fencer.errors import StillUnderWay
from fencer.storage.transport import ScsiReply, ScsiTransport

T = TypeVar("T")

TARGET_S = 2.0
"""What a command is given below: its caller may turn to another path earlier, without making the kernel abort it."""


class BoundedTransport:
    """ScsiTransport that runs another one's commands in one thread of its own, started with the first command.

    While a command hangs every later one is refused at once; the path is usable again when the hung one has ended. Its
    late answer is dropped. Not for use by several threads at once.
    """

    def __init__(self, inner: ScsiTransport) -> None:
        self._inner: Final = inner
        self._jobs: Final[SimpleQueue[Callable[[], object] | None]] = SimpleQueue()
        self._ends: Final[SimpleQueue[tuple[object, BaseException | None]]] = SimpleQueue()
        self._thread: int | None = None
        self._under_way = False

    @property
    def name(self) -> str:
        return self._inner.name

    def execute(self, cdb: bytes, *, data_out: bytes = b"", data_in_length: int = 0, timeout_s: float) -> ScsiReply:
        """See ScsiTransport. Raises StillUnderWay when no answer came in time, or an earlier command hangs."""

        def command() -> ScsiReply:
            below_s = max(timeout_s, TARGET_S)
            return self._inner.execute(cdb, data_out=data_out, data_in_length=data_in_length, timeout_s=below_s)

        return command() if get_ident() == self._thread else self.begin(command)(timeout_s)

    def begin(self, job: Callable[[], T]) -> Callable[[float], T]:
        """Starts a job of several commands in the path's thread: changing threads costs as much as a command.

        What is returned is to be called once, with the seconds to wait at most, and returns or raises what the job did,
        or raises StillUnderWay. A job goes on when nobody waits any more, so it must only read. Raises StillUnderWay
        where an earlier one hangs.
        """
        if self._under_way:
            try:
                self._ends.get_nowait()
            except Empty:
                raise StillUnderWay(f"{self.name}: an earlier command hangs") from None
        self._under_way = True
        if self._thread is None:
            self._thread = start_new_thread(self._serve, ())
        self._jobs.put(job)
        return self._end

    def close(self) -> None:
        """Gives the nexus up; a hung command keeps its descriptor until it ends. Never raises."""
        if self._thread is not None:
            self._jobs.put(None)
        else:
            self._inner.close()

    def _end(self, timeout_s: float) -> T:  # type: ignore[type-var]  # of the job that was begun
        try:
            result, error = self._ends.get(timeout=timeout_s)
        except Empty:
            raise StillUnderWay(f"{self.name}: no answer within {timeout_s:.1f} s") from None
        self._under_way = False
        if error is not None:
            raise error
        return result  # type: ignore[return-value]

    def _serve(self) -> None:
        """In the path's thread."""
        while (job := self._jobs.get()) is not None:
            try:
                end: tuple[object, BaseException | None] = job(), None
            except BaseException as error:  # noqa: BLE001 - raised again where it was asked for
                end = None, error
            self._ends.put(end)
        self._inner.close()
