# SPDX-License-Identifier: Apache-2.0
"""The observing process: watches paths and registrations, and sends Reports to its parent.

It runs in a Worker: expendable, killed and never waited for. The turns of all paths share threads that never wait for
one that hangs (observer.rounds): a turn probes its path, reads the LUN's registrations when they are due and registers
the path. One thread registers whole LUNs; the first thread lists paths, watches over the others and reports what is
overdue. A turn that hangs sends nothing.
"""

import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial

from fencer._typing import Final, Protocol
from fencer.errors import FenceError, UsageError
from fencer.sidecar.batching import ReportBatcher
from fencer.sidecar.lun_list import FoundLun, LunList
from fencer.sidecar.messages import Observe
from fencer.sidecar.observer.kernel_paths import BlockEvents, KernelPath, PathLister
from fencer.sidecar.observer.lun_watch import LunWatch
from fencer.sidecar.observer.path_watch import OpenNexus, PathWatch, Probe
from fencer.sidecar.observer.probe import BlockProbe
from fencer.sidecar.observer.read_ahead import AsyncReads, ReadAhead, Reads, load_syscall
from fencer.sidecar.observer.registrar import LunAndPaths, Registrar
from fencer.sidecar.observer.rounds import LATE_S, Rounds, start_thread
from fencer.sidecar.path_conditions import Conditions, ConditionWatch, look
from fencer.sidecar.reports import (
    LISTED_MOST,
    LUNS_MOST,
    PATHS_MOST,
    Alive,
    ListedLun,
    ListedPath,
    LunsListed,
    Report,
)
from fencer.sidecar.settings import ObserverSettings
from fencer.storage.block_devices import UdevDevices
from fencer.storage.lun import ISCSI_PREFIX, Lun, SharedLuns, find_luns, holders_active
from fencer.storage.lun_names import refuse_names_of_one_node
from fencer.storage.marker import read_marker
from fencer.storage.nexus import Nexus
from fencer.storage.registration import past
from fencer.storage.settings import StorageSettings
from fencer.storage.sgutils import SgTransport, load_library
from fencer.storage.volume_group import physical_volumes, read_volume_group
from fencer.worker import Channel

LVM_S = 10.0
_NO_SCSI_REMEDY = "give a shared SCSI disk, or a volume group on such disks"
_STACK_BYTES = 512 * 1024
_MISSING_MOST = 4


def load() -> None:
    """Loads everything that observe() needs from a disk: called once, before anything is armed.

    An observer is forked from the process that has called it. From there on it needs sysfs, devices and state_dir, all
    of which are in memory; so neither a root disk that hangs nor an upgrade in place touches a new observer.
    """
    import encodings.ascii  # noqa: F401 - open() of an attribute looks codecs up by name
    import json  # noqa: F401 - the marker

    load_syscall()
    with suppress(FenceError):  # reported where it is needed
        load_library()


def observe(order: Observe, channel: Channel, changed: Callable[[], None]) -> None:
    """A Worker's job: sends lists of Reports until the parent is gone. changed: called when block devices change.

    Raises UsageError when this node has no key, or the kernel gives no uevents.
    """
    settings = order.settings
    if settings.storage.own_key is None:
        raise UsageError("key: this node has no reservation key: name the node and the cluster, or give key")
    threading.stack_size(_STACK_BYTES)
    devices = UdevDevices(asks_udev=False)
    generations = dict(order.generations)
    by_wwid = {
        lun.wwid: Lun(lun.wwid, lun.name, tuple(f"/dev/{name}" for name in lun.paths), None, lun.block_name)
        for lun in order.luns.luns
    }
    observation = Observation(
        settings,
        order.luns,
        PathLister({lun.wwid: lun.paths for lun in order.luns.luns}).list,
        _Telling(BlockEvents(), changed),
        lambda path: BlockProbe(path.node),
        partial(_open_nexus, timeout_s=settings.timing.answer_deadline_s),
        lambda wwid: holders_active(by_wwid[wwid], devices),
        channel.send,
        generations=generations,
        serial=order.serial,
        reads=_async_reads(),
    )
    observation.run()


def _async_reads() -> AsyncReads | None:
    """None where the kernel has none."""
    try:
        return AsyncReads()
    except OSError:
        return None


def list_luns(storage: StorageSettings) -> LunList:
    """The LUNs to observe, and which physical volumes lie on each: asked of LVM, sysfs and udev, in a process that may
    hang. The answer is complete. Raises UsageError, StorageError."""
    if storage.volume_group is None:
        return LunList(tuple(_found(lun, ()) for lun in _luns(storage, ()).luns))
    group = read_volume_group(storage.volume_group, timeout_s=LVM_S)
    luns, _, missing = _luns(storage, tuple(name for name, _ in group.volumes))
    on: dict[str, list[str]] = {lun.wwid: [] for lun in luns}
    for name, uuid in group.volumes:
        for lun in find_luns((), UdevDevices(), physical_volumes=(name,), no_scsi_remedy=_NO_SCSI_REMEDY).luns:
            on.setdefault(lun.wwid, []).append(uuid)
    found = tuple(_found(lun, tuple(on[lun.wwid])) for lun in luns)
    volumes = frozenset(uuid for _, uuid in group.volumes)
    return LunList(found, group.uuid, group.seqno, volumes, missing[:_MISSING_MOST])


