# SPDX-License-Identifier: Apache-2.0
"""Namespaces that take everything started in them along when they end, however our own process ends."""

import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

MISSING_ROOT = "the lab needs root: it makes namespaces"


class Enclosure:
    """A PID and mount namespace, and on wish a network namespace.

    Its first process waits on a pipe from us. When we close it, or die of whatever cause, that process ends and the
    kernel kills all others in the namespace; with the last of them go the network and the mounts.
    """

    def __init__(self, *, network: bool) -> None:
        unshare = ["unshare", "--pid", "--fork", "--kill-child", "--mount", "--mount-proc"]
        if network:
            unshare.append("--net")
        # A session of its own: Ctrl-C in the terminal is ours to handle, not the guests'.
        self._init = subprocess.Popen(
            [*unshare, "sh", "-c", "echo ready; exec cat"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        assert self._init.stdout is not None
        if self._init.stdout.readline() != b"ready\n":
            _, error = self._init.communicate()
            raise RuntimeError(f"unshare: {error.decode(errors='replace').strip()}")
        self._started: list[subprocess.Popen[bytes]] = []
        namespaces = Path(f"/proc/{self._init.pid}/ns")
        self._enter = ["nsenter", f"--mount={namespaces}/mnt", f"--pid={namespaces}/pid_for_children"]
        if network:
            self._enter.append(f"--net={namespaces}/net")

    def start(self, command: Sequence[str | Path], log: IO[bytes]) -> "subprocess.Popen[bytes]":
        """Starts a process in here. What is returned stands for it, but signals must go to the process itself."""
        words = [*self._enter, *(str(word) for word in command)]
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        self._started.append(process)
        return process

    def run(
        self, command: Sequence[str | Path], *, timeout_s: float = 30, check: bool = True
    ) -> "subprocess.CompletedProcess[str]":
        """Runs a host program in here to its end."""
        words = [*self._enter, *(str(word) for word in command)]
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout_s, check=False
        )
        if check and done.returncode:
            raise RuntimeError(f"{' '.join(words[len(self._enter) :])}: exit {done.returncode}: {done.stderr.strip()}")
        return done

    def close(self) -> None:
        """Ends every process in here and returns when the last one is gone."""
        for pipe in (self._init.stdin, self._init.stdout, self._init.stderr):
            if pipe and not pipe.closed:
                pipe.close()
        try:
            self._init.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._init.kill()
            self._init.wait()
        for process in self._started:
            process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
