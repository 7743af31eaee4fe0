"""The observing process: what it sees of paths and registrations goes to its parent as Sightings.

It runs in a Worker: expendable, killed and never waited for. A thread for each path probes it, reads the LUN's
registrations when it is its turn and registers itself; one thread registers whole LUNs; the first thread lists paths
and tells of what is overdue. Whatever hangs makes nothing but silence.
"""

import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Final, Protocol

from fencer.errors import UsageError
from fencer.request import StorageSettings
from fencer.storage.block_devices import UdevDevices
from fencer.storage.lun import ISCSI_PREFIX, Lun, find_luns, holders_active
from fencer.storage.nexus import Nexus
from fencer.watchdog.keeping import Keeper, KeptLun
from fencer.watchdog.lun_watch import LunWatch
from fencer.watchdog.outbox import Outbox
from fencer.watchdog.path_watch import OpenNexus, PathWatch, Probe
from fencer.watchdog.paths import BlockEvents, KernelPath, PathLister
from fencer.watchdog.probing import BlockProbe
from fencer.watchdog.settings import ObserverSettings
from fencer.watchdog.sightings import Alive, ListedLun, ListedPath, LunsListed, Sighting
from fencer.worker import Channel

LVM_S = 10.0
_NO_SCSI_REMEDY = "give a shared SCSI disk, or a volume group on such disks"
_STACK_BYTES = 512 * 1024


def observe(settings: ObserverSettings, channel: Channel) -> None:
    """A Worker's job: sends lists of Sightings until the parent is gone.

    Raises UsageError (the parent receives Crashed with misuse set) when the LUNs make no sense, or are not there: at
    the first start that is the operator's to mend; later, with the policy knowing the LUNs, it is a loss like others,
    and the process is to be started again.
    """
    storage = settings.storage
    if storage.own_key is None:
        raise UsageError("key: this node has no reservation key: name the node and the cluster, or give key")
    luns = find_shared(storage)
    names = {lun.wwid: [path.rpartition("/")[2] for path in lun.paths] for lun in luns}
    threading.stack_size(_STACK_BYTES)
    devices = UdevDevices()
    by_wwid = {lun.wwid: lun for lun in luns}
    observation = Observation(
        settings,
        {lun.wwid: lun.name for lun in luns},
        PathLister(names).list,
        BlockEvents(),
        lambda path: BlockProbe(path.node),
        partial(_open_nexus, timeout_s=settings.timing.answer_deadline_s),
        lambda wwid: holders_active(by_wwid[wwid], devices),
        channel.send,
    )
    observation.run()


def find_shared(storage: StorageSettings) -> tuple[Lun, ...]:
    """The LUNs to observe, without a look at the disks but LVM's. Raises UsageError, StorageError."""
    volumes: tuple[str, ...] = ()
    if any(entry.startswith(ISCSI_PREFIX) for entry in storage.devices):
        raise UsageError("devices: an iscsi:// address is no path of this node: give the disk, as /dev/disk/by-id/...")
    if storage.volume_group is not None:
        from fencer.storage.volume_group import physical_volumes  # brings subprocess

        volumes = physical_volumes(storage.volume_group, timeout_s=LVM_S)
    luns = find_luns(storage.devices, UdevDevices(), physical_volumes=volumes, no_scsi_remedy=_NO_SCSI_REMEDY).luns
    if not luns:
        raise UsageError("devices: no shared LUN is named: give devices or vg")
    return luns


def _open_nexus(node: str, *, timeout_s: float) -> Nexus:
    from fencer.storage.sgutils import SgTransport  # brings ctypes

    return Nexus(SgTransport(node), command_timeout_s=timeout_s)


class Events(Protocol):
    """Tells when to list the paths again."""

    def wait(self, seconds: float) -> bool:
        """Whether something changed within that time."""


