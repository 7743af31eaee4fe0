# SPDX-License-Identifier: Apache-2.0
"""Keeps the latest reports of each LUN, and decides whether it is reachable. Pure.

A path counts while its last probe was good, began not longer than path_stale_s ago, and our key is on it. A LUN is
reachable while a path counts and its registrations are read.
"""

from fencer._enum import StrEnum
from fencer._typing import NamedTuple, assert_never
from fencer.sidecar.lun_records import LunRecord, LunView, PathRecord, PathView
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
    StillWell,
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


class Obstacle(NamedTuple):
    """Why a LUN is not reachable."""

    cause: Cause
    text: str


class LunStates:
    """The latest reports of each LUN and path. began_s: the start of the sidecar."""

    def __init__(self, settings: PolicySettings, began_s: float) -> None:
        self._settings = settings
        self._luns: dict[str, LunRecord] = {}
        self._listed = False
        self._listing: tuple[ListedLun, ...] = ()
        self._serial = 0
        self._serving = False
        self._alive_at_s = began_s
        self._silent_because = ""
        self.changes = 0
        """Counts up with each report that may change more than times."""
        self._well: list[Obstacle | None] = []
        self._well_until_s = float("-inf")
        """While nothing but time and StillWell have come since all was well, it is well until then."""
        self.stale_from_s = began_s
        """No report that counts now grows stale before this time. It may be too early, never too late."""

    def reconfigure(self, settings: PolicySettings, now: float) -> None:
        """Other settings from now on. What has grown stale stays lost until it is seen again, however long is allowed
        now; what is not stale yet is judged by the new settings."""
        timing = self._settings.timing
        self._forget_well()
        for lun in self._luns.values():
            for path in lun.paths.values():
                if path.good_at_s is not None and now - path.good_at_s > timing.path_stale_s:
                    path.error = f"no answer for {now - path.good_at_s:.1f} s"
                    path.lose()
            if lun.is_read and now - lun.seen_at_s > timing.registration_stale_s:
                lun.silence = lun.silence or f"no answer for {now - lun.seen_at_s:.1f} s"
                lun.lose_reading()
        self._settings = settings
        self.stale_from_s = now

    def serve(self) -> None:
        """The node serves from now on: a LUN that is added later has to be registered before it is required."""
        self._serving = True

    def explain_silence(self, reason: str) -> None:
        """Stores why the observing process has ended. The next report of an observer removes it."""
        self._silent_because = reason

    def take(self, report: Report) -> None:
        """Takes one report. A reading of a LUN that is older than the latest changes nothing."""
        match report:
            case StillWell():
                self._take_well(report)
                return
            case Alive(at_s):
                if at_s > self._alive_at_s:
                    self._alive_at_s, self._silent_because = at_s, ""
                    self._grows_stale(at_s + self._settings.timing.path_stale_s)
                return
        self._forget_well()
        match report:
            case LunsListed():
                self._take_list(report)
            case PathSeen():
                self._see_path(report)
            case PathGone(lun, path, _):
                if (known := self._luns.get(lun)) is not None:
                    known.paths.pop(path, None)
            case PathRegistered(lun, path, _):
                self._register(lun, path)
            case LunSeen():
                if (known := self._luns.get(report.lun)) is not None and self.is_news(report):
                    known.seen, known.seen_at_s, known.silence = report, report.at_s, ""
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
        return lun is not None and (lun.seen is None or seen.at_s >= lun.seen_at_s)

    def _take_well(self, again: StillWell) -> None:
        """What counts goes on to count for longer, which changes no verdict. A path that was lost meanwhile comes back.
        A LUN of which the reading that it repeats is not the latest here has to report that reading again."""
        for wwid, name, at_s, took_s in again.paths:
            lun = self._luns.get(wwid)
            path = lun.paths.get(name) if lun is not None else None
            if path is None or path.good_at_s is None:
                self._forget_well()
                self._see_path(PathSeen(wwid, name, at_s, True, "", took_s))
            elif at_s > path.good_at_s:
                path.good_at_s, path.took_s, path.error = at_s, took_s, ""
                path.probed_at_s = max(path.probed_at_s, at_s)
        for wwid, at_s, generation in again.luns:
            lun = self._luns.get(wwid)
            seen = lun.seen if lun is not None else None
            if lun is None or seen is None or at_s < lun.seen_at_s:
                continue
            if seen.generation == generation and seen.registration is RegistrationState.REGISTERED:
                if lun.silence or not lun.is_read:
                    self._forget_well()
                lun.seen_at_s, lun.silence = at_s, ""
        for wwid, name in again.registered:
            self._register(wwid, name)

    def _register(self, wwid: str, name: str) -> None:
        lun = self._luns.get(wwid)
        path = lun.paths.get(name) if lun is not None else None
        if path is not None and (not path.registered or path.unconfirmed_since_s is not None):
            self._forget_well()
            path.register()

    def _forget_well(self) -> None:
        self._well_until_s = float("-inf")
        self.changes += 1

    def is_well(self, now: float) -> bool:
        """Whether each path and LUN is well: then its view differs from an earlier one in times() alone, unless changes
        has counted up."""
        self.judged(now)
        return now <= self._well_until_s

    def times(self) -> tuple[float, ...]:
        """Of each LUN, by WWID, when it was read; of each of its paths when it was probed and how long that took."""
        times: list[float] = []
        for _, lun in sorted(self._luns.items()):
            times.append(lun.seen_at_s)
            for path in lun.paths.values():
                times += (path.probed_at_s, path.took_s)
        return tuple(times)

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
            known = self._luns.setdefault(wwid, LunRecord(found.name, joining=self._listed and self._serving))
            known.name, known.read_only = found.name, found.read_only
            before, known.paths = known.paths, {}
            for name, address, refused in found.paths:
                path = before.get(name)
                if path is None or path.address != address:
                    path = PathRecord(address)
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
        path = lun.paths.setdefault(seen.path, PathRecord())
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
            if lun.is_read:
                times.append(lun.seen_at_s + timing.registration_stale_s)
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
        if now <= self._well_until_s:
            return self._well, ()
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
                    worries.append(f"{lun.name}: no node holds a reservation: it protects nothing")
                if lun.read_only:
                    worries.append(f"{lun.name}: {lun.read_only} is read-only: nothing can be written")
            if lun.joining and obstacle is not None:
                worries.append(f"new, and not required before it is well: {obstacle.text}")
            else:
                obstacles.append(obstacle)
        if not worries and not any(obstacles):
            self._well, self._well_until_s = obstacles, self.stale_from_s
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

    def _lost(self, lun: LunRecord, now: float) -> list[str]:
        """Each path that does not count, and why."""
        return [text for name, path in lun.paths.items() if (text := self._loss(name, path, now))]

    def _obstacle(self, lun: LunRecord, lost: list[str], now: float) -> Obstacle | None:
        timing = self._settings.timing
        if len(lost) == len(lun.paths):
            return Obstacle(Cause.PATHS_LOST, f"{lun.name}: no path left ({', '.join(lost) or 'none is there'})")
        if lun.seen is None or not lun.is_read:
            return Obstacle(Cause.UNREADABLE, f"{lun.name}: registrations not read yet{_because(lun)}")
        if now - lun.seen_at_s > timing.registration_stale_s:
            text = f"{lun.name}: registrations not read for {now - lun.seen_at_s:.1f} s{_because(lun)}"
            return Obstacle(Cause.UNREADABLE, text)
        match lun.seen.registration:
            case RegistrationState.REGISTERED | RegistrationState.UNPROTECTED:
                return None
            case RegistrationState.CONFLICT:
                return Obstacle(Cause.CONFLICT, f"{lun.name}: another node holds a reservation that refuses our writes")
            case RegistrationState.TARGET_FORGOT:
                return Obstacle(Cause.TARGET_FORGOT, f"{lun.name}: the target lost all registrations")
            case RegistrationState.DROPPED:
                text = f"{lun.name}: the target has dropped our registration (no node removed it): being restored"
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

    def _loss(self, name: str, path: PathRecord, now: float) -> str:
        """Why a path does not count; "" when it does."""
        if path.good_at_s is None:
            return f"{name}: {path.error}"
        if now - path.good_at_s > self._settings.timing.path_stale_s:
            return f"{name}: no answer for {now - path.good_at_s:.1f} s"
        if path.refused:
            return f"{name}: {path.refused}"
        return "" if self._is_registered(path, now) else f"{name}: not registered yet"

    def _is_registered(self, path: PathRecord, now: float) -> bool:
        since_s = path.unconfirmed_since_s
        return path.registered and (since_s is None or now - since_s <= self._settings.timing.registration_stale_s)

    def is_complete(self) -> bool:
        """Whether every LUN has been read or found unreachable at least once."""
        return self._listed and all(lun.seen is not None or lun.silence for lun in self._luns.values())

    def view(self, now: float) -> tuple[LunView, ...]:
        """All LUNs by WWID."""
        return tuple(self._view(wwid, lun, now) for wwid, lun in sorted(self._luns.items()))

    def _view(self, wwid: str, lun: LunRecord, now: float) -> LunView:
        seen = lun.seen if lun.is_read else None
        stale_s = self._settings.timing.path_stale_s
        paths = tuple(
            PathView(
                name,
                path.address,
                path.good_at_s is not None and now - path.good_at_s <= stale_s and not path.refused,
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
            wwid, lun.name, reachable, seen.registration, seen.generation, keys, seen.holder, seen.type, lun.seen_at_s,
            lun.silence, paths, seen.more_keys, lun.read_only,
        )  # fmt: skip


def _because(lun: LunRecord) -> str:
    return f": {lun.silence}" if lun.silence else ""
