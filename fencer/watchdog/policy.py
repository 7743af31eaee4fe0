"""Whether this node may go on: KEEPALIVE, DEGRADED or SELF_FENCE, out of what the observers saw. Pure; no clock here.

    policy = Policy(settings, now)
    policy.feed(sighting)              # as they come
    decision = policy.decide(now)      # at least every decide_interval_s, and after each batch of sightings

A path counts while its last probe was good, began not longer than path_stale_s ago, and our key is on it. A LUN is
reachable while a path counts and its registrations are read. While too few LUNs are reachable the grace runs; it is
whole again only when enough have been reachable for settle_s without a break, so flapping cannot stretch it. A
preemption has no grace. A self-fence is final. docs/decisions/0008-self-fence-bound.md argues all this and the bound.
"""

from enum import StrEnum

from fencer.light_typing import NamedTuple, assert_never
from fencer.model import ReservationKey, ReservationType
from fencer.watchdog.settings import PolicySettings, Requirement, TargetReset
from fencer.watchdog.sightings import (
    Alive,
    LunSeen,
    LunSilent,
    LunsListed,
    PathGone,
    PathRegistered,
    PathSeen,
    Registered,
    RegistrationFailed,
    Sighting,
    Standing,
)
from fencer.watchdog.snapshot import PolicyState


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


class Decision(NamedTuple):
    """What to do now. SELF_FENCE: feed no more; cause says why and reasons[0] is the sentence for the journal.

    state is STARTING until the first complete look: nothing is armed yet. PAUSED feeds, as KEEPALIVE and DEGRADED do.
    grace_remaining_s: None unless the grace is running.
    """

    state: PolicyState
    reasons: tuple[str, ...] = ()
    grace_remaining_s: float | None = None
    cause: Cause | None = None


class PathView(NamedTuple):
    """A path as the policy knows it, for the snapshot. up: its last probe was good and is not stale."""

    name: str
    address: str
    up: bool
    registered: bool
    error: str
    probed_at_s: float
    took_s: float


class LunView(NamedTuple):
    """A LUN as the policy knows it, for the snapshot. standing: None as long as nothing is known."""

    wwid: str
    name: str
    reachable: bool
    standing: Standing | None
    generation: int
    keys: tuple[tuple[ReservationKey, int], ...]
    holder: ReservationKey | None
    type: ReservationType | None
    read_at_s: float
    error: str
    paths: tuple[PathView, ...]


class _Path:
    """good_at_s: when its last good probe began, None when the last one was bad."""

    __slots__ = ("address", "error", "good_at_s", "probed_at_s", "registered", "took_s")

    def __init__(self) -> None:
        self.address = ""
        self.good_at_s: float | None = None
        self.registered = False
        self.error = "not probed yet"
        self.probed_at_s = 0.0
        self.took_s = 0.0

    def lose(self) -> None:
        self.good_at_s, self.registered = None, False


class _Lun:
    """seen: the latest reading. silence: why there was none since, "" when there was."""

    __slots__ = ("name", "paths", "seen", "silence")

    def __init__(self, name: str) -> None:
        self.name = name
        self.paths: dict[str, _Path] = {}
        self.seen: LunSeen | None = None
        self.silence = ""


class _Obstacle(NamedTuple):
    """Why a LUN is not reachable."""

    cause: Cause
    text: str


class _Pause(NamedTuple):
    until_s: float
    even_preempted: bool