class Observation:
    """names: WWID to what an operator calls the LUN. list_paths: what the kernel has now, by WWID and name."""

    def __init__(
        self,
        settings: ObserverSettings,
        names: dict[str, str],
        list_paths: Callable[[], dict[str, dict[str, KernelPath]]],
        events: Events,
        probe: Callable[[KernelPath], Probe],
        open_nexus: OpenNexus,
        is_active: Callable[[str], bool],
        send: Callable[[list[Sighting]], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings: Final = settings
        self._list_paths: Final = list_paths
        self._events: Final = events
        self._probe: Final = probe
        self._open_nexus: Final = open_nexus
        self._outbox: Final = Outbox(send)
        self._send: Final = self._outbox.put
        self._clock: Final = clock
        self._ended: Final = threading.Event()
        self._luns: Final = {
            wwid: LunWatch(wwid, name, settings.storage, settings.timing, self._send) for wwid, name in names.items()
        }
        self._paths: dict[str, dict[str, PathWatch]] = {wwid: {} for wwid in names}
        self._has_listed = False
        own = settings.storage.own_key
        if own is None:
            raise UsageError("key: this node has no reservation key")
        storage, timing, reset = settings.storage, settings.timing, settings.on_target_reset
        self._keeper: Final = Keeper(storage, own, timing, reset, self._kept, is_active, open_nexus, self._send, clock)

    def run(self) -> None:
        """Until the process ends: send ends it when the parent is gone."""
        timing = self._settings.timing
        self.list()
        _start(partial(self._keeper.run, self._ended), "keeper")
        list_at_s = self._clock() + timing.list_interval_s
        while not self._ended.is_set():
            now = self._clock()
            self._send(Alive(now))
            self.tell_overdue(now)
            self._outbox.flush()
            until_s = now + timing.alive_interval_s
            changed = self._events.wait(timing.alive_interval_s)
            if changed or self._clock() >= list_at_s:
                self.list()
                list_at_s = self._clock() + timing.list_interval_s
            self._ended.wait(min(until_s - self._clock(), 0.1) if changed else 0)

    def end(self) -> None:
        """Ends all threads that can end."""
        self._ended.set()
        for path in self._all_paths():
            path.end(self._clock())

    def tell_overdue(self, now: float) -> None:
        """Reports what should have been answered by now."""
        for path in self._all_paths():
            path.tell_overdue(now)
        for lun in self._luns.values():
            lun.tell_silence(now)

    def list(self) -> None:
        """Compares the kernel's paths with those watched. A disk that has another's name now is another path.

        All is told again each time, so that a policy that begins anew need not wait for a change.
        """
        found = self._list_paths()
        now = self._clock()
        new: list[PathWatch] = []
        for wwid, watched in self._paths.items():
            there = found.get(wwid, {})
            kept = {name: path for name, path in watched.items() if there.get(name) == path.path}
            for name, path in watched.items():
                if name not in kept:
                    path.end(now)
            for name in there.keys() - kept.keys():
                kept[name] = self._watch(wwid, there[name])
                new.append(kept[name])
            self._paths[wwid] = kept
        luns = tuple(self._listed(wwid) for wwid in self._luns)
        self._send(LunsListed(now, luns, first=not self._has_listed))
        self._has_listed = True
        for path in self._all_paths():
            path.repeat()
        for path in new:
            _start(path.run, path.path.name)

    def _watch(self, wwid: str, path: KernelPath) -> PathWatch:
        settings = self._settings
        probe = self._probe(path)
        return PathWatch(
            path, self._luns[wwid], probe, self._open_nexus, settings.storage, settings.timing, self._send, self._clock
        )

    def _listed(self, wwid: str) -> ListedLun:
        paths = (self._paths[wwid][name] for name in sorted(self._paths[wwid], key=lambda name: (len(name), name)))
        listed = tuple(ListedPath(path.path.name, path.path.address) for path in paths)
        return ListedLun(wwid, self._luns[wwid].name, listed)

    def _kept(self) -> tuple[KeptLun, ...]:
        return tuple(KeptLun(lun, tuple(self._paths[wwid].values())) for wwid, lun in self._luns.items())

    def _all_paths(self) -> tuple[PathWatch, ...]:
        return tuple(path for paths in self._paths.values() for path in paths.values())


def _start(job: Callable[[], None], name: str) -> None:
    threading.Thread(target=job, name=name, daemon=True).start()
