# SPDX-License-Identifier: Apache-2.0
"""A child that writes the journal, so that a fence neither waits for a disk nor fails with it.

It is forked before anything is sent, holds none of the caller's streams, and is in a session of its own: it outlives an
agent that is killed, with its process group or alone, and then records that the outcome is unknown. While the agent
fences, the child loads SQLite, at low priority. When the verdict is out the agent sends the record and ends, without
waiting. What the child has found wrong by then the agent says; what goes wrong later is in the system log.
"""

import contextlib
import os
import time
from _pickle import dumps, loads  # as in fencer.worker
from _socket import AF_UNIX, MSG_DONTWAIT, SOCK_SEQPACKET, socket, socketpair
from collections.abc import Callable, Sequence

from fencer._signals import signal
from fencer._typing import NamedTuple
from fencer.errors import FenceError
from fencer.journal.event import Event, Step
from fencer.readable import readable
from fencer.syslog import Severity, SystemLog
from fencer.worker import next_message

WRITING_S = 5
"""The longest that the child may take over one record; SIGALRM ends it."""

KEPT_S = 10.0
"""How long it tries to record what was kept while the journal was busy; then the next call's child does it."""
AGAIN_S = 0.25

NICENESS = 19
"""Of the child, until the verdict is out: on one CPU it takes the moments in which the agent waits."""

MESSAGE_BYTES = 256 * 1024
FEW_STEPS = 20


class Begun(NamedTuple):
    """The first record of a run: the plan, with the outcome unknown. It stays where the agent is killed."""

    path: str
    event: Event


class Saw(NamedTuple):
    """Steps observed since the last message."""

    steps: tuple[Step, ...]


class RunEnded(NamedTuple):
    """The final record; replaces the one in Begun."""

    event: Event


class JournalWriter:
    """The agent's end of the journal writer process."""

    def __init__(self, pid: int, sock: socket) -> None:
        self._pid = pid
        self._sock = sock
        self._path = ""
        self._callers_niceness = os.getpriority(os.PRIO_PROCESS, 0)  # the agent may change its own later

    @classmethod
    def start(cls) -> "JournalWriter":
        """Forks the child. It costs the agent a fork: the child loads nothing before it knows that something runs.

        Where there is no process or descriptor for one, the call is not recorded, and ``ended`` says so.
        """
        try:
            ours, theirs = socketpair(AF_UNIX, SOCK_SEQPACKET)
        except OSError as error:
            return _Unstarted(error)
        try:
            pid = os.fork()
        except OSError as error:
            ours.close()
            theirs.close()
            return _Unstarted(error)
        if pid:
            theirs.close()
            return cls(pid, ours)
        try:
            ours.close()
            _stand_apart(theirs)
            _watch(theirs)
        finally:
            os._exit(0)  # without closing the journal: its log stays, which is what unprivileged readers need

    def begun(self, path: str, event: Event) -> None:
        """Sends the record with the outcome unknown, before anything is sent to the hardware."""
        self._path = os.path.abspath(path)  # the child is elsewhere
        self._set_niceness(NICENESS)
        self._send(Begun(self._path, event))

    def saw(self, steps: Sequence[Step]) -> None:
        """Sends the next steps, for the case that the agent is killed before its verdict."""
        self._send(Saw(tuple(steps)))

    def ended(self, event: Event) -> str | None:
        """Sends the final record; waits for nothing. Returns what is known to be wrong with the journal, or None."""
        self._set_niceness(self._callers_niceness)  # the fence needs the processor no more
        if not self._send(RunEnded(event)) and not self._send(RunEnded(event._replace(steps=event.steps[:FEW_STEPS]))):
            return f"journal: {self._path}: this call is not in it: its writer is gone"
        if not readable([self._sock], 0):
            return None
        try:
            answer = next_message(self._sock, MESSAGE_BYTES)
        except OSError:
            answer = b""
        if not answer:
            return f"journal: {self._path}: this call is not in it: its writer is gone"
        reason: str = loads(answer)
        return reason

    def let_go(self) -> None:
        """Closes this process's copy of the socket, so that the child sees the end of the agent."""
        self._sock.close()

    def _set_niceness(self, niceness: int) -> None:
        """For the child, which might lower its own priority only after this process has raised it."""
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, self._pid, niceness)

    def _send(self, message: object) -> bool:
        try:
            self._sock.send(dumps(message), MSG_DONTWAIT)
        except OSError:
            return False
        return True


