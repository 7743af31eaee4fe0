# SPDX-License-Identifier: Apache-2.0
"""Files that hang: FUSE in a mount namespace of its own, so that nothing stays mounted whatever ends.

    with HungFiles() as hung:
        subprocess.run([*hung.seeing, "cat", hung.path("reads")])  # hangs in state D: not even SIGKILL ends it

What hangs depends on the name: ``looks``: looking it up. ``opens``: opening it. ``there``: a directory that can be
looked at, in which everything hangs. Any other name is a regular file of root's (0600) whose reading and writing hang.
All that hangs ends with the context.

Needs root. Source: include/uapi/linux/fuse.h, protocol 7.19.
"""

import contextlib
import ctypes
import os
import struct
import subprocess
import sys
import tempfile
from enum import IntEnum
from pathlib import Path
from types import TracebackType

import pytest

_CLONE_NEWNS = 0x20000
_MS_REC, _MS_PRIVATE = 0x4000, 0x40000
_ENOSYS = 38
_HEADER = struct.Struct("<IIQQIIII")
_ROOT = 1
_DIRECTORY, _FILE = 0o40700, 0o100600
_DEVICE = "/dev/fuse"


class _Operation(IntEnum):
    LOOKUP = 1
    FORGET = 2
    GETATTR = 3
    OPEN = 14
    READ = 15
    WRITE = 16
    RELEASE = 18
    FLUSH = 25
    INIT = 26
    OPENDIR = 27
    READDIR = 28
    CREATE = 35
    INTERRUPT = 36
    BATCH_FORGET = 42


_NEVER_ANSWERED = (
    _Operation.FORGET, _Operation.READ, _Operation.WRITE, _Operation.READDIR, _Operation.CREATE, _Operation.INTERRUPT,
    _Operation.BATCH_FORGET,
)  # fmt: skip


class HungFiles:
    """seeing: the beginning of a command that sees the files."""

    def __init__(self) -> None:
        self.seeing: list[str] = []
        self._directory = tempfile.TemporaryDirectory(prefix="hung-")
        self._process: subprocess.Popen[str] | None = None

    def path(self, name: str) -> str:
        return f"{self._directory.name}/{name}"

    def __enter__(self) -> "HungFiles":
        if os.geteuid() or not Path(_DEVICE).exists():
            reason = f"{_DEVICE} cannot be used: run as root, with the kernel's fuse module"
            (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)
        command = ["setpriv", "--pdeathsig", "KILL", sys.executable, "-m", "tests.rig.hung_files", self._directory.name]
        self._process = subprocess.Popen(
            command, cwd=Path(__file__).parents[2], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"
        self.seeing = ["nsenter", f"--mount=/proc/{self._process.pid}/ns/mnt"]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.kill()  # that closes the kernel's side: what hangs gets an error
            self._process.communicate()
        self._directory.cleanup()


def _mount(directory: str) -> int:
    """Returns the descriptor on which the kernel asks."""
    libc = ctypes.CDLL(None, use_errno=True)

    def check(result: int) -> None:
        if result:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    check(libc.unshare(_CLONE_NEWNS))
    check(libc.mount(b"none", b"/", None, _MS_REC | _MS_PRIVATE, None))
    device = os.open(_DEVICE, os.O_RDWR | os.O_CLOEXEC)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0".encode()
    check(libc.mount(b"hung", directory.encode(), b"fuse", 0, options))
    return device


class _FileSystem:
    """Answers the kernel's requests."""

    def __init__(self) -> None:
        self._names = {_ROOT: ""}

    def serve(self, device: int) -> None:
        while True:
            request = os.read(device, 1 << 17)
            _, operation, unique, node, *_ = _HEADER.unpack_from(request)
            answer = self._answer(operation, node, request[_HEADER.size :])
            if answer is not None:
                error, data = answer
                with contextlib.suppress(FileNotFoundError):  # whoever asked is gone
                    os.write(device, struct.pack("<IiQ", 16 + len(data), -error, unique) + data)

    def _answer(self, operation: int, node: int, body: bytes) -> tuple[int, bytes] | None:
        """Error and data; None: never."""
        name = self._names.get(node, "")
        match operation:
            case _Operation.INIT:
                return 0, struct.pack("<4IHHI", 7, 19, 0, 0, 0, 0, 4096)
            case _Operation.GETATTR:
                return 0, struct.pack("<QII", 0, 0, 0) + self._attributes(node)
            case _Operation.LOOKUP:
                return self._look_up(name, body.rstrip(b"\0").decode())
            case _Operation.OPEN:
                return None if name == "opens" else (0, struct.pack("<QII", 0, 1, 0))
            case _Operation.OPENDIR:
                return 0, struct.pack("<QII", 0, 0, 0)
            case _Operation.RELEASE | _Operation.FLUSH:
                return 0, b""
            case _ if operation in _NEVER_ANSWERED:
                return None
            case _:
                return _ENOSYS, b""

    def _look_up(self, parent: str, name: str) -> tuple[int, bytes] | None:
        if parent == "there" or name == "looks":
            return None
        node = next((each for each, known in self._names.items() if known == name), len(self._names) + 1)
        self._names[node] = name
        return 0, struct.pack("<4QII", node, 0, 0, 0, 0, 0) + self._attributes(node)

    def _attributes(self, node: int) -> bytes:
        mode = _DIRECTORY if self._names.get(node) in ("", "there") else _FILE
        return struct.pack("<6Q10I", node, 64, 1, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)


if __name__ == "__main__":
    kernel = _mount(sys.argv[1])
    print("ready", flush=True)
    _FileSystem().serve(kernel)
