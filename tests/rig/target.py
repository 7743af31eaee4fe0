# SPDX-License-Identifier: Apache-2.0
"""A private iSCSI target: tgtd with file-backed LUNs, on 127.0.0.1 where no other address is given.

    with Target(luns=2) as target:
        IscsiTransport(IscsiUrl.parse(target.url(1)), ...)

It must run as root (tgtd insists). tgtd 1.0.85: no PREEMPT AND ABORT, no APTPL, no READ FULL STATUS; a registration
belongs to the session. Control ports and portals are picked as free; no process but our own is ever touched.
"""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType

from tests.rig import free_port, require_program

IPC_DIRECTORY = Path("/var/run/tgtd")  # compiled into tgtd and tgtadm
READY_WITHIN_S = 30.0
START_ATTEMPTS = 3


class Target:
    """One tgtd. LUN numbers start at 1; each LUN is a sparse file of lun_size_bytes that outlives a restart()."""

    def __init__(
        self,
        luns: int = 1,
        *,
        iqn: str = "iqn.2026-11.test.fence-halvm:disk",
        lun_size_bytes: int = 16 << 20,
        address: str = "127.0.0.1",
    ) -> None:
        self.address = address
        self.iqn = iqn
        self.luns = luns
        self._lun_size_bytes = lun_size_bytes
        self._directory: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0
        self._control_port = 0

    # --- life -----------------------------------------------------------------------------------------------------

    def __enter__(self) -> "Target":
        require_program("tgtd", "tgt")
        self._directory = Path(tempfile.mkdtemp(prefix="fence-halvm-target-"))
        IPC_DIRECTORY.mkdir(parents=True, exist_ok=True)
        try:
            self._start()
        except BaseException:
            self._clean_up()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._clean_up()

    def kill(self) -> None:
        """SIGKILL: the target is gone with everything it knew; connections are reset. Safe to repeat."""
        if self._process is not None:
            self._process.kill()  # SIGKILL also ends a stopped process; tgtd ignores SIGTERM while it has targets
            self._process.wait()
            self._process = None
            for name in (f"socket.{self._control_port}", f"socket.{self._control_port}.lock"):
                (IPC_DIRECTORY / name).unlink(missing_ok=True)

    def restart(self) -> None:
        """A power loss: the same portal and data, no registrations."""
        self.kill()
        self._start(self.port)

    def stop(self) -> None:
        """SIGSTOP: the target is silent, its connections stay open."""
        self._running().send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT: the target deals with what has arrived meanwhile."""
        self._running().send_signal(signal.SIGCONT)

    # --- use ------------------------------------------------------------------------------------------------------

    @property
    def pid(self) -> int:
        return self._running().pid

    @property
    def portal(self) -> str:
        return f"{self.address}:{self.port}"

    def url(self, lun: int = 1) -> str:
        return f"iscsi://{self.portal}/{self.iqn}/{lun}"

    @property
    def urls(self) -> list[str]:
        return [self.url(lun) for lun in range(1, self.luns + 1)]

    def image(self, lun: int = 1) -> Path:
        """The file behind a LUN."""
        assert self._directory is not None, "not entered"
        return self._directory / f"lun{lun}.img"

    def add_lun(self) -> str:
        """One more LUN; its URL."""
        self.luns += 1
        self._export(self.luns)
        return self.url(self.luns)

    # --- how ------------------------------------------------------------------------------------------------------

    def _start(self, port: int | None = None) -> None:
        for attempt in range(START_ATTEMPTS):  # another process may take the free port before tgtd does
            self.port, self._control_port = port or free_port(self.address), _free_control_port()
            try:
                self._start_once()
            except RuntimeError:
                self.kill()
                if attempt == START_ATTEMPTS - 1:
                    raise
            else:
                return

    def _start_once(self) -> None:
        assert self._directory is not None
        tgtd = require_program("tgtd", "tgt")
        with (self._directory / "tgtd.log").open("ab") as log:
            command = [tgtd, "-f", "-C", str(self._control_port), "-p", str(self._directory / "tgtd.pid")]
            command += ["--iscsi", f"portal={self.portal}"]
            if (setpriv := shutil.which("setpriv")) is not None:  # a test run that is killed leaves no target behind
                command = [setpriv, "--pdeathsig", "KILL", *command]
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        give_up_at = time.monotonic() + READY_WITHIN_S
        while self._tgtadm("--op", "show", "--mode", "target").returncode:
            if self._process.poll() is not None or time.monotonic() > give_up_at:
                raise RuntimeError("tgtd did not start: " + (self._directory / "tgtd.log").read_text()[-500:])
            time.sleep(0.01)
        self._configure("--op", "new", "--mode", "target", "--tid", "1", "-T", self.iqn)
        for lun in range(1, self.luns + 1):
            self._export(lun)
        self._configure("--op", "bind", "--mode", "target", "--tid", "1", "-I", "ALL")

    def _export(self, lun: int) -> None:
        image = self.image(lun)
        if not image.exists():
            with image.open("wb") as file:
                file.truncate(self._lun_size_bytes)
        self._configure("--op", "new", "--mode", "logicalunit", "--tid", "1", "--lun", str(lun), "-b", str(image))

    def _configure(self, *arguments: str) -> None:
        done = self._tgtadm(*arguments)
        if done.returncode:
            raise RuntimeError(f"tgtadm {' '.join(arguments)}: {done.stderr.decode().strip()}")

    def _tgtadm(self, *arguments: str) -> "subprocess.CompletedProcess[bytes]":
        command = [require_program("tgtadm", "tgt"), "-C", str(self._control_port), "--lld", "iscsi", *arguments]
        return subprocess.run(command, capture_output=True, timeout=READY_WITHIN_S, check=False)

    def _running(self) -> "subprocess.Popen[bytes]":
        assert self._process is not None, "the target does not run"
        return self._process

    def _clean_up(self) -> None:
        self.kill()
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
            self._directory = None


def _free_control_port() -> int:
    """tgtd's control port only names a socket in IPC_DIRECTORY. Random, so that parallel test runs do not meet."""
    while True:
        port = 1024 + int.from_bytes(os.urandom(2)) % 30000  # tgtd keeps it in a short
        if not (IPC_DIRECTORY / f"socket.{port}").exists():
            return port
