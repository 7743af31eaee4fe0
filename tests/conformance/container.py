# SPDX-License-Identifier: Apache-2.0
"""Runs programs in a throw-away copy of a Debian root: own mounts, network, processes and host name."""

import ctypes
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

PROJECT = Path(__file__).resolve().parents[2]
CLONE_NEWNET = 0x40000000
READY_S = 30.0
LIMIT_S = 100.0
HOST_NAME = "node1"

# An overlay in memory above the root, the installed tree of this project in it. The sockets of libqb would be shared
# with a cluster of this host if they were abstract and the network the host's; both are its own.
_SETUP = """
set -eu
root=$1 own=$2 name=$3 installed=$4
mount -t tmpfs -o mode=755 tmpfs "$own"
mkdir "$own/upper" "$own/work" "$own/all"
mount -t overlay -o "lowerdir=$root,upperdir=$own/upper,workdir=$own/work" overlay "$own/all"
tar -C "$installed" -c . | tar -C "$own/all" -x --keep-directory-symlink --no-overwrite-dir
mount -t proc proc "$own/all/proc"
mount --rbind /dev "$own/all/dev"
mount -t tmpfs tmpfs "$own/all/dev/shm"
ln -sfn bash "$own/all/bin/sh"  # fence-agents' tests write &>, which dash reads as something else
hostname "$name"
ip link set lo up
touch "$own/all/run/ready"
exec chroot "$own/all" sleep infinity
"""


class Container:
    """Context manager. root: the Debian root, which is left as it is; a few MB of memory hold what changes."""

    def __init__(self, root: Path, name: str = HOST_NAME) -> None:
        self._root, self._name = root, name
        self._own = Path()
        self._holder: subprocess.Popen[bytes] | None = None
        self._first = 0

    def __enter__(self) -> Self:
        self._own = Path(tempfile.mkdtemp(prefix="conformance."))
        installed = Path(tempfile.mkdtemp(prefix="installed."))
        try:
            install = [sys.executable, str(PROJECT / "packaging/install.py"), "--root", str(installed)]
            subprocess.run([*install, "--interpreter", "/usr/bin/python3"], check=True, timeout=60)
            setup = ["sh", "-c", _SETUP, "sh", str(self._root), str(self._own), self._name, str(installed)]
            kinds = ["--mount", "--net", "--pid", "--ipc", "--uts"]
            self._holder = subprocess.Popen(["unshare", *kinds, "--fork", "--kill-child", *setup])
            self._await()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        finally:
            shutil.rmtree(installed, ignore_errors=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        shutil.rmtree(self._own, ignore_errors=True)

    def run(self, *command: str, environ: dict[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
        """Runs a command to its end, whatever its exit status."""
        words = self._within(command)
        return subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=LIMIT_S,
            env=_environment(environ),
        )  # fmt: skip

    def start(self, *command: str) -> "subprocess.Popen[bytes]":
        """Starts a command that ends with the container. Its output goes to the test's."""
        return subprocess.Popen(self._within(command), stdin=subprocess.DEVNULL, env=_environment(None))

    def ip(self, *words: str) -> None:
        """ip(8) in the container's network. A namespace is named by the pid of its container's first process."""
        network = f"--net=/proc/{self.first}/ns/net"
        subprocess.run(["nsenter", network, "ip", *words], check=True, timeout=LIMIT_S)

    @property
    def first(self) -> int:
        return self._first

    def kill(self) -> None:
        """Ends all of its processes at once, as a power cut does. Safe to repeat."""
        if self._holder is not None:
            self._holder.kill()  # the first process of its namespace dies with it, and so all others
            self._holder.wait()

    def path(self, path: str) -> Path:
        """A file of the container, as this process reaches it."""
        return Path(f"/proc/{self._first}/root") / path.lstrip("/")

    @contextmanager
    def network(self) -> Iterator[None]:
        """What this thread starts meanwhile uses the container's network."""
        with Path("/proc/thread-self/ns/net").open() as ours:
            _enter(f"/proc/{self._first}/ns/net")
            try:
                yield
            finally:
                _enter(f"/proc/self/fd/{ours.fileno()}")

    def _within(self, command: tuple[str, ...]) -> list[str]:
        kinds = ["--mount", "--net", "--pid", "--ipc", "--uts", "--root", "--wd"]
        return ["nsenter", "--target", str(self._first), *kinds, "--", *command]

    def _await(self) -> None:
        assert self._holder is not None
        children = Path(f"/proc/{self._holder.pid}/task/{self._holder.pid}/children")
        until = time.monotonic() + READY_S
        while time.monotonic() < until and self._holder.poll() is None:
            if words := children.read_text().split():
                self._first = int(words[0])
                if self.path("/run/ready").exists():
                    return
            time.sleep(0.05)
        raise RuntimeError(f"the container of {self._root} failed, or was not ready within {READY_S:g} s")


def _enter(namespace: str) -> None:
    with Path(namespace).open() as descriptor:
        if ctypes.CDLL(None, use_errno=True).setns(descriptor.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"setns {namespace}")


def _environment(more: dict[str, str] | None) -> dict[str, str]:
    mark = {name: value for name, value in os.environ.items() if name.startswith("FENCE_HALVM_TESTS")}
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return {"PATH": path, "LC_ALL": "C.UTF-8", "HOME": "/root", **mark, **(more or {})}