class Policy:
    """The state between sightings and decisions. Times given must not be of different clocks; going back is ignored.

    began_s: now. resumed: a predecessor left the watchdog running, so the first look, too, has only the grace to
    become complete.
    """

    def __init__(self, settings: PolicySettings, began_s: float, *, resumed: bool = False) -> None:
        self._settings = settings
        self._now = began_s
        self._luns: dict[str, _Lun] = {}
        self._listed = False
        self._armed = resumed
        self._alive_at_s = began_s
        self._lost_since_s: float | None = None
        self._met_since_s: float | None = None
        self._interrupted = False
        self._doom: _Obstacle | None = None
        self._pause: _Pause | None = None
        self._end: Decision | None = None

    # --- what is seen ---------------------------------------------------------------------------------------------

    def feed(self, sighting: Sighting) -> None:
        """Takes one sighting in."""
        match sighting:
            case LunsListed(luns=luns):
                self._list(sighting)
                self._listed = self._listed or bool(luns)
            case Alive(at_s):
                self._alive_at_s = max(self._alive_at_s, at_s)
            case PathSeen():
                self._see_path(sighting)
            case PathGone(lun, path, _):
                if (known := self._luns.get(lun)) is not None:
                    known.paths.pop(path, None)
            case PathRegistered(lun, path, _):
                if (known := self._luns.get(lun)) is not None and path in known.paths:
                    known.paths[path].registered = True
            case LunSeen():
                self._see_lun(sighting)
            case LunSilent(lun, _, reason):
                if (known := self._luns.get(lun)) is not None:
                    known.silence = reason
            case Registered() | RegistrationFailed():
                return  # for the journal
            case _:
                assert_never(sighting)
        # A loss that is over before anybody decides is a loss all the same: it must not count as settled.
        if _may_lose(sighting) and self._armed and not self._interrupted:
            self._interrupted = not self._enough(self._judged(self._now)[0])

    def _list(self, listed: LunsListed) -> None:
        """A LUN that was listed once stays required; only its paths may all be gone."""
        there = {lun.lun: lun for lun in listed.luns}
        for wwid, lun in self._luns.items():
            if wwid not in there:
                lun.paths.clear()
        for wwid, found in there.items():
            known = self._luns.setdefault(wwid, _Lun(found.name))
            known.paths = {path.path: known.paths.get(path.path, _Path()) for path in found.paths}
            for path in found.paths:
                known.paths[path.path].address = path.address

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

    def _see_lun(self, seen: LunSeen) -> None:
        lun = self._luns.get(seen.lun)
        if lun is None or (lun.seen is not None and seen.at_s < lun.seen.at_s):
            return
        lun.seen, lun.silence = seen, ""
        if self._doom is not None:
            return
        if seen.standing is Standing.PREEMPTED:
            self._doom = _Obstacle(Cause.PREEMPTED, f"{lun.name}: our key was preempted: another node fenced this one")
        elif seen.standing is Standing.SHUT_OUT:
            self._doom = _Obstacle(
                Cause.SHUT_OUT,
                f"{lun.name}: the target lost all registrations and another node has registered since: "
                "it may have fenced this one",
            )
        elif (
            seen.standing is Standing.TARGET_FORGOT
            and self._armed
            and self._settings.on_target_reset is TargetReset.SELF_FENCE
        ):
            self._doom = _Obstacle(Cause.TARGET_FORGOT, f"{lun.name}: the target lost all registrations")

    # --- maintenance ----------------------------------------------------------------------------------------------

    def pause(self, until_s: float, *, even_preempted: bool = False) -> None:
        """Losing paths or registrations fences nobody until then. A preemption does, unless even_preempted: the other
        node may have taken the storage over, and no maintenance here makes that untrue."""
        self._pause = _Pause(until_s, even_preempted)

    def resume(self) -> None:
        """Ends a pause now. The grace begins anew."""
        self._pause = None

    # --- what to do -----------------------------------------------------------------------------------------------

    def decide(self, now: float) -> Decision:
        """What to do at now. Once it says SELF_FENCE it never says anything else."""
        self._now = now = max(now, self._now)
        if self._end is not None:
            return self._end
        pause = self._pause
        if pause is not None and now >= pause.until_s:
            pause = self._pause = None
        if self._doom is not None and not (pause is not None and pause.even_preempted):
            return self._fence(self._doom.cause, self._doom.text)
        obstacles, worries = self._judged(now)
        met = self._enough(obstacles)
        if not self._armed:
            if not (met and self._complete()):
                return Decision(PolicyState.STARTING, tuple(each.text for each in obstacles if each))
            self._armed = True
        reasons = tuple(each.text for each in obstacles if each) + worries
        if pause is not None:
            self._lost_since_s = self._met_since_s = None
            self._interrupted = False
            doom = () if self._doom is None else (self._doom.text,)
            return Decision(PolicyState.PAUSED, (f"paused for {pause.until_s - now:.0f} s more", *doom, *reasons))
        remaining_s = self._grace(now, met)
        if remaining_s == 0.0 and not met:
            causes = [each for each in obstacles if each]
            return self._fence(causes[0].cause, f"{'; '.join(each.text for each in causes)}")
        if remaining_s is not None and met:
            reasons = (*reasons, "reachable again, not yet for long enough")
        state = PolicyState.DEGRADED if reasons else PolicyState.KEEPALIVE
        return Decision(state, reasons, remaining_s)

    def _fence(self, cause: Cause, text: str) -> Decision:
        self._end = Decision(PolicyState.SELF_FENCE, (text,), None, cause)
        return self._end

    def _grace(self, now: float, met: bool) -> float | None:
        """What is left of the grace, None when it does not run. Runs from the first loss until all is settled."""
        timing = self._settings.timing
        if not met or self._interrupted:
            self._lost_since_s = now if self._lost_since_s is None else self._lost_since_s
            self._met_since_s = None
        if met:
            self._met_since_s = now if self._met_since_s is None else self._met_since_s
            if now - self._met_since_s >= timing.settle_s:
                self._lost_since_s = None
        self._interrupted = False
        if self._lost_since_s is None:
            return None
        return max(0.0, timing.grace_s - (now - self._lost_since_s))

    # --- judging --------------------------------------------------------------------------------------------------

    def _judged(self, now: float) -> tuple[list[_Obstacle | None], tuple[str, ...]]:
        """For each LUN why it is not reachable, None when it is; and what is wrong with those that are.

        One obstacle for all when nobody observes.
        """
        silent_s = now - self._alive_at_s
        if silent_s > self._settings.timing.path_stale_s:
            text = f"the observing process has been silent for {silent_s:.1f} s"
            return [_Obstacle(Cause.OBSERVERS_SILENT, text)], ()
        if not self._listed:
            return [_Obstacle(Cause.NOT_REGISTERED, "the LUNs are not known yet")], ()
        obstacles: list[_Obstacle | None] = []
        worries: list[str] = []
        for lun in self._luns.values():
            lost = self._lost(lun, now)
            obstacle = self._obstacle(lun, lost, now)
            obstacles.append(obstacle)
            if obstacle is None:
                worries += [f"{lun.name}: {text}" for text in lost]
                if lun.seen is not None and lun.seen.standing is Standing.UNPROTECTED:
                    worries.append(f"{lun.name}: nobody holds a reservation: it protects nothing")
        return obstacles, tuple(worries)

    def _enough(self, obstacles: list[_Obstacle | None]) -> bool:
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

    def _obstacle(self, lun: _Lun, lost: list[str], now: float) -> _Obstacle | None:
        timing = self._settings.timing
        if len(lost) == len(lun.paths):
            return _Obstacle(Cause.PATHS_LOST, f"{lun.name}: no path left ({', '.join(lost) or 'none is there'})")
        if lun.seen is None:
            return _Obstacle(Cause.UNREADABLE, f"{lun.name}: registrations not read yet{_because(lun)}")
        if now - lun.seen.at_s > timing.standing_stale_s:
            text = f"{lun.name}: registrations not read for {now - lun.seen.at_s:.1f} s{_because(lun)}"
            return _Obstacle(Cause.UNREADABLE, text)
        match lun.seen.standing:
            case Standing.REGISTERED | Standing.UNPROTECTED:
                return None
            case Standing.CONFLICT:
                return _Obstacle(
                    Cause.CONFLICT, f"{lun.name}: another node holds a reservation that refuses our writes"
                )
            case Standing.TARGET_FORGOT:
                return _Obstacle(Cause.TARGET_FORGOT, f"{lun.name}: the target lost all registrations")
            case Standing.PREEMPTED | Standing.SHUT_OUT | Standing.NEVER | Standing.UNKNOWN as standing:
                return _Obstacle(Cause.NOT_REGISTERED, f"{lun.name}: our key is not registered ({standing})")
            case _ as never:
                assert_never(never)

    def _loss(self, name: str, path: _Path, now: float) -> str:
        """Why a path does not count; "" when it does."""
        if path.good_at_s is None:
            return f"{name}: {path.error}"
        if now - path.good_at_s > self._settings.timing.path_stale_s:
            return f"{name}: no answer for {now - path.good_at_s:.1f} s"
        return "" if path.registered else f"{name}: not registered yet"

    def _complete(self) -> bool:
        """Every LUN has been looked at once."""
        return self._listed and all(lun.seen is not None or lun.silence for lun in self._luns.values())

    # --- for the snapshot -----------------------------------------------------------------------------------------

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
                path.registered,
                self._loss(name, path, now).removeprefix(f"{name}: "),
                path.probed_at_s,
                path.took_s,
            )
            for name, path in lun.paths.items()
        )
        reachable = self._obstacle(lun, self._lost(lun, now), now) is None
        if seen is None:
            return LunView(wwid, lun.name, reachable, None, 0, (), None, None, 0.0, lun.silence, paths)
        counts = seen.nexuses if len(seen.nexuses) == len(seen.keys) else (1,) * len(seen.keys)
        keys = tuple(zip(seen.keys, counts, strict=True))
        return LunView(
            wwid, lun.name, reachable, seen.standing, seen.generation, keys, seen.holder, seen.type, seen.at_s,
            lun.silence, paths,
        )  # fmt: skip


def _may_lose(sighting: Sighting) -> bool:
    match sighting:
        case PathSeen(ok=ok):
            return not ok
        case LunSeen(standing=standing):
            return standing not in (Standing.REGISTERED, Standing.UNPROTECTED)
        case _:
            return isinstance(sighting, PathGone | LunsListed)


def _because(lun: _Lun) -> str:
    return f": {lun.silence}" if lun.silence else ""
