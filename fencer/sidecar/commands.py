# SPDX-License-Identifier: Apache-2.0
"""The operator's commands: --check-config, status, last, pause, resume. None opens a shared disk or a watchdog."""

import argparse
import contextlib
import functools
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

from fencer import __version__
from fencer.command_help import HelpLayout
from fencer.errors import FenceError, StorageError, UsageError
from fencer.regular_file import read_regular_file
from fencer.sidecar import control, linux_watchdog, watchdog_device, watchdog_holders
from fencer.sidecar.config import BY_NAME, located, read_settings
from fencer.sidecar.configuration import read_config
from fencer.sidecar.messages import Config
from fencer.sidecar.settings import DEFAULT_PATH, Settings, bound_s
from fencer.state.boot_id import read_boot_id
from fencer.state.last_self_fence import read_last
from fencer.state.liveness import Liveness, liveness
from fencer.state.snapshot import PolicyState, Snapshot
from fencer.state.snapshot_file import read_snapshot
from fencer.storage.lun import SharedLuns
from fencer.storage.settings import StorageSettings

PROGRAM = "halvm-watchdogd"
_UNITS_S = {"": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


def speak(argv: Sequence[str]) -> int:
    """Carries out a command and returns the exit status. Raises FenceError with the sentence to show."""
    given = _parser().parse_args(argv, argparse.Namespace(config=DEFAULT_PATH))
    if given.word == "run" and not given.check_config:
        raise UsageError("run takes --config=FILE only, and after the word")
    if given.check_config:
        return _check(given.config)
    where = directories(given.config)
    try:
        status = _obey(given, where)
    except FenceError as error:
        raise UsageError(f"{error}; and {where.doubt}") if where.doubt else error from error
    if where.doubt:
        sys.stderr.write(f"{PROGRAM}: {where.doubt}\n")
    return status


def _obey(given: argparse.Namespace, where: "Directories") -> int:
    match given.word:
        case "status":
            return _status(where.state_dir)
        case "last":
            return _last(where.record_dir)
        case "pause":
            return _say(control.ask(where.state_dir, control.Pause(duration_s(given.length))))
        case _:
            return _say(control.ask(where.state_dir, control.Resume()))


class Directories(NamedTuple):
    """Where the running sidecar keeps its files. doubt: why that is not certain, "" when it is."""

    state_dir: str
    record_dir: str
    doubt: str = ""


def directories(path: str) -> Directories:
    """The directories by a configuration file, which may be wrong: the running sidecar uses the one that it read, and a
    slip in the file must not keep an operator from pausing it.

    Takes the default for each line that it cannot read.
    """
    try:
        settings = read_settings(path)
    except FenceError as error:
        first = str(error).splitlines()[0]
        found = (_plain_setting(path, name) or str(BY_NAME[name].default) for name in ("state_dir", "record_dir"))
        where = Directories(*found)
        return where._replace(doubt=f"{first}: looked below {where.state_dir} and {where.record_dir} all the same")
    return Directories(settings.state_dir, settings.record_dir)


def _plain_setting(path: str, name: str) -> str:
    """The absolute path of a line ``name = "..."``; "" when there is none."""
    try:
        text = read_regular_file(path, link=True).decode("utf-8", "replace")
    except (OSError, ValueError):
        return ""
    match = re.search(rf"^[ \t]*{name}[ \t]*=[ \t]*[\"'](/[^\"'\n]*)", text, re.MULTILINE)
    return match[1] if match else ""


def duration_s(text: str) -> float:
    """``600``, ``90s``, ``10m``, ``2h``. Raises UsageError."""
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*(s|min|m|h)?", text.strip())
    seconds = float(match[1]) * _UNITS_S[match[2] or ""] if match else 0.0
    if not 0 < seconds <= control.LONGEST_PAUSE_S:
        raise UsageError(f"--for: {text!r} is no time up to 24 h: give for instance 90s, 10m or 2h")
    return seconds


class _SidecarArguments(argparse.ArgumentParser):
    """Raises UsageError on wrong usage. argparse would exit 2, which ``status`` uses for "degraded or starting"."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}: see {self.prog} --help")


_EPILOG = f"""\
WITHOUT A WORD IT RUNS: it reads {DEFAULT_PATH}, registers this node's
key, ARMS A WATCHDOG and feeds it. From then on this machine is reset when the
program dies, or when the storage or the key is lost. Its service unit does
that; nothing else here arms, registers or changes anything.

examples:
  {PROGRAM} --check-config   what is wrong, or what would follow
  systemctl enable --now {PROGRAM}
  {PROGRAM} status           is it armed and feeding? exit 0: it is
  {PROGRAM} pause --for 10m  maintenance of the storage
  {PROGRAM} last             why this node last reset itself

More: man {PROGRAM}
"""


def _parser() -> argparse.ArgumentParser:
    shared = _SidecarArguments(add_help=False)
    # No default here: that of a word's parser would replace the file that was given before the word.
    shared.add_argument("-c", "--config", metavar="FILE", default=argparse.SUPPRESS, help=f"default: {DEFAULT_PATH}")
    parser = _SidecarArguments(
        prog=PROGRAM,
        description="Resets this node when it has lost its shared storage or its reservation key.",
        epilog=_EPILOG,
        formatter_class=HelpLayout,
        parents=[shared],
    )
    parser.add_argument("--version", action="version", version=__version__)
    parser.add_argument(
        "--check-config", action="store_true", help="check the file, say what follows from it, and exit"
    )
    words = parser.add_subparsers(dest="word", metavar="WORD")
    words.add_parser("status", parents=[shared], formatter_class=HelpLayout, help="how the running sidecar is")
    words.add_parser("last", parents=[shared], formatter_class=HelpLayout, help="why this node last fenced itself")
    pause = words.add_parser(
        "pause", parents=[shared], formatter_class=HelpLayout, help="losing the storage resets nothing for a while"
    )
    pause.add_argument("--for", dest="length", metavar="TIME", required=True, help="90s, 10m, 2h; at most 24 h")
    words.add_parser("resume", parents=[shared], formatter_class=HelpLayout, help="ends a pause")
    run = words.add_parser(
        "run", parents=[shared], formatter_class=HelpLayout, help="arm a watchdog and run; the same without any word"
    )
    run.add_argument("--check-config", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    parser.set_defaults(word="run")
    return parser


def _say(text: str) -> int:
    sys.stdout.write(text.rstrip("\n") + "\n")
    return 0


# --- --check-config ---------------------------------------------------------------------------------------------------


def _check(path: str) -> int:
    config = read_config(path)
    lines = [f"{path}: ok", f"node {config.node}, key {config.key}"]
    complaints = []
    for look in (_luns, _watchdog):
        try:
            lines.append(look(config))
        except FenceError as error:
            complaints.append(located(str(error), path))
    if complaints:
        raise UsageError("\n".join(complaints))
    bound = bound_s(config.settings.timing, float(config.settings.watchdog_timeout_s))
    lines.append(f"reset at the latest {bound:g} s after the loss of all paths or of the key")
    lines += [f"advice: {sentence}" for sentence in _advice(config)]
    return _say("\n".join(lines))


def _luns(config: Config) -> str:
    """Looks them up as the observer does. Raises UsageError when they make no sense, or are not there."""
    try:
        luns = _shared(config.observer.storage).luns
    except StorageError as error:
        raise UsageError(f"{'vg' if config.settings.vg else 'devices'}: {error}") from error
    return "LUNs: " + ", ".join(f"{lun.name} ({lun.wwid}, {len(lun.paths)} paths)" for lun in luns)


@functools.cache
def _shared(storage: StorageSettings) -> SharedLuns:
    """The LUNs, looked up once for both the list and the timeouts."""
    from fencer.sidecar.observer.observing import find_shared  # only --check-config looks

    return find_shared(storage)


def _watchdog(config: Config) -> str:
    """The device that would be armed, found as the daemon finds it but not opened. Raises UsageError."""
    settings = config.settings
    if settings.watchdog == watchdog_device.NONE:
        return "watchdog: NONE, for trying things out"
    ranked = [each for each in linux_watchdog.ranked(settings.watchdog) if Path(each.device).exists()]
    if not ranked:
        raise UsageError(linux_watchdog.no_device(settings.watchdog))
    passed: list[str] = []
    for candidate in ranked:
        why = watchdog_device.why_not_within(candidate, settings.watchdog_timeout_s) or _why_busy(
            candidate.device, settings
        )
        if not why:
            return "\n".join((_described(candidate, settings), *(f"passed over: {each}" for each in passed)))
        passed.append(why)
    raise UsageError("; ".join(passed))


def _why_busy(path: str, settings: Settings) -> str:
    """Which other processes have it open; "" when only the running sidecar has."""
    try:
        ours = read_snapshot(settings.state_dir).pid
    except (OSError, ValueError):
        ours = 0
    others = [holder for holder in watchdog_holders.holders(path) if holder[0] != ours]
    return f"watchdog: {path}: {watchdog_holders.describe(others)}" if others else ""


def _described(candidate: watchdog_device.Candidate, settings: Settings) -> str:
    limits = f", takes {candidate.min_s} to {candidate.max_s} s" if candidate.max_s else ""
    left_s = watchdog_device.timeout_after_stop(
        settings.shutdown_timeout_s, candidate.max_s, settings.watchdog_timeout_s
    )
    nowayout = {
        False: "",
        None: "; whether it can be disarmed is unknown",
        True: f"; nowayout: an orderly stop cannot disarm it and leaves it {left_s} s",
    }[candidate.nowayout]
    software = f"; {watchdog_device.SOFTWARE_MEANS}" if candidate.software else ""
    kind = candidate.identity or "asked when it is opened"
    return f"watchdog: {candidate.device} ({kind}{limits}){nowayout}{software}"


def _advice(config: Config) -> list[str]:
    """Advice on what may not fit: LUNs that may be missing; how long devices hold commands; what else uses watchdog or
    reservations."""
    from fencer import coexistence  # only --check-config looks
    from fencer.sidecar import device_timeouts

    found: list[str] = []
    with contextlib.suppress(FenceError):  # without LUNs there are no timeouts to compare
        shared = _shared(config.observer.storage)
        found += shared.missing
        found += device_timeouts.advice(shared.luns, config.settings)
    return found + [str(neighbour) for neighbour in coexistence.find()]


# --- status, last -----------------------------------------------------------------------------------------------------


def _status(state_dir: str) -> int:
    """0: it runs and feeds, or is paused. 1: it does not run, or is about to reset this node. 2: degraded, starting."""
    try:
        snapshot = read_snapshot(state_dir)
    except FileNotFoundError as error:
        raise UsageError("it has not run since this node booted: systemctl start halvm-watchdogd") from error
    except (OSError, ValueError) as error:
        raise UsageError(f"{state_dir}: {error}: see what the sidecar's log says") from error
    now_s = time.monotonic()
    found = liveness(snapshot, read_boot_id(), now_s)
    current = found in (Liveness.ALIVE, Liveness.STOPPED)
    _say("\n".join(_describe(snapshot, now_s - snapshot.written_monotonic_s, current)))
    if found is not Liveness.ALIVE or snapshot.state is PolicyState.SELF_FENCE:
        return 1
    return 2 if snapshot.state in ("degraded", "starting") else 0


def _describe(snapshot: Snapshot, age_s: float, current: bool) -> list[str]:
    watchdog = snapshot.watchdog
    lines = [f"{snapshot.node} (key {snapshot.key}): {snapshot.state}"]
    if not current:
        lines.append(f"NOT RUNNING: this is {age_s:.0f} s old, or of an earlier boot")
    lines += [f"  {reason}" for reason in snapshot.reasons]
    if snapshot.grace_remaining_s is not None:
        lines.append(f"  reset in {snapshot.grace_remaining_s:.1f} s unless it comes back")
    if watchdog.armed:
        lines.append(
            f"watchdog {watchdog.device} ({watchdog.identity}), {watchdog.timeout_s:g} s: {watchdog.keepalives} "
            f"keepalives, worst gap {watchdog.worst_gap_s:.2f} s, {watchdog.late_keepalives} late"
        )
    else:
        lines.append("watchdog not armed")
    for lun in snapshot.luns:
        lines.append(f"{lun.name} ({lun.wwid}): {lun.registration or 'unknown'} {lun.error}".rstrip())
        lines += [
            f"  {path.name} {path.address}: {'up' if path.up else 'DOWN'}, "
            f"{'registered' if path.registered else 'NOT registered'} {path.error}".rstrip()
            for path in lun.paths
        ]
    if snapshot.state is PolicyState.PAUSED:
        lines.append("paused: losing the storage resets nothing, so no bound holds; a preemption still resets at once")
    elif watchdog.armed:
        lines.append(f"reset at the latest {snapshot.bound_s:g} s after the loss of all paths or of the key")
    else:
        lines.append("nothing is armed: losing the storage resets nothing")
    return lines


def _last(record_dir: str) -> int:
    try:
        record = read_last(record_dir)
    except (OSError, ValueError) as error:
        raise UsageError(f"{record_dir}: the record cannot be read: {error}") from error
    if record is None:
        _say("no self-fence is on record")
    else:
        when = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(record.at_unix_s))
        same = record.boot_id == read_boot_id()
        _say(f"{when}: {record.node} fenced itself: {record.reason}")
        if same:
            _say("it was in this very boot: the reset has not come yet")
    for candidate in linux_watchdog.candidates():
        if candidate.reset_last_boot:
            _say(f"{candidate.device} ({candidate.identity}) says that it caused this boot")
    return 0
