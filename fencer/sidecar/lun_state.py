"""Keeps the latest reports of each LUN, and decides whether it is reachable. Pure.

A path counts while its last probe was good, began not longer than path_stale_s ago, and our key is on it. A LUN is
reachable while a path counts and its registrations are read.
"""

from enum import StrEnum

from fencer._typing import NamedTuple, assert_never
from fencer.model import ReservationKey, ReservationType
from fencer.sidecar.reports import (
    Alive,
    ListedLun,
    LunSeen,
    LunSilent,
    LunsListed,
    PathGone,
    PathRegistered,
    PathSeen,
    Registered,
    RegistrationFailed,
    Report,
)
from fencer.sidecar.settings import PolicySettings, Requirement
from fencer.state.snapshot import RegistrationState


class Cause(StrEnum):
    """Why a node fences itself. Values are for metrics and records."""

    PREEMPTED = "preempted"
    SHUT_OUT = "shut-out"
    TARGET_FORGOT = "target-forgot"
    PATHS_LOST = "paths-lost"
    UNREADABLE = "registrations-unreadable"
    CONFLICT = "conflict"
    NOT_REGISTERED = "not-registered"
    OBSERVERS_SILENT = "observers-silent"


class PathView(NamedTuple):
    """What is known of a path, for the snapshot. up: its last probe was good and is not stale."""

    name: str
    address: str
    up: bool
    registered: bool
    error: str
    probed_at_s: float
    took_s: float


class LunView(NamedTuple):
    """What is known of a LUN, for the snapshot. registration: None as long as nothing is known."""

    wwid: str
    name: str
    reachable: bool
    registration: RegistrationState | None
    generation: int
    keys: tuple[tuple[ReservationKey, int], ...]
    holder: ReservationKey | None
    type: ReservationType | None
    read_at_s: float
    error: str
    paths: tuple[PathView, ...]
    more_keys: int = 0
    read_only: str = ""


class _Path:
    """good_at_s: when its last good probe began, None when the last one was bad.

    unconfirmed_since_s: since when only an ended observing process has reported registered; None when the present one
    has, too.
    """

    __slots__ = (
        "address",
        "error",
        "good_at_s",
        "probed_at_s",
        "refused",
        "registered",
        "took_s",
        "unconfirmed_since_s",
    )

    def __init__(self, address: str = "") -> None:
        self.address = address
        self.good_at_s: float | None = None
        self.registered = False
        self.unconfirmed_since_s: float | None = None
        self.error = "not probed yet"
        self.refused = ""
        self.probed_at_s = 0.0
        self.took_s = 0.0

    def lose(self) -> None:
        self.good_at_s, self.registered, self.unconfirmed_since_s = None, False, None

    def register(self) -> None:
        self.registered, self.unconfirmed_since_s = True, None

    def doubt(self, at_s: float) -> None:
        """The observing process that reported it has ended. The time does not begin anew when the next one ends."""
        if self.registered and self.unconfirmed_since_s is None:
            self.unconfirmed_since_s = at_s


class _Lun:
    """seen: the latest reading. silence: why there was none since, "" when there was.

    joining: added to the volume group while this node serves; not required before it was reachable once.
    """

    __slots__ = ("joining", "name", "paths", "read_only", "seen", "silence")

    def __init__(self, name: str, joining: bool) -> None:
        self.name = name
        self.joining = joining
        self.paths: dict[str, _Path] = {}
        self.seen: LunSeen | None = None
        self.silence = ""
        self.read_only = ""


class Obstacle(NamedTuple):
    """Why a LUN is not reachable."""

    cause: Cause
    text: str


