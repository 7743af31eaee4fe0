# SPDX-License-Identifier: Apache-2.0
"""The sidecar as real processes, with everything that could hurt replaced: `python -m tests.sidecar.sidecar DIR`.

DIR/watchdogd.toml is its configuration, DIR/scene what the observer sees; `takes3` after it: the watchdog takes three
keepalives; `hurried`: a new observer has 1.5 s to begin, not 30. While there is DIR/no-watchdog there is no device to
arm. Where DIR/holder is there, giving up the key fails. While DIR/no-memory is there, each fork fails.
DIR/acts has one line for each thing that the feeder did to the outside: `arm`, `keepalive TIME`, `disarm`, `reset`,
`say …`.

DIR/list is what the volume group's metadata name: a sequence number and kernel names ("2 sdb sdc"), or a reason why
they cannot be listed ("fail ..."), or "hang". DIR/begin, where it is there, is what a new observer does instead of
beginning: "hang", "wait" until it is gone, or it ends with this text as its reason. DIR/keys: how many keys of others
each LUN lists. DIR/observers has one line for each observer: its serial number and its LUNs.
"""

import errno
import os
import sys
import time
from pathlib import Path
from unittest.mock import patch

from fencer.errors import StorageError, UsageError, WatchdogError, WatchdogNotYet
from fencer.journal.event import Event
from fencer.model import ReservationKey, ReservationType
from fencer.sidecar import supervisor
from fencer.sidecar.batching import ReportBatcher
from fencer.sidecar.children import Jobs
from fencer.sidecar.config import read_settings
from fencer.sidecar.control import ControlSocket
from fencer.sidecar.environment import Environment, Signals
from fencer.sidecar.feeder import Daemon
from fencer.sidecar.instance import Instance
from fencer.sidecar.links import start
from fencer.sidecar.lun_list import FoundLun, LunList
from fencer.sidecar.messages import Begin, Config, ConfigRefused, Configured, Observe, ReadConfig, Unregister
from fencer.sidecar.policy import Decision, Policy
from fencer.sidecar.processes import predecessor
from fencer.sidecar.publisher import Publisher
from fencer.sidecar.reports import (
    Alive,
    ListedLun,
    ListedPath,
    LunSeen,
    LunsListed,
    PathRegistered,
    PathSeen,
    Registered,
    Report,
)
from fencer.sidecar.sd_notify import ServiceManager
from fencer.sidecar.settings import ObserverSettings
from fencer.sidecar.watchdog_device import Support
from fencer.state.snapshot import NodeSnapshot, PolicyState, RegistrationState
from fencer.storage.settings import StorageSettings
from fencer.worker import Channel

KEY = ReservationKey(0xABC1)
LABORIOUS_S = 0.05
LUN = "naa.6001"  # sdb; sdc is naa.6002, and so on
NOTHING = LunList(())
LACKING = "/dev/md0: array md0 lacks 1 of its members"
given = Observe(None, NOTHING, ())  # type: ignore[arg-type] - what this observer was given


