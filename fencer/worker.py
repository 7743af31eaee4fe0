"""An expendable child process: it talks to hardware, its parent holds the deadline.

A BMC library can loop, and a SCSI command can sit in the kernel where no signal reaches it (state D). So whatever may
hang runs in a child that the parent can abandon at any time: it is killed, never waited for. The child holds none of
the parent's standard streams, so that a caller that reads them to their end is not kept waiting by an abandoned child.

Messages are pickled objects, one per datagram of a SOCK_SEQPACKET pair: a killed child never leaves half a message.
What pickle and socket themselves are made of is imported here: their Python halves load regular expressions and
selectors, which nobody needs, at every start.
"""

import fcntl
import os
import select
import signal
import time
from _pickle import dumps, loads
from _socket import AF_UNIX, MSG_DONTWAIT, SOCK_SEQPACKET, socket, socketpair
from collections.abc import Callable

from fencer._typing import NamedTuple
from fencer.errors import FenceError, UsageError

MESSAGE_BYTES = 128 * 1024
"""Of one message at most; a socket takes 208 KiB by default."""


def next_message(sock: socket, most_bytes: int = MESSAGE_BYTES) -> bytes:
    """The next datagram; b"" when the other end is closed and everything it had sent is read. Raises OSError.

    An end that closes with a datagram unread makes Linux report ECONNRESET once, before what is queued for us
    (unix(7); __skb_try_recv_datagram looks at the socket's error first). So the end is not believed the first time.
    """
    try:
        return sock.recv(most_bytes)
    except ConnectionResetError:
        return sock.recv(most_bytes)


FORK_PATIENCE_S = 2.0
"""How long a fence asks again for a process where there is none (fork(2): EAGAIN, ENOMEM)."""
FORK_PAUSE_S = 0.05

REASON_CHARS = 4000
"""Of an error's text at most, which may quote what a device, a file or a program said."""


class Crashed(NamedTuple):
    """The child's job ended by an exception it did not expect. Never success, whatever it reported before.

    misuse: what was asked made no sense; reason is the sentence for whoever asked.
    """

    reason: str
    misuse: bool = False


class Channel:
    """The child's end."""

    def __init__(self, sock: socket) -> None:
        self._sock = sock

    def fileno(self) -> int:
        return self._sock.fileno()

    def send(self, message: object) -> None:
        """Reports to the parent. When the parent is gone the child ends: nobody would act on what it does."""
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
    """A pipe that only the parent keeps open: when the parent ends, however it ends, the child gets SIGIO and ends.

    It does what PR_SET_PDEATHSIG does, without ctypes, and without that call's race at fork. One for each child: whom
    SIGIO goes to belongs to the open pipe, so two children cannot share one.
    """

    def __init__(self) -> None:
        self._read_end, self._write_end = os.pipe()

    def hold(self) -> None:
        """In the child, first thing."""
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
        """In the parent, after the fork."""
        os.close(self._read_end)

    def let_go(self) -> None:
        """In the parent, and in other children: this process no longer keeps the child alive."""
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
        """Forks a child that runs job and exits.

        siblings: workers of this parent; the child must not keep their sockets and lifelines open, or their end, or
        the parent's, would go unnoticed. Raises OSError where there is no memory, process or descriptor for one.
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
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches us, too: the parent decides, and we log out
            _drop_standard_streams()
            status = _run(job, Channel(theirs))
        finally:
            os._exit(status)

    def fileno(self) -> int:
        return self._sock.fileno()

    def send(self, message: object) -> None:
        """Sends to the child. A child that is gone is noticed by receive, not here."""
        try:
            self._sock.send(dumps(message), MSG_DONTWAIT)
        except OSError:
            return

    def receive(self) -> object:
        """The next message (call when readable); None when the child has ended and has nothing more to say."""
        try:
            data = next_message(self._sock)
        except OSError:
            return None
        try:
            message: object = loads(data) if data else None
        except Exception as error:  # noqa: BLE001 - unpickling raises whatever it likes
            return Crashed(f"unreadable message from a worker: {type(error).__name__}")
        return message

    def end_within(self, seconds: float) -> None:
        """Asks the child to end (SIGTERM) and gives it a moment to clean up. Its last messages are dropped."""
        try:
            os.kill(self.pid, signal.SIGTERM)
        except ProcessLookupError:
            return
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and select.select([self._sock], [], [], left)[0]:
            if self.receive() is None:
                return

    def kill(self) -> None:
        """Ends the child without waiting for it: one in state D is left to the kernel."""
        if self._reaped:
            return
        try:
            os.kill(self.pid, signal.SIGKILL)
            self._reaped = os.waitpid(self.pid, os.WNOHANG)[0] != 0
        except (ProcessLookupError, ChildProcessError):
            self._reaped = True

    def close(self) -> None:
        """Kills the child and frees this end."""
        self.kill()
        self._sock.close()
        self._lifeline.let_go()


class Workers:
    """Children that wait for an order. They can be started before it is known what they will be asked: loading their
    libraries then overlaps with the reading of options."""

    def __init__(self, power_job: Job, storage_job: Job) -> None:
        self._jobs = (power_job, storage_job)
        self.power: Worker | None = None
        self.storage: Worker | None = None

    def need_power(self) -> Worker:
        """The power worker, forked unless one is waiting."""
        if self.power is None:
            self.power = _spawn(self._jobs[0], self._alive())
        return self.power

    def need_storage(self) -> Worker:
        """The storage worker, forked unless one is waiting."""
        if self.storage is None:
            self.storage = _spawn(self._jobs[1], self._alive())
        return self.storage

    def drop_power(self) -> None:
        """Abandons the power worker."""
        if self.power is not None:
            self.power.close()
            self.power = None

    def drop_storage(self) -> None:
        """Abandons the storage worker."""
        if self.storage is not None:
            self.storage.close()
            self.storage = None

    def drop(self) -> None:
        """Abandons both."""
        self.drop_power()
        self.drop_storage()

    def _alive(self) -> tuple[Worker, ...]:
        return tuple(worker for worker in (self.power, self.storage) if worker is not None)


def _spawn(job: Job, siblings: tuple[Worker, ...]) -> Worker:
    """As Worker.spawn, tried again for FORK_PATIENCE_S where there is no process, memory or descriptor at the moment.

    Raises OSError when there is none then, either.
    """
    until = time.monotonic() + FORK_PATIENCE_S
    while True:
        try:
            return Worker.spawn(job, siblings)
        except OSError:
            if time.monotonic() >= until:
                raise
            time.sleep(FORK_PAUSE_S)


def _fork() -> tuple[Lifeline, int]:
    """The child's lifeline, and what fork(2) returned. Raises OSError, and leaves nothing open then."""
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
    except BaseException as error:  # noqa: BLE001 - the only place where a child's surprise can be told to its parent
        channel.send(Crashed(f"unexpected {type(error).__name__}: {error}"[:REASON_CHARS]))
        return 1
    return 0