class LunStates:
    """The latest of each LUN and path. began_s: now."""

    def __init__(self, settings: PolicySettings, began_s: float) -> None:
        self._settings = settings
        self._luns: dict[str, _Lun] = {}
        self._listed = False
        self._listing: tuple[ListedLun, ...] = ()
        self._serial = 0
        self._serving = False
        self._alive_at_s = began_s
        self._silent_because = ""
        self.stale_from_s = began_s
        """No report that counts now grows stale before this time. It may be too early, never too late."""

    def reconfigure(self, settings: PolicySettings, now: float) -> None:
        """Other settings from now on. What has grown stale stays lost until it is seen again, however long is allowed
        now; what is not stale yet is judged by the new settings."""
        timing = self._settings.timing
        for lun in self._luns.values():
            for path in lun.paths.values():
                if path.good_at_s is not None and now - path.good_at_s > timing.path_stale_s:
                    path.error = f"no answer for {now - path.good_at_s:.1f} s"
                    path.lose()
            if lun.seen is not None and now - lun.seen.at_s > timing.registration_stale_s:
                lun.silence = lun.silence or f"no answer for {now - lun.seen.at_s:.1f} s"
                lun.seen = None
        self._settings = settings
        self.stale_from_s = now

    def serve(self) -> None:
        """The node serves from now on: a LUN that is added later has to be registered before it is required."""
        self._serving = True

    def explain_silence(self, reason: str) -> None:
        """Why the observing process has ended; forgotten when one is heard again."""
        self._silent_because = reason

    def take(self, report: Report) -> None:
        """Takes one report. A reading of a LUN that is older than the latest changes nothing."""
        match report:
            case LunsListed():
                self._take_list(report)
            case Alive(at_s):
                if at_s > self._alive_at_s:
                    self._alive_at_s, self._silent_because = at_s, ""
                    self._grows_stale(at_s + self._settings.timing.path_stale_s)
            case PathSeen():
                self._see_path(report)
            case PathGone(lun, path, _):
                if (known := self._luns.get(lun)) is not None:
                    known.paths.pop(path, None)
            case PathRegistered(lun, path, _):
                if (known := self._luns.get(lun)) is not None and path in known.paths:
                    known.paths[path].register()
            case LunSeen():
                if (known := self._luns.get(report.lun)) is not None and self.is_news(report):
                    known.seen, known.silence = report, ""
                    self._grows_stale(report.at_s + self._settings.timing.registration_stale_s)
            case LunSilent(lun, _, reason):
                if (known := self._luns.get(lun)) is not None:
                    known.silence = reason
            case Registered() | RegistrationFailed():
                return  # for the journal
            case _:
                assert_never(report)

    def is_news(self, seen: LunSeen) -> bool:
        """Whether it is of a LUN that was listed, and not older than the latest reading of it."""
        lun = self._luns.get(seen.lun)
        return lun is not None and (lun.seen is None or seen.at_s >= lun.seen.at_s)

    @property
    def joining(self) -> tuple[str, ...]:
        """LUNs that were added while this node serves and are not required yet, one phrase each."""
        return tuple(f"{lun.name}: new, not registered yet" for lun in self._luns.values() if lun.joining)

    def is_joining(self, wwid: str) -> bool:
        """Whether it was added while this node serves, and is not required yet."""
        return self._luns[wwid].joining

    def name(self, wwid: str) -> str:
        """The path of a LUN that was listed."""
        return self._luns[wwid].name

    def _take_list(self, part: LunsListed) -> None:
        """One of a replaced observing process changes nothing, nor mixes with one in parts of its successor."""
        if part.serial < self._serial:
            return
        if part.serial > self._serial:
            self._serial, self._listing = part.serial, ()
        self._listing += part.luns
        if not part.more:
            self._list(part._replace(luns=self._listing))
            self._listing = ()

    def _list(self, listed: LunsListed) -> None:
        """A name at another address is another path. An observing process that begins was not there to see paths
        replaced at the same address: what was registered before counts only until it can have registered it itself.
        """
        there = {lun.lun: lun for lun in listed.luns}
        for wwid in self._luns.keys() - there.keys():
            if listed.first and there:
                del self._luns[wwid]
            else:
                self._luns[wwid].paths.clear()
        for wwid, found in there.items():
            if wwid not in self._luns and self._listed and not listed.first:
                continue  # of an observing process that has been replaced meanwhile, and watched another set
            known = self._luns.setdefault(wwid, _Lun(found.name, joining=self._listed and self._serving))
            known.name, known.read_only = found.name, found.read_only
            before, known.paths = known.paths, {}
            for name, address, refused in found.paths:
                path = before.get(name)
                if path is None or path.address != address:
                    path = _Path(address)
                elif listed.first:
                    path.doubt(listed.at_s)
                    self._grows_stale(listed.at_s + self._settings.timing.registration_stale_s)
                path.refused = refused
                known.paths[name] = path
        self._listed = self._listed or bool(there)

    def _see_path(self, seen: PathSeen) -> None:
        lun = self._luns.get(seen.lun)
        if lun is None:
            return
        path = lun.paths.setdefault(seen.path, _Path())
        path.error, path.took_s = seen.reason, seen.took_s
        path.probed_at_s = max(path.probed_at_s, seen.at_s)
        if not seen.ok:
            path.lose()
        elif path.good_at_s is None or seen.at_s > path.good_at_s:
            path.good_at_s = seen.at_s
            self._grows_stale(seen.at_s + self._settings.timing.path_stale_s)

    def _grows_stale(self, at_s: float) -> None:
        self.stale_from_s = min(self.stale_from_s, at_s)

    def _next_stale_s(self, now: float) -> float:
        """The first time after now at which a report that counts now grows stale."""
        timing = self._settings.timing
        times = [self._alive_at_s + timing.path_stale_s]
        for lun in self._luns.values():
            if lun.seen is not None:
                times.append(lun.seen.at_s + timing.registration_stale_s)
            for path in lun.paths.values():
                if path.good_at_s is not None:
                    times.append(path.good_at_s + timing.path_stale_s)
                if path.unconfirmed_since_s is not None:
                    times.append(path.unconfirmed_since_s + timing.registration_stale_s)
        return min((time_s for time_s in times if time_s >= now), default=now)

    def judged(self, now: float) -> tuple[list[Obstacle | None], tuple[str, ...]]:
        """For each LUN why it is not reachable, None when it is; and what is wrong with those that are.

        One obstacle for all when no process observes.
        """
        self.stale_from_s = self._next_stale_s(now)
        silent_s = now - self._alive_at_s
        if silent_s > self._settings.timing.path_stale_s:
            why = f": it ended: {self._silent_because}" if self._silent_because else ""
            text = f"the observing process has been silent for {silent_s:.1f} s{why}"
            return [Obstacle(Cause.OBSERVERS_SILENT, text)], ()
        if not self._listed:
            return [Obstacle(Cause.NOT_REGISTERED, "the LUNs are not known yet")], ()
        obstacles: list[Obstacle | None] = []
        worries: list[str] = []
        for lun in self._luns.values():
            lost = self._lost(lun, now)
            obstacle = self._obstacle(lun, lost, now)
            if obstacle is None:
                lun.joining = False
                worries += [f"{lun.name}: {text}" for text in lost]
                if lun.seen is not None and lun.seen.registration is RegistrationState.UNPROTECTED:
                    worries.append(f"{lun.name}: nobody holds a reservation: it protects nothing")
                if lun.read_only:
                    worries.append(f"{lun.name}: {lun.read_only} is read-only: nothing can be written")
            if lun.joining and obstacle is not None:
                worries.append(f"new, and not required before it is well: {obstacle.text}")
            else:
                obstacles.append(obstacle)
        return obstacles, tuple(worries)

    def enough(self, obstacles: list[Obstacle | None]) -> bool:
        reachable = sum(each is None for each in obstacles)
        match self._settings.require:
            case Requirement.ALL:
                return reachable == len(obstacles)
            case Requirement.ANY:
                return reachable > 0
            case Requirement.MAJORITY:
                return 2 * reachable > len(obstacles)
            case _ as never:
                assert_never(never)

    def _lost(self, lun: _Lun, now: float) -> list[str]:
        """Each path that does not count, and why."""
        return [text for name, path in lun.paths.items() if (text := self._loss(name, path, now))]

    def _obstacle(self, lun: _Lun, lost: list[str], now: float) -> Obstacle | None:
        timing = self._settings.timing
        if len(lost) == len(lun.paths):
            return Obstacle(Cause.PATHS_LOST, f"{lun.name}: no path left ({', '.join(lost) or 'none is there'})")
        if lun.seen is None:
            return Obstacle(Cause.UNREADABLE, f"{lun.name}: registrations not read yet{_because(lun)}")
        if now - lun.seen.at_s > timing.registration_stale_s:
            text = f"{lun.name}: registrations not read for {now - lun.seen.at_s:.1f} s{_because(lun)}"
            return Obstacle(Cause.UNREADABLE, text)
        match lun.seen.registration:
            case RegistrationState.REGISTERED | RegistrationState.UNPROTECTED:
                return None
            case RegistrationState.CONFLICT:
                return Obstacle(Cause.CONFLICT, f"{lun.name}: another node holds a reservation that refuses our writes")
            case RegistrationState.TARGET_FORGOT:
                return Obstacle(Cause.TARGET_FORGOT, f"{lun.name}: the target lost all registrations")
            case RegistrationState.DROPPED:
                text = f"{lun.name}: the target has dropped our registration, and nobody took it: it is being restored"
                return Obstacle(Cause.NOT_REGISTERED, text)
            case (
                RegistrationState.PREEMPTED
                | RegistrationState.SHUT_OUT
                | RegistrationState.NEVER
                | RegistrationState.UNKNOWN as registration
            ):
                return Obstacle(Cause.NOT_REGISTERED, f"{lun.name}: our key is not registered ({registration})")
            case _ as never:
                assert_never(never)

    def _loss(self, name: str, path: _Path, now: float) -> str:
        """Why a path does not count; "" when it does."""
        if path.good_at_s is None:
            return f"{name}: {path.error}"
        if now - path.good_at_s > self._settings.timing.path_stale_s:
            return f"{name}: no answer for {now - path.good_at_s:.1f} s"
        if path.refused:
            return f"{name}: {path.refused}"
        return "" if self._is_registered(path, now) else f"{name}: not registered yet"

    def _is_registered(self, path: _Path, now: float) -> bool:
        since_s = path.unconfirmed_since_s
        return path.registered and (since_s is None or now - since_s <= self._settings.timing.registration_stale_s)

    def is_complete(self) -> bool:
        """Every LUN has been looked at once."""
        return self._listed and all(lun.seen is not None or lun.silence for lun in self._luns.values())

    def view(self, now: float) -> tuple[LunView, ...]:
        """All LUNs by WWID."""
        return tuple(self._view(wwid, lun, now) for wwid, lun in sorted(self._luns.items()))

    def _view(self, wwid: str, lun: _Lun, now: float) -> LunView:
        seen = lun.seen
        stale_s = self._settings.timing.path_stale_s
        paths = tuple(
            PathView(
                name,
                path.address,
                path.good_at_s is not None and now - path.good_at_s <= stale_s,
                self._is_registered(path, now),
                self._loss(name, path, now).removeprefix(f"{name}: "),
                path.probed_at_s,
                path.took_s,
            )
            for name, path in lun.paths.items()
        )
        reachable = self._obstacle(lun, self._lost(lun, now), now) is None
        if seen is None:
            return LunView(
                wwid, lun.name, reachable, None, 0, (), None, None, 0.0, lun.silence, paths, 0, lun.read_only
            )
        counts = seen.nexuses if len(seen.nexuses) == len(seen.keys) else (1,) * len(seen.keys)
        keys = tuple(zip(seen.keys, counts, strict=True))
        return LunView(
            wwid, lun.name, reachable, seen.registration, seen.generation, keys, seen.holder, seen.type, seen.at_s,
            lun.silence, paths, seen.more_keys, lun.read_only,
        )  # fmt: skip


def _because(lun: _Lun) -> str:
    return f": {lun.silence}" if lun.silence else ""