def find_shared(storage: StorageSettings) -> SharedLuns:
    """The LUNs to observe. Only LVM reads the disks. Raises UsageError, StorageError."""
    if storage.volume_group is None:
        return _luns(storage, ())
    return _luns(storage, physical_volumes(storage.volume_group, timeout_s=LVM_S))


def _luns(storage: StorageSettings, volumes: tuple[str, ...]) -> SharedLuns:
    if any(entry.startswith(ISCSI_PREFIX) for entry in storage.devices):
        raise UsageError("devices: an iscsi:// address is no path of this node: give the disk, as /dev/disk/by-id/...")
    found = find_luns(storage.devices, UdevDevices(), physical_volumes=volumes, no_scsi_remedy=_NO_SCSI_REMEDY)
    luns = found.luns
    if storage.devices:
        refuse_names_of_one_node(luns)
    if not luns:
        raise UsageError("devices: no shared LUN is named: give devices or vg")
    if len(luns) > LUNS_MOST:
        raise UsageError(f"devices: {len(luns)} LUNs are more than one sidecar watches: name {LUNS_MOST} at most")
    return found


def _found(lun: Lun, volumes: tuple[str, ...]) -> FoundLun:
    names = tuple(path.rpartition("/")[2] for path in lun.paths)
    return FoundLun(lun.wwid, lun.name, names, lun.block_name, volumes)


def _open_nexus(node: str, *, timeout_s: float) -> Nexus:
    return Nexus(SgTransport(node), command_timeout_s=timeout_s)


class Events(Protocol):
    """Waits for the time to list the paths again."""

    def wait(self, seconds: float) -> bool:
        """Whether something changed within that time. May return earlier."""

    def wake(self) -> None:
        """Makes wait() return. Called by any thread."""


class _Telling:
    """Events that also call changed."""

    def __init__(self, events: Events, changed: Callable[[], None]) -> None:
        self._events: Final = events
        self._changed: Final = changed

    def wait(self, seconds: float) -> bool:
        """As Events."""
        if not self._events.wait(seconds):
            return False
        self._changed()
        return True

    def wake(self) -> None:
        """As Events."""
        self._events.wake()


