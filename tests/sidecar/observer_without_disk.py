# SPDX-License-Identifier: Apache-2.0
"""Forks an observer as the supervisor does and prints what it loads or opens: `python -m ... STATE_DIR`, one a line.

Its LUN is a target in memory with one path that comes, goes and comes again; uevents, sysfs and the marker are real.
"""

import os
import select
import sys
import threading
import time
from pathlib import Path

from fencer.sidecar import processes
from fencer.sidecar.lun_list import FoundLun, LunList
from fencer.sidecar.messages import Observe
from fencer.sidecar.observer import observing
from fencer.sidecar.observer.kernel_paths import KernelPath
from fencer.sidecar.settings import ObserverSettings, SidecarTiming
from fencer.storage.nexus import Nexus
from fencer.storage.settings import StorageSettings
from fencer.worker import Channel, Worker
from tests.storage.fake_target import FakeTarget
from tests.storage.nodes import A, registered

EVENTS = ("open", "import", "subprocess.Popen", "os.exec", "os.posix_spawn", "os.system", "ctypes.dlopen")
IN_MEMORY = ("/sys/", "/proc/", "/dev/", "/run/")


class Probe:
    """Answers while there is no file STATE_DIR/lost."""

    descriptor = None

    def __init__(self, state_dir: str) -> None:
        self._lost = Path(state_dir, "lost")

    def read(self) -> str:
        return "EIO: Input/output error" if self._lost.exists() else ""

    def close(self) -> None:
        return


def main(state_dir: str) -> None:
    processes.jobs("this-boot", os.getpid(), 2)
    target = registered("b", target=FakeTarget())
    order = Observe(
        ObserverSettings(
            StorageSettings(("/dev/sda",), None, A, state_dir=state_dir),
            SidecarTiming(0.05, 0.2, 0.05, 0.2, 0.1, 1.0, 0.2),
        ),
        LunList((FoundLun(target.wwid, "lun", ("sdzz",)),)),
        (),
    )
    path = KernelPath("sdzz", "0:0:0:0", "b2", 1)
    observing.PathLister.list = lambda _self: {target.wwid: {"sdzz": path}}  # type: ignore[method-assign]
    observing.BlockProbe = lambda _node: Probe(state_dir)  # type: ignore[misc, assignment]
    observing._open_nexus = lambda node, *, timeout_s: Nexus(target.nexus(node))  # type: ignore[assignment]

    def observe(channel: Channel) -> None:
        def hook(event: str, arguments: tuple[object, ...]) -> None:
            if event not in EVENTS or isinstance(arguments[0], int):  # a descriptor that is open
                return
            name = os.fsdecode(arguments[0]) if isinstance(arguments[0], str | bytes) else str(arguments[0])
            if event != "open" or not name.startswith((*IN_MEMORY, state_dir)):
                channel.send(f"{event} {name} {threading.current_thread().name}")

        sys.addaudithook(hook)

        class Quiet:
            @staticmethod
            def send(_reports: object) -> None:
                return

        observing.observe(order, Quiet, lambda: None)  # type: ignore[arg-type]

    worker = Worker.spawn(observe)
    for seconds in (2.0, 1.0, 2.0):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if select.select([worker], [], [], 0.1)[0]:
                message = worker.receive()
                if message is None:
                    print("it has ended")
                    return
                print(message)
        lost = Path(state_dir, "lost")
        if lost.exists():
            lost.unlink()
        else:
            lost.touch()
    print(f"marker {Path(state_dir, 'registered.json').exists()}")
    worker.close()


if __name__ == "__main__":
    main(sys.argv[1])
