# SPDX-License-Identifier: Apache-2.0
"""Expendable child processes: the child talks to hardware, the parent holds the deadline.

A BMC library can loop, and a SCSI command can hang in the kernel where no signal reaches it (state D). So everything
that may hang runs in a child. The parent can abandon a child at any time: it kills the child and does not wait for it.
The child has none of the parent's standard streams, so an abandoned child does not delay a caller that reads them to
their end.

Messages are pickled objects, one per datagram of a SOCK_SEQPACKET pair. So a killed child never leaves half a message.
This module imports the C halves of pickle and socket: their Python halves would load regular expressions and selectors
at every start, and neither is needed.
"""

import fcntl
import os
import time
from _pickle import dumps, loads
from _socket import AF_UNIX, MSG_DONTWAIT, SOCK_SEQPACKET, socket, socketpair
from collections.abc import Callable

from fencer._signals import signal
from fencer._typing import NamedTuple
from fencer.errors import FenceError, UsageError
from fencer.readable import readable
from fencer.shortage import start_despite_shortage

MESSAGE_BYTES = 124 * 1024
"""Largest size of one message. A socket takes 208 KiB by default; from 128 KiB on, malloc(3) would map memory anew for
each message that is waited for."""


def next_message(sock: socket, most_bytes: int = MESSAGE_BYTES) -> bytes:
    """The next datagram; b"" when the other end is closed and everything it sent has been read. Raises OSError.

    When the other end closes with a datagram unread, Linux reports ECONNRESET once, before the datagrams that are still
    queued here (unix(7); __skb_try_recv_datagram checks the socket's error first). So the first ECONNRESET is ignored.
    """
    try:
        return sock.recv(most_bytes)
    except ConnectionResetError:
        return sock.recv(most_bytes)


REASON_CHARS = 4000
"""Longest error text in a message. The text may quote a device, a file or a program."""


class Crashed(NamedTuple):
    """The child's job raised an exception. This is never a success, whatever the child reported before.

    misuse: it was a UsageError; reason is the sentence for the caller.
    """

    reason: str
    misuse: bool = False


class Channel:
    """The child's end of the socket pair."""

    def __init__(self, sock: socket) -> None:
        self._sock = sock

    def fileno(self) -> int:
        return self._sock.fileno()

    def send(self, message: object) -> None:
        """Sends a message to the parent. When the parent is gone, the child exits."""
        try:
            self._sock.send(dumps(message))
        except OSError:
            os._exit(1)

    def receive(self) -> object:
        """Waits for the parent's next message; None when the parent closed its end."""
        try:
            data = next_message(self._sock)
        except ConnectionResetError:
            return None
        message: object = loads(data) if data else None
        return message


Job = Callable[[Channel], None]
"""What a child runs."""