class _Unstarted(JournalWriter):
    """Stands for a child that could not be started, so that no fence fails because of its record."""

    def __init__(self, error: OSError) -> None:
        self._reason = error.strerror
        self._path = ""

    def saw(self, steps: Sequence[Step]) -> None:
        """Does nothing."""

    def ended(self, event: Event) -> str | None:  # noqa: ARG002 - there is no child
        """Why it is not in the journal."""
        return f"journal: {self._path}: this call is not in it: no process for its writer: {self._reason}"

    def let_go(self) -> None:
        """Does nothing."""

    def _set_niceness(self, niceness: int) -> None:
        """Does nothing."""

    def _send(self, message: object) -> bool:  # noqa: ARG002 - there is no child
        return False


def _stand_apart(sock: socket) -> None:
    """Closes the caller's descriptors, leaves its directory, and its process group with its signals."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    os.setsid()
    os.chdir("/")
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.closerange(3, sock.fileno())
    os.closerange(sock.fileno() + 1, os.sysconf("SC_OPEN_MAX"))


def _watch(sock: socket) -> None:
    """Records what the agent sends, until the agent's end is closed."""
    recorder: _Recorder | None = None
    begun: Begun | None = None
    began_at = 0.0
    steps: list[Step] = []
    while data := next_message(sock, MESSAGE_BYTES):
        match loads(data):
            case Begun() as begun:
                began_at = time.monotonic()
                steps = []
                recorder = _Recorder(begun.path)
                if (trouble := recorder.warm_up()) is not None:
                    with contextlib.suppress(OSError):
                        sock.send(dumps(trouble), MSG_DONTWAIT)
            case Saw(more):
                steps += more
            case RunEnded(event) if recorder is not None:
                begun = None
                _log(recorder.write(event))  # the agent has gone, or does so now
    if begun is not None and recorder is not None:
        took_s = time.monotonic() - began_at
        _log(recorder.write(begun.event._replace(took_s=took_s, steps=tuple(steps))))
    if recorder is not None:
        recorder.write_kept()


class _Recorder:
    """Holds the journal open. It loads SQLite, so it is made when it is known that something runs."""

    def __init__(self, path: str) -> None:
        from fencer.journal.file import Journal  # brings SQLite

        self._path = path
        self._journal = Journal(path)

    def warm_up(self) -> str | None:
        """Opens the journal before there is a record. Returns why that failed; the record is tried all the same."""
        return self._guarded(self._journal.open)

    def write(self, event: Event) -> str | None:
        """Writes a record. Returns why that failed, or None."""
        return self._guarded(lambda: self._journal.append(event))

    def write_kept(self) -> None:
        """Records what was kept while the journal was busy. Tries for a while, as no process waits for this one."""
        until = time.monotonic() + KEPT_S
        done = False

        def record() -> None:
            nonlocal done
            done = self._journal.record_kept()

        while self._guarded(record) is None and not done and time.monotonic() < until:
            time.sleep(AGAIN_S)

    def _guarded(self, work: Callable[[], None]) -> str | None:
        signal.alarm(WRITING_S)  # its default action ends the process, whatever it waits for
        try:
            work()
        except FenceError as error:
            return str(error)
        except Exception as error:  # noqa: BLE001 - no other process can report it
            return f"journal: {self._path}: unexpected {type(error).__name__}: {error}"
        finally:
            signal.alarm(0)
        return None


def _log(reason: str | None) -> None:
    if reason is not None:
        SystemLog().write(Severity.WARNING, f"WARNING: {reason}")
