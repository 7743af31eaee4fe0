# SPDX-License-Identifier: Apache-2.0
"""The sidecar on files that answer as disks (sidecar_disks.c): `python sidecar_on_files.py DIR`. See sidecar_cost.py.

It is halvm-watchdogd as it is, in the tree that PYTHONPATH names, with three things replaced: the configuration that
follows from the cluster's files, the list of the LUNs, and sysfs. DIR: watchdogd.toml; luns, one a line with its paths;
disks/NAME, a page each; sys/NAME, as /sys/block. It loads nothing that halvm-watchdogd does not load in that process.
"""

# mypy: ignore-errors
# ruff: noqa: PTH112, PTH119, PTH123, SIM115

import os
import sys

KEY = 0xABC1
directory = sys.argv[1]
is_before = not os.path.isdir(f"{os.environ['PYTHONPATH']}/fencer/sidecar")
"""A tree of before the folders were made anew, as a5a623c, in which observers ask for the LUNs themselves."""

if is_before:
    from fencer.cli import halvm_watchdogd as main
    from fencer.watchdog import attendant as starting
else:
    from fencer.sidecar import main
    from fencer.sidecar import main as starting


def replace(jobs):
    """In the supervisor."""
    from fencer.model import ReservationKey
    from fencer.storage import sgutils
    from fencer.storage.nexus import Nexus

    sgutils._require_scsi_device = lambda _path, _descriptor: None
    luns = {f"naa.{number:016x}": line.split() for number, line in enumerate(open(f"{directory}/luns"), 1)}
    sysfs = f"{directory}/sys"
    if is_before:
        from pathlib import Path

        from fencer.request import StorageSettings
        from fencer.watchdog.config import read_settings
        from fencer.watchdog.messages import Config, Configured
        from fencer.watchdog.observers import Observation
        from fencer.watchdog.paths import BlockEvents, PathLister
        from fencer.watchdog.probing import BlockProbe
        from fencer.watchdog.settings import ObserverSettings
        from fencer.watchdog.snapshot import NodeSnapshot

        sysfs = Path(sysfs)
    else:
        from fencer.sidecar.config import read_settings
        from fencer.sidecar.lun_list import FoundLun, LunList
        from fencer.sidecar.messages import Config, Configured
        from fencer.sidecar.observer.kernel_paths import BlockEvents, PathLister
        from fencer.sidecar.observer.observing import Observation
        from fencer.sidecar.observer.probe import BlockProbe
        from fencer.sidecar.settings import ObserverSettings
        from fencer.state.snapshot import NodeSnapshot
        from fencer.storage.settings import StorageSettings

    def configure(path, channel):
        settings = read_settings(path)
        own, target = ReservationKey(KEY), (None,) if is_before else ()
        storage = StorageSettings(settings.devices, None, own, *target, state_dir=settings.state_dir)
        observer = ObserverSettings(storage, settings.timing, settings.on_target_reset)
        nodes = (NodeSnapshot("serv-0001", "0xabc1"), NodeSnapshot("serv-0002", "0xabc2"))
        channel.send(Configured(Config(settings, "serv-0001", "0xabc1", nodes, observer), None))

    def observation(settings, second, channel, **more):
        import threading

        threading.stack_size(512 * 1024)
        return Observation(
            settings,
            second,
            PathLister(luns, sysfs).list,
            BlockEvents(),
            lambda path: BlockProbe(f"{directory}/disks/{path.name}", direct=False),
            lambda node: Nexus(sgutils.SgTransport(f"{directory}/disks/{os.path.basename(node)}")),
            lambda _wwid: True,
            channel.send,
            **more,
        )

    if is_before:
        names = {wwid: f"/dev/{paths[0]}" for wwid, paths in luns.items()}
        return jobs._replace(
            configure=configure, observe=lambda config, channel: observation(config.observer, names, channel).run()
        )
    found = LunList(tuple(FoundLun(wwid, f"/dev/{paths[0]}", tuple(paths)) for wwid, paths in luns.items()))
    from fencer.sidecar.observer.read_ahead import AsyncReads

    return jobs._replace(
        configure=configure,
        list_luns=lambda _config: found,
        observe=lambda order, channel, _changed: observation(
            order.settings, order.luns, channel, serial=order.serial, reads=AsyncReads()
        ).run(),
    )


if __name__ == "__main__":
    start = starting.start
    starting.start = lambda make_jobs: start(lambda: replace(make_jobs()))
    os._exit(main.run(f"{directory}/watchdogd.toml").status)