class Acts:
    """Appends whole lines, so that a reader never sees half of one."""

    def __init__(self, directory: Path) -> None:
        self._file = os.open(directory / "acts", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def note(self, text: str) -> None:
        os.write(self._file, f"{text}\n".encode())


class FakeWatchdog:
    armed = True

    def __init__(self, acts: Acts, timeout_s: float, nowayout: bool) -> None:
        self.support = Support("/dev/watchdog9", "fake", timeout_s, nowayout, reset_last_boot=False)
        self._acts = acts
        self._left = next((int(word[5:]) for word in sys.argv if word.startswith("takes")), None)
        acts.note("arm")

    def keepalive(self) -> None:
        if self._left is not None:
            if self._left == 0:
                self._acts.note("refused")
                raise WatchdogError("/dev/watchdog9: keepalive: No such device")
            self._left -= 1
        self._acts.note(f"keepalive {time.monotonic()}")

    def disarm(self) -> bool:
        self._acts.note("disarm")
        return not self.support.nowayout


class FakeReset:
    def __init__(self, acts: Acts) -> None:
        self._acts = acts

    def say(self, text: str) -> None:
        self._acts.note(f"say {text}")

    def now(self) -> None:
        self._acts.note("reset")


class FicklePolicy(Policy):
    """Says once that this node fences itself, and then that all is well."""

    _said = False

    def decide(self, now: float) -> Decision:
        if self._said:
            return Decision(PolicyState.KEEPALIVE)
        decision = super().decide(now)
        self._said = decision.state is PolicyState.SELF_FENCE
        return decision


class LaboriousPolicy(Policy):
    """Needs LABORIOUS_S for each decision, as with many LUNs on a slow processor. DIR/decisions has a line for each:
    when it began, and when it ended."""

    def decide(self, now: float) -> Decision:
        began_s = time.monotonic()
        time.sleep(LABORIOUS_S)
        decision = super().decide(now)
        with Path(sys.argv[1], "decisions").open("a") as file:
            file.write(f"{began_s} {time.monotonic()}\n")
        return decision


def config(path: str) -> Config:
    settings = read_settings(path)
    storage = StorageSettings(settings.devices, None, KEY)
    observer = ObserverSettings(storage, settings.timing, settings.on_target_reset)
    return Config(settings, "serv-0001", str(KEY), (NodeSnapshot("serv-0001", str(KEY)),), observer)


def find(directory: Path) -> LunList:
    """What DIR/list names."""
    path = directory / "list"
    first, *names = path.read_text().split() if path.exists() else ["1", "sdb"]
    if first == "hang":
        time.sleep(3600)
    if first == "fail":
        raise StorageError(f"vg: {' '.join(names)}")
    if first == "refuse":
        raise UsageError(f"devices: {' '.join(names)}")
    missing = (LACKING,) if "lacks" in names else ()
    names = [name for name in names if name != "lacks"]
    luns = tuple(FoundLun(f"naa.600{ord(name[2]) - 97}", name, (name,), name, (f"U-{name}",)) for name in names)
    return LunList(luns, "group", int(first), frozenset(f"U-{name}" for name in names), missing)


def observe(directory: Path, channel: Channel) -> None:
    """Plays the scene, which another process may change at any time: of all LUNs, or of one ("lost sdc")."""
    batcher = ReportBatcher(channel.send)
    # Read before the line is written: a test that has seen the line may remove the file at once.
    how = (directory / "begin").read_text() if (directory / "begin").exists() else ""
    (directory / "observer").write_text(str(os.getpid()))
    with (directory / "observers").open("a") as file:
        file.write(f"{given.serial} {' '.join(lun.name for lun in given.luns.luns)}\n")

    def tell(report: Report) -> None:
        batcher.put(report)
        batcher.flush()

    if how:
        if how == "hang":
            time.sleep(3600)
        while how == "wait" and (directory / "begin").exists():
            time.sleep(0.02)
        if how != "wait":
            raise StorageError(how)
    first, told = True, False
    others = tuple(
        ReservationKey(n << 40 | n)
        for n in range(1, 1 + int((directory / "keys").read_text() if (directory / "keys").exists() else 0))
    )
    while True:
        words, now = (directory / "scene").read_text().split(), time.monotonic()
        match words[0]:
            case "die":
                raise RuntimeError("the observer was told to die")
            case "silent":
                time.sleep(0.05)
                continue
        tell(Alive(now))
        luns = given.luns.luns
        listed = tuple(ListedLun(lun.wwid, lun.name, (ListedPath(lun.name, "2:0:0:0"),)) for lun in luns)
        tell(LunsListed(now, listed, first, serial=given.serial))
        first = False
        for lun in luns:
            scene = words[0] if len(words) == 1 or words[1] == lun.name else "registered"
            if not told and scene == "registered":
                tell(Registered(lun.wwid, "", now, "at start"))
            lost = scene == "lost"
            tell(PathSeen(lun.wwid, lun.name, now, not lost, "Input/output error" if lost else "", 0.001))
            if not lost:
                registration = RegistrationState(scene)
                keys = (*others, KEY) if registration is RegistrationState.REGISTERED else ()
                tell(PathRegistered(lun.wwid, lun.name, now))
                type_ = ReservationType.WRITE_EXCLUSIVE_REGISTRANTS_ONLY
                tell(LunSeen(lun.wwid, now, registration, 7, keys, KEY if keys else None, type_, (1,) * len(keys)))
        told = True
        time.sleep(0.05)


def make_jobs(directory: Path, boot_id: str, pid: int) -> Jobs:
    fork = os.fork

    def may_fork() -> int:
        if (directory / "no-memory").exists():
            raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
        return fork()

    os.fork = may_fork  # this is the supervisor's own process

    def configure(path: str, channel: Channel) -> None:
        try:
            channel.send(Configured(config(path)))
        except Exception as error:
            channel.send(ConfigRefused(str(error)))

    def append(event: Event) -> None:
        with (directory / "journal").open("a") as file:
            file.write(f"{event.kind} {event.action} {event.outcome} {event.error}\n")

    def write(begin: Begin, channel: Channel) -> None:
        with (directory / "publishers").open("a") as file:
            file.write(f"{os.getpid()}\n")
        log = os.open(directory / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        Publisher(begin, boot_id, pid, log, append).run(channel)

    def unregister(order: Unregister) -> None:
        Acts(directory).note(f"unregister {order.observer.storage.own_key}")
        if (directory / "holder").exists():
            raise StorageError("sdb: this node holds the reservation")

    def run(order: Observe, channel: Channel, _changed: object) -> None:
        global given  # of this process alone
        given = order
        observe(directory, channel)

    supervisor.LIST_S = supervisor.LIST_LEAST_S = supervisor.LIST_AGAIN_S = 0.3
    supervisor.LISTER_S, supervisor.STAGING_S = 4.0, 1.5 if "hurried" in sys.argv else 30.0
    return Jobs(configure, lambda _config: find(directory), run, write, unregister)


def main() -> int:
    directory = Path(sys.argv[1])
    nowayout, boot_id, pid = "nowayout" in sys.argv, "this-boot", os.getpid()
    acts, signals = Acts(directory), Signals()
    links = start(lambda: make_jobs(directory, boot_id, pid))
    links.supervisor.send(ReadConfig(str(directory / "watchdogd.toml")))
    answer = links.supervisor.receive()
    assert isinstance(answer, Configured), answer
    settings = answer.config.settings
    try:
        instance = Instance(settings.state_dir)
    except UsageError as error:
        acts.note(f"ended 1 {error}")
        return 1
    before = predecessor(settings, boot_id)

    def arm() -> FakeWatchdog:
        if "taken" in sys.argv:
            raise WatchdogError("/dev/watchdog9: this device only alarms")
        if "closed" in sys.argv:
            raise WatchdogNotYet("/dev/watchdog9: its driver came after this service", restart=True)
        if (directory / "no-watchdog").exists():
            raise WatchdogNotYet("/dev/watchdog9: there is no such watchdog")
        return FakeWatchdog(acts, settings.watchdog_timeout_s, nowayout)

    policy = {"fickle": FicklePolicy, "laborious": LaboriousPolicy}.get(sys.argv[-1], Policy)
    environment = Environment(
        arm=arm,
        reset=FakeReset(acts),
        service=ServiceManager(),
        control=ControlSocket(settings.state_dir),
        boot_id=boot_id,
        left=before.watchdog if before is not None and before.watchdog.armed else None,
        paused_until_s=before.paused_until_s if before is not None else None,
        generations=before.generations if before is not None else (),
        luns=before.luns if before is not None else None,
    )
    with (
        patch("fencer.sidecar.feeder.Policy", policy),
        patch("fencer.sidecar.feeder.READY_S", 0.5),
        patch("fencer.sidecar.feeder.ARM_AGAIN_S", 0.2),
    ):
        ended = Daemon(answer.config, links, environment, signals).run()
    acts.note(f"ended {ended.status} {ended.sentence}")
    instance.end()
    return ended.status


if __name__ == "__main__":
    os._exit(main())