class Lifeline:
    """Ends the child when its parent ends, by a pipe whose write end only the parent keeps open.

    When the parent ends for any reason, the child gets SIGIO and ends. This replaces PR_SET_PDEATHSIG: it needs no
    ctypes and has no race at fork. Each child needs its own pipe, because the receiver of SIGIO is a property of the
    pipe.
    """

    def __init__(self) -> None:
        self._read_end, self._write_end = os.pipe()

    def hold(self) -> None:
        """Arms the pipe. The child calls it first."""
        os.close(self._write_end)
        signal.signal(signal.SIGIO, signal.SIG_DFL)
        fcntl.fcntl(self._read_end, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(self._read_end, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
        try:
            if os.read(self._read_end, 1) == b"":  # the parent was gone before we armed the pipe
                os._exit(1)
        except BlockingIOError:
            pass

    def keep(self) -> None:
        """Closes the read end. The parent calls it after the fork."""
        os.close(self._read_end)

    def let_go(self) -> None:
        """Closes the write end: this process no longer keeps the child alive. For the parent and for other children."""
        os.close(self._write_end)


class Worker:
    """The parent's view of one child."""

    def __init__(self, pid: int, sock: socket, lifeline: Lifeline) -> None:
        self.pid = pid
        self._sock = sock
        self._lifeline = lifeline
        self._reaped = False

    @classmethod
    def spawn(cls, job: Job, siblings: tuple["Worker", ...] = ()) -> "Worker":
        """Forks a child that runs job and exits. Raises OSError where memory, processes or descriptors run out.

        siblings: the other workers of this parent. The child closes their sockets and lifelines: while it kept them
        open, the end of a sibling or of the parent would not be noticed.
        """
        ours, theirs = socketpair(AF_UNIX, SOCK_SEQPACKET)
        try:
            lifeline, pid = _fork()
        except OSError:
            ours.close()
            theirs.close()
            raise
        if pid:
            theirs.close()
            lifeline.keep()
            return cls(pid, ours, lifeline)
        status = 1
        try:
            lifeline.hold()
            ours.close()
            for sibling in siblings:
                sibling._sock.close()
                sibling._lifeline.let_go()
            for number in (signal.SIGTERM, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the child, too, but the parent ends it
            _drop_standard_streams()
            status = _run(job, Channel(theirs))
        finally:
            os._exit(status)

    def fileno(self) -> int:
        return self._sock.fileno()

    def send(self, message: object) -> None:
        """Sends a message to the child. It does not report a child that is gone: receive does."""
        try:
            self._sock.send(dumps(message), MSG_DONTWAIT)
        except OSError:
            return

    def receive(self) -> object:
        """The next message; None when the child has ended and all its messages are read. Call it when readable."""
        try:
            data = next_message(self._sock)
        except OSError:
            return None
        try:
            message: object = loads(data) if data else None
        except Exception as error:  # noqa: BLE001 - unpickling may raise any exception
            return Crashed(f"unreadable message from a worker: {type(error).__name__}: please report this")
        return message

    def end_within(self, seconds: float) -> None:
        """Sends SIGTERM and waits up to seconds for the child to clean up. Drops its last messages."""
        try:
            os.kill(self.pid, signal.SIGTERM)
        except ProcessLookupError:
            return
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and readable([self._sock], left):
            if self.receive() is None:
                return

    def kill(self) -> None:
        """Kills the child without waiting for it. A child in state D is left to the kernel."""
        if self._reaped:
            return
        try:
            os.kill(self.pid, signal.SIGKILL)
            self._reaped = os.waitpid(self.pid, os.WNOHANG)[0] != 0
        except (ProcessLookupError, ChildProcessError):
            self._reaped = True

    def close(self) -> None:
        """Kills the child and closes this end."""
        self.kill()
        self._sock.close()
        self._lifeline.let_go()


class Workers:
    """The power worker and the storage worker of one call.

    They can be forked before their order is known. Then they load their libraries while the parent reads options.
    """

    def __init__(self, power_job: Job, storage_job: Job) -> None:
        self._jobs = (power_job, storage_job)
        self.power: Worker | None = None
        self.storage: Worker | None = None

    def need_power(self) -> Worker:
        """The power worker; forks one unless there is one."""
        if self.power is None:
            self.power = start_despite_shortage(lambda: Worker.spawn(self._jobs[0], self._alive()))
        return self.power

    def need_storage(self) -> Worker:
        """The storage worker; forks one unless there is one."""
        if self.storage is None:
            self.storage = start_despite_shortage(lambda: Worker.spawn(self._jobs[1], self._alive()))
        return self.storage

    def drop_power(self) -> None:
        """Kills the power worker, if there is one."""
        if self.power is not None:
            self.power.close()
            self.power = None

    def drop_storage(self) -> None:
        """Kills the storage worker, if there is one."""
        if self.storage is not None:
            self.storage.close()
            self.storage = None

    def drop(self) -> None:
        """Kills both workers."""
        self.drop_power()
        self.drop_storage()

    def _alive(self) -> tuple[Worker, ...]:
        return tuple(worker for worker in (self.power, self.storage) if worker is not None)


def _fork() -> tuple[Lifeline, int]:
    """Returns the child's lifeline and the result of fork(2). Raises OSError; then it leaves nothing open."""
    lifeline = Lifeline()
    try:
        return lifeline, os.fork()
    except OSError:
        lifeline.keep()
        lifeline.let_go()
        raise


def _drop_standard_streams() -> None:
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)


def _run(job: Job, channel: Channel) -> int:
    try:
        job(channel)
    except FenceError as error:
        channel.send(Crashed(str(error)[:REASON_CHARS], misuse=isinstance(error, UsageError)))
        return 1
    except BaseException as error:  # noqa: BLE001 - the only place that can report an unexpected error to the parent
        text = f"unexpected {type(error).__name__}: {error}"[:REASON_CHARS]
        channel.send(Crashed(f"{text}: please report this"))
        return 1
    return 0
