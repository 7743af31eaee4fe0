"""A word from the operator: pause and resume, by one datagram each way on a socket that only root may write to."""

import contextlib
import json
import os
import socket
from pathlib import Path
from typing import NamedTuple

from fencer.errors import UsageError

SOCKET_NAME = "watchdogd.sock"
LONGEST_PAUSE_S = 24 * 3600.0
_ANSWER_S = 3.0
_BYTES = 4096


class Pause(NamedTuple):
    """Nobody is fenced for losing storage for so long; a preemption still counts."""

    for_s: float


class Resume(NamedTuple):
    """The pause ends now."""


class Question(NamedTuple):
    """asker: where the answer goes."""

    order: Pause | Resume
    asker: bytes | str


class ControlSocket:
    """The sidecar's end."""

    def __init__(self, directory: str) -> None:
        """Raises OSError. A socket that an earlier process left is replaced."""
        path = Path(directory) / SOCKET_NAME
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        mask = os.umask(0o177)
        try:
            self._socket.bind(str(path))
        finally:
            os.umask(mask)

    def fileno(self) -> int:
        return self._socket.fileno()

    def receive(self) -> Question | None:
        """The next order, None when there is none or it makes no sense."""
        try:
            data, asker = self._socket.recvfrom(_BYTES)
            order = parse(data)
        except (OSError, ValueError):
            return None
        return Question(order, asker) if asker else None

    def answer(self, question: Question, text: str, *, done: bool = True) -> None:
        """An asker who has gone is not waited for."""
        with contextlib.suppress(OSError):
            self._socket.sendto(json.dumps({"done": done, "text": text}).encode(), question.asker)


def parse(data: bytes) -> Pause | Resume:
    """Raises ValueError for anything but an order."""
    try:
        document = json.loads(data)
        word, for_s = document["order"], document.get("for_s")
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError("not an order") from error
    if word == "resume":
        return Resume()
    if word == "pause" and type(for_s) in (int, float) and 0 < for_s <= LONGEST_PAUSE_S:
        return Pause(float(for_s))
    raise ValueError("not an order")


def ask(directory: str, order: Pause | Resume) -> str:
    """Tells the running sidecar and returns its answer. Raises UsageError with what to do when that fails."""
    path = Path(directory) / SOCKET_NAME
    word = {"order": "resume"} if isinstance(order, Resume) else {"order": "pause", "for_s": order.for_s}
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.settimeout(_ANSWER_S)
        sock.bind("")  # a name of the kernel's choice, so that there is somewhere to answer to
        try:
            sock.sendto(json.dumps(word).encode(), str(path))
            answer = json.loads(sock.recv(_BYTES))
        except PermissionError as error:
            raise UsageError(f"{path}: permission denied: run this as root") from error
        except TimeoutError as error:
            raise UsageError(f"{path}: no answer within {_ANSWER_S:g} s: see what the sidecar's log says") from error
        except OSError as error:
            raise UsageError(f"{path}: {error.strerror}: is halvm-watchdogd running?") from error
    if not answer.get("done"):
        raise UsageError(str(answer.get("text")))
    return str(answer.get("text"))
