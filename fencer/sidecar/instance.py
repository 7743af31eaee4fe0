# SPDX-License-Identifier: Apache-2.0
"""Allows one sidecar a node: a lock, taken before anything is touched and held until the process ends."""

import errno
import fcntl
import os

from fencer.errors import UsageError

LOCK_NAME = "watchdogd.lock"
_BYTES = 64


class Instance:
    """The lock. The kernel releases it when the process ends, in any way."""

    def __init__(self, state_dir: str) -> None:
        """Raises UsageError when another process holds it, or when it cannot be made.

        The feeder takes it after its children were forked, so that no child keeps it.
        """
        path = f"{state_dir}/{LOCK_NAME}"
        try:
            os.makedirs(state_dir, mode=0o755, exist_ok=True)
            self._descriptor = os.open(
                path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600
            )
        except OSError as error:
            raise UsageError(f"state_dir: {path}: {error.strerror}: run as root, or give another") from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)
        except OSError as error:
            holder = os.pread(self._descriptor, _BYTES, 0).decode("ascii", "replace").strip()
            os.close(self._descriptor)
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                raise UsageError(
                    f"{path}: halvm-watchdogd runs already, as process {holder or 'unknown'}: nothing was changed; "
                    "talk to it by status, pause and resume, or stop it first"
                ) from error
            raise UsageError(f"state_dir: {path}: {error.strerror}: give another") from error

    def end(self) -> None:
        """Releases the lock just before the process ends."""
        os.close(self._descriptor)