class Observation:
    """Watches the paths and registrations of some LUNs, in threads.

    luns: those to watch. list_paths: the paths that the kernel has now, by WWID and name. generations: see LunWatch.
    serial: see LunsListed. reads: None: paths are probed by their turns alone.
    """

    def __init__(
        self,
        settings: ObserverSettings,
        luns: LunList,
        list_paths: Callable[[], dict[str, dict[str, KernelPath]]],
        events: Events,
        probe: Callable[[KernelPath], Probe],
        open_nexus: OpenNexus,
        is_active: Callable[[str], bool],
        send: Callable[[list[Report]], None],
        clock: Callable[[], float] = time.monotonic,
        *,
        generations: dict[str, int] | None = None,
        serial: int = 0,
        look: Callable[[Iterable[str]], Conditions] = look,
        reads: Reads | None = None,
    ) -> None:
        known, marker = generations or {}, read_marker(settings.storage.state_dir)
        storage, timing = settings.storage, settings.timing
        self._settings: Final = settings
        self._list_paths: Final = list_paths
        self._events: Final = events
        self._probe: Final = probe
        self._open_nexus: Final = open_nexus
        self._batcher: Final = ReportBatcher(send)
        self._send: Final = self._batcher.put
        self._clock: Final = clock
        self._ended: Final = threading.Event()
        self._luns: Final = {
            wwid: LunWatch(wwid, name, storage, timing, self._send, past(marker, wwid), known.get(wwid))
            for wwid, name, *_ in luns.luns
        }
        self._paths: dict[str, dict[str, PathWatch]] = {wwid: {} for wwid in self._luns}
        self._has_listed = False
        self._told_list: tuple[ListedLun, ...] | None = None
        self._told_list_s = 0.0
        self._serial: Final = serial
        self._conditions: Final = ConditionWatch(2 * settings.timing.list_interval_s, look, clock)
        self._rounds: Final = Rounds(self._settle, settings.timing.alive_interval_s, events.wake, clock)
        self._alive_s = self._looked_s = clock()
        self._reads: Final = reads
        own = settings.storage.own_key
        if own is None:
            raise UsageError("key: this node has no reservation key")
        reset = settings.on_target_reset
        self._registrar: Final = Registrar(
            storage, own, timing, reset, self._luns_and_paths, is_active, open_nexus, self._send, clock
        )

    def run(self) -> None:
        """Until the process ends: send ends it when the parent is gone."""
        timing = self._settings.timing
        self.list()
        start_thread(partial(self._registrar.run, self._ended), "registrar")
        start_thread(partial(self._conditions.run, self._ended), "conditions")
        if self._reads is not None:
            ahead = ReadAhead(self._reads, timing.probe_interval_s, self._all_paths, self._clock)
            start_thread(partial(ahead.run, self._ended), "ahead")
        list_at_s = self._clock() + timing.list_interval_s
        while not self._ended.is_set():
            now = self._looked_s = self._clock()
            self._rounds.relieve(now)
            self.tell_overdue(now)
            if any(not lun.unfenced for lun in self._luns.values()):
                self._registrar.wanted.set()
            if now - self._alive_s >= timing.alive_after_s:
                self._settle()
            latest_s = min(list_at_s, self._alive_s + timing.alive_after_s)
            if self._rounds.is_busy:
                latest_s = min(latest_s, now + timing.alive_interval_s)
            changed = self._events.wait(max(0.0, self._rounds.check_at_s(now, latest_s) - now))
            if changed or self._clock() >= list_at_s:
                self.list()
                list_at_s = self._clock() + timing.list_interval_s
            self._ended.wait(LATE_S if changed else 0)

    def _settle(self) -> None:
        """Sends what waits, and that the first thread works: by whichever thread has ended a round of turns."""
        now, looked_s = self._clock(), self._looked_s
        works = now - looked_s <= 2 * self._settings.timing.alive_after_s  # it may be waiting for what is due
        self._send(Alive(now if works else looked_s))
        self._batcher.flush()
        self._alive_s = now

    def end(self) -> None:
        """Ends all threads that can end."""
        self._ended.set()
        self._registrar.wanted.set()
        for path in self._all_paths():
            path.end(self._clock())
        self._rounds.end()

    def tell_overdue(self, now: float) -> None:
        """Reports the commands that should have been answered by now."""
        for path in self._all_paths() if self._rounds.is_busy else ():
            path.tell_overdue(now)
        for lun in self._luns.values():
            lun.tell_silence(now)

    def list(self) -> None:
        """Compares the kernel's paths with those watched. A disk that has another's name now is another path.

        It reports the whole list when a path came, went or was replaced, or anything in it changed, and now and then,
        so that a new publisher need not wait for a change.
        """
        found = self._list_paths()
        now = self._clock()
        new: list[PathWatch] = []
        for wwid, watched in self._paths.items():
            there = dict(list(found.get(wwid, {}).items())[:PATHS_MOST])
            kept = {name: path for name, path in watched.items() if there.get(name) == path.path}
            for name, path in watched.items():
                if name not in kept:
                    path.end(now)
            for name in there.keys() - kept.keys():
                kept[name] = self._watch(wwid, there[name])
                new.append(kept[name])
            self._paths[wwid] = kept
        listed = tuple(self._listed(wwid) for wwid in self._luns)
        if new or listed != self._told_list or now - self._told_list_s >= 6 * self._settings.timing.list_interval_s:
            self._told_list, self._told_list_s = listed, now
            self._send_list(now, listed)
        self._conditions.names = tuple(path.path.name for path in self._all_paths())
        for path in self._all_paths():
            path.repeat()
        for path in new:
            path.begin()

    def _send_list(self, now: float, luns: tuple[ListedLun, ...]) -> None:
        """In parts that fit into a message each."""
        first, self._has_listed = not self._has_listed, True
        part: tuple[ListedLun, ...] = ()
        size = 0
        for number, lun in enumerate(luns, 1):
            part = (*part, lun)
            size += 1 + len(lun.paths)
            if size >= LISTED_MOST or number == len(luns):
                self._send(LunsListed(now, part, first, more=number < len(luns), serial=self._serial))
                part, size = (), 0

    def _watch(self, wwid: str, path: KernelPath) -> PathWatch:
        storage, timing = self._settings.storage, self._settings.timing
        return PathWatch(
            path, self._luns[wwid], self._probe, self._open_nexus, storage, timing, self._send, self._clock,
            self._rounds.add,
        )  # fmt: skip

    def _listed(self, wwid: str) -> ListedLun:
        paths = (self._paths[wwid][name] for name in sorted(self._paths[wwid], key=lambda name: (len(name), name)))
        refused, read_only = self._conditions.latest
        listed = tuple(ListedPath(path.path.name, path.path.address, refused.get(path.path.name, "")) for path in paths)
        closed = {read_only.get(path.path, "") for path in listed}  # one that takes writes is enough
        return ListedLun(wwid, self._luns[wwid].name, listed, min(closed, default=""))

    def _luns_and_paths(self) -> tuple[LunAndPaths, ...]:
        return tuple(LunAndPaths(lun, tuple(self._paths[wwid].values())) for wwid, lun in self._luns.items())

    def _all_paths(self) -> tuple[PathWatch, ...]:
        return tuple(path for paths in self._paths.values() for path in paths.values())
