# SPDX-License-Identifier: Apache-2.0
"""A sidecar that runs as processes in a directory of its own, as tests start, change and stop it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from fencer.state.last_self_fence import SelfFence, read_last
from fencer.state.snapshot import PolicyState, Snapshot
from fencer.state.snapshot_file import read_snapshot

QUICK = """
devices = ["/dev/sdb"]
watchdog_timeout_s = 2
probe_interval_s = 0.1
probe_deadline_s = 0.4
check_interval_s = 0.1
answer_deadline_s = 0.4
grace_s = 10
settle_s = 0.2
"""
PATIENCE_S = 60.0


def wait_for(what: Callable[[], bool], why: str) -> None:
    end = time.monotonic() + PATIENCE_S
    while not what():
        assert time.monotonic() < end, why
        time.sleep(0.02)


class Sidecar:
    """One run after another in the same directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.state, self.record = directory / "run", directory / "lib"
        self.processes: list[subprocess.Popen[bytes]] = []
        self.configure("")
        self.scene("registered")

    def configure(self, more: str) -> None:
        dirs = f'state_dir = "{self.state}"\nrecord_dir = "{self.record}"\n'
        (self.directory / "watchdogd.toml").write_text(QUICK + dirs + more)

    def grace(self, seconds: int) -> None:
        """What is lost for so long resets the node: short where a test waits for that, else long enough for a busy
        machine."""
        path = self.directory / "watchdogd.toml"
        path.write_text(path.read_text().replace("grace_s = 10\n", f"grace_s = {seconds}\n"))

    def scene(self, name: str) -> None:
        (self.directory / "scene.new").write_text(name)
        (self.directory / "scene.new").replace(self.directory / "scene")

    def start(self, *words: str, notify: str = "") -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "tests.sidecar.sidecar", str(self.directory), *words]
        environment = {**os.environ, "NOTIFY_SOCKET": notify}
        environment.pop("JOURNAL_STREAM", None)
        process = subprocess.Popen(command, env=environment, cwd=Path(__file__).parents[2])
        self.processes.append(process)
        return process

    def acts(self, word: str = "") -> list[str]:
        path = self.directory / "acts"
        lines = path.read_text().splitlines() if path.exists() else []
        return [line for line in lines if line.startswith(word)]

    def log(self) -> str:
        path = self.directory / "log"
        return path.read_text() if path.exists() else ""

    def journal(self) -> str:
        path = self.directory / "journal"
        return path.read_text() if path.exists() else ""

    def last(self) -> SelfFence:
        """The record of the reset that was seen: on a busy machine it comes after that."""
        wait_for(lambda: read_last(str(self.record)) is not None, "no record")
        record = read_last(str(self.record))
        assert record is not None
        return record

    def snapshot(self) -> Snapshot | None:
        try:
            return read_snapshot(str(self.state))
        except FileNotFoundError:
            return None

    def until(self, state: PolicyState) -> Snapshot:
        def there() -> bool:
            snapshot = self.snapshot()
            return snapshot is not None and snapshot.state is state

        wait_for(there, f"the state never was {state}")
        snapshot = self.snapshot()
        assert snapshot is not None
        return snapshot

    def until_fed(self, times: int = 2) -> None:
        wait_for(lambda: len(self.acts("keepalive")) >= times, "nothing was fed")

    def memory(self, *, short: bool) -> None:
        path = self.directory / "no-memory"
        if short:
            path.touch()
        else:
            path.unlink()

    def stop(self) -> int:
        self.processes[-1].send_signal(signal.SIGTERM)
        return self.processes[-1].wait(PATIENCE_S)
