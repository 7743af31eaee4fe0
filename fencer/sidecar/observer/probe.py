# SPDX-License-Identifier: Apache-2.0
"""One path's probe: the first block of the disk, read past every cache. An adapter to the kernel."""

import errno
import mmap
import os

from fencer._typing import Final

PROBE_BYTES = 4096
"""A whole block of any disk; O_DIRECT wants whole blocks."""


class BlockProbe:
    """Reads through one device file, into one page that is allocated once.

    The descriptor is kept while it answers and given up at the first failure: of a disk that the kernel has deleted an
    open descriptor reads 0 bytes for ever, and it would keep the disk's name from the next one. Read-only, so that
    udev does not look at the disk again at every close.

    direct: for tests on file systems that know no O_DIRECT.
    """

    def __init__(self, node: str, *, direct: bool = True) -> None:
        self._node: Final = node
        self._flags: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (os.O_DIRECT if direct else 0)
        self._page: Final = mmap.mmap(-1, PROBE_BYTES)
        self._descriptor: int | None = None

    @property
    def descriptor(self) -> int | None:
        """What it reads from; None while it has none."""
        return self._descriptor

    def read(self) -> str:
        """Why the path is lost; "" when it answered. May hang for as long as the kernel holds a command."""
        try:
            if self._descriptor is None:
                self._descriptor = os.open(self._node, self._flags)
            length = os.preadv(self._descriptor, (self._page,), 0)
        except OSError as error:
            self.close()
            return f"{errno.errorcode.get(error.errno or 0, 'error')}: {error.strerror}"
        if length == 0:
            self.close()
            return "read 0 bytes: the kernel has deleted this disk"
        return ""

    def close(self) -> None:
        """Gives the descriptor up. Never raises."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            try:
                os.close(descriptor)
            except OSError:
                return
