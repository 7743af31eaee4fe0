# SPDX-License-Identifier: Apache-2.0
"""The control socket for pause and resume: one datagram each way, on a socket that only root may write to."""

import contextlib
import os
from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_DGRAM, SOCK_NONBLOCK, socket  # as in fencer.worker

from fencer._typing import NamedTuple
from fencer.errors import UsageError

SOCKET_NAME = "watchdogd.sock"
LONGEST_PAUSE_S = 24 * 3600.0
_ANSWER_S = 3.0
_BYTES = 4096
_DONE, _REFUSED = "done", "refused"


class Pause(NamedTuple):
    """Suspends the self-fence for a loss of storage for so long. A preemption still resets this node."""

    for_s: float


class Resume(NamedTuple):
    """Ends the pause."""


class Question(NamedTuple):
    """An order as received. asker: the address for the answer."""

    order: Pause | Resume
    asker: bytes | str


class ControlSocket:
    """The sidecar's end."""

    def __init__(self, directory: str) -> None:
        """Raises OSError. A socket that an earlier process left is replaced."""
        path = f"{directory}/{SOCKET_NAME}"
        os.makedirs(directory, mode=0o755, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        self._socket = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC)
        mask = os.umask(0o177)
        try:
            self._socket.bind(path)
        finally:
            os.umask(mask)

    def fileno(self) -> int:
        return self._socket.fileno()

    def receive(self) -> Question | None:
        """The next order; None when there is none, or it is invalid."""
        try:
            data, asker = self._socket.recvfrom(_BYTES)
            order = parse(data)
        except (OSError, ValueError):
            return None
        return Question(order, asker) if asker else None

    def answer(self, question: Question, text: str, *, done: bool = True) -> None:
        """Sends the answer. Does not wait for an asker that has gone."""
        with contextlib.suppress(OSError):
            self._socket.sendto(f"{_DONE if done else _REFUSED} {text}".encode(), question.asker)


def parse(data: bytes) -> Pause | Resume:
    """``resume``, or ``pause`` and seconds. Raises ValueError for anything but an order."""
    match data.split(b" "):
        case [b"resume"]:
            return Resume()
        case [b"pause", seconds]:
            for_s = float(seconds)
            if 0 < for_s <= LONGEST_PAUSE_S:
                return Pause(for_s)
    raise ValueError("not an order")


def ask(directory: str, order: Pause | Resume) -> str:
    """Sends an order to the running sidecar and returns its answer. Raises UsageError, with the remedy."""
    path = f"{directory}/{SOCKET_NAME}"
    word = "resume" if isinstance(order, Resume) else f"pause {order.for_s}"
    sock = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC)
    try:
        sock.settimeout(_ANSWER_S)
        sock.bind("")  # a name of the kernel's choice, so that there is somewhere to answer to
        sock.connect(path)  # from here on the kernel delivers only the sidecar's datagrams
        sock.send(word.encode())
        done, _, text = sock.recv(_BYTES).decode("utf-8", "replace").partition(" ")
    except PermissionError as error:
        raise UsageError(f"{path}: permission denied: run this as root") from error
    except TimeoutError as error:
        raise UsageError(f"{path}: no answer within {_ANSWER_S:g} s: see what the sidecar's log says") from error
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}: is halvm-watchdogd running?") from error
    finally:
        sock.close()
    if done != _DONE:
        raise UsageError(text)
    return text
