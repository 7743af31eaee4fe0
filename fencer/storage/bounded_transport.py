"""A transport whose caller never waits past its timeout, whatever the kernel does with the command.

SG_IO on a path that the kernel has blocked (iSCSI until replacement_timeout, FC until dev_loss_tmo) returns when the
path is unblocked, not when the command's own timeout is over, and no signal reaches a thread that waits there (state
D). So the commands of each path run in a thread of that path, which is left behind when it hangs.

The threads are bare ones: threading is slow to load, and its handshake at each start costs more than a command.
"""

from _queue import Empty, SimpleQueue
from _thread import start_new_thread

from fencer.errors import StillUnderWay
from fencer.light_typing import Final, NamedTuple
from fencer.storage.transport import ScsiReply, ScsiTransport

TARGET_S = 2.0
"""What a command is given below: its caller may turn to another path earlier, without making the kernel abort it."""


class _Command(NamedTuple):
    cdb: bytes
    data_out: bytes
    data_in_length: int
    timeout_s: float


class BoundedTransport:
    """ScsiTransport that runs another one's commands in one thread of its own, started with the first command.

    While a command hangs every later one is refused at once; the path is usable again when the hung one has ended. Its
    late answer is dropped. Not for use by several threads at once.
    """

    def __init__(self, inner: ScsiTransport) -> None:
        self._inner: Final = inner
        self._commands: Final[SimpleQueue[_Command | None]] = SimpleQueue()
        self._answers: Final[SimpleQueue[ScsiReply | BaseException]] = SimpleQueue()
        self._started = False
        self._under_way = False

    @property
    def name(self) -> str:
        return self._inner.name

    def execute(self, cdb: bytes, *, data_out: bytes = b"", data_in_length: int = 0, timeout_s: float) -> ScsiReply:
        """See ScsiTransport. Raises StillUnderWay when no answer came in time, or an earlier command hangs."""
        if self._under_way:
            try:
                self._answers.get_nowait()
            except Empty:
                raise StillUnderWay(f"{self.name}: an earlier command hangs") from None
            self._under_way = False
        if not self._started:
            self._started = True
            start_new_thread(self._serve, ())
        self._commands.put(_Command(cdb, data_out, data_in_length, max(timeout_s, TARGET_S)))
        try:
            answer = self._answers.get(timeout=timeout_s)
        except Empty:
            self._under_way = True
            raise StillUnderWay(f"{self.name}: no answer within {timeout_s:.1f} s") from None
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def close(self) -> None:
        """Gives the nexus up; a hung command keeps its descriptor until it ends. Never raises."""
        if self._started:
            self._commands.put(None)
        else:
            self._inner.close()

    def _serve(self) -> None:
        """In the path's thread."""
        while (command := self._commands.get()) is not None:
            try:
                answer: ScsiReply | BaseException = self._inner.execute(
                    command.cdb,
                    data_out=command.data_out,
                    data_in_length=command.data_in_length,
                    timeout_s=command.timeout_s,
                )
            except BaseException as error:  # noqa: BLE001 - raised again where it was asked for
                answer = error
            self._answers.put(answer)
        self._inner.close()
