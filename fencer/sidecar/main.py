# SPDX-License-Identifier: Apache-2.0
"""Entry point of halvm-watchdogd: reads the configuration, starts the processes, feeds; or runs a command."""

import os
import sys
import time
from collections.abc import Callable, Sequence

from fencer.errors import FenceError, UsageError
from fencer.readable import readable
from fencer.sidecar import linux_watchdog, watchdog_device
from fencer.sidecar.children import Jobs
from fencer.sidecar.control import ControlSocket
from fencer.sidecar.environment import Ended, Environment, ExitStatus, Resetting, Signals
from fencer.sidecar.feeder import Daemon
from fencer.sidecar.instance import Instance
from fencer.sidecar.links import Links, start
from fencer.sidecar.messages import PROGRAM, ConfigRefused, Configured, ReadConfig
from fencer.sidecar.realtime import become_realtime
from fencer.sidecar.sd_notify import ServiceManager
from fencer.sidecar.self_fence import NoReset, Reset
from fencer.sidecar.settings import DEFAULT_PATH, SelfFenceBy, Settings
from fencer.sidecar.watchdog_device import NoWatchdog, Watchdog
from fencer.state.boot_id import read_boot_id

CONFIGURE_S = 30.0


def main() -> int:
    """Entry point. Returns the exit status."""
    try:
        path = _config_of_a_run(sys.argv[1:])
        if path is None:
            from fencer.sidecar.commands import speak  # the feeder needs no parser of words

            return speak(sys.argv[1:])
        ended = run(path)
    except FenceError as error:
        ended = Ended(ExitStatus.MISCONFIGURED, str(error))
    except KeyboardInterrupt:
        ended = Ended(ExitStatus.MISCONFIGURED, "interrupted")
    except Exception as error:  # noqa: BLE001 - a fault of ours: no traceback, no disarming; a successor may look again
        ended = Ended(ExitStatus.BROKEN, f"unexpected {type(error).__name__}: {error}: please report this")
    for line in ended.sentence.splitlines():
        print(f"{PROGRAM}: {line}", file=sys.stderr)  # noqa: T201 - its log is standard error
    return ended.status


def _config_of_a_run(argv: Sequence[str]) -> str | None:
    """The configuration file when the sidecar is to run; None for a command."""
    match [word for word in argv if word != "run"] if argv[:1] == ["run"] else list(argv):
        case []:
            return DEFAULT_PATH
        case ["--config" | "-c", path]:
            return path
        case [word] if word.startswith("--config="):
            return word.removeprefix("--config=")
        case _:
            return None


def run(path: str) -> Ended:
    """Runs the sidecar until an orderly stop or a self-fence."""
    boot_id = read_boot_id()
    signals = Signals()
    log = os.dup(2)
    pid = os.getpid()

    def make_jobs() -> Jobs:
        from fencer.sidecar.processes import jobs  # for the supervisor and its children alone

        return jobs(boot_id, pid, log)

    links = start(make_jobs)
    try:
        configured = _configure(links, path, signals)
        if configured is None:
            return Ended(
                ExitStatus.STOPPED,
                "stopped before the configuration was read: a watchdog that a predecessor left running resets this "
                "node unless halvm-watchdogd is started again",
            )
        config = configured.config
        instance = Instance(config.settings.state_dir)  # before anything is touched: snapshot, socket, keys, watchdog
        environment = _environment(configured, boot_id)
        refused = become_realtime()
        for problem in refused:
            print(f"{PROGRAM}: {problem}: this node may be reset when it is only busy: run as root", file=sys.stderr)  # noqa: T201 - its log is standard error
        ended = Daemon(config, links, environment._replace(not_granted=refused), signals).run()
    finally:
        links.supervisor.close()
    instance.end()
    return ended


def _environment(configured: Configured, boot_id: str) -> Environment:
    """The adapters, and what a predecessor in this boot left. Raises UsageError, WatchdogError."""
    settings, before = configured.config.settings, configured.predecessor
    reset: Resetting = Reset() if settings.self_fence is SelfFenceBy.RESET else NoReset()
    for problem in reset.problems if isinstance(reset, Reset) else ():
        print(f"{PROGRAM}: {problem}", file=sys.stderr)  # noqa: T201 - its log is standard error
    try:
        control = ControlSocket(settings.state_dir)
    except OSError as error:
        raise UsageError(f"state_dir: {settings.state_dir}: {error.strerror}: run as root, or give another") from error
    return Environment(
        arm=_armer(settings),
        reset=reset,
        service=ServiceManager(),
        control=control,
        boot_id=boot_id,
        left=before.watchdog if before is not None and before.watchdog.armed else None,
        paused_until_s=before.paused_until_s if before is not None else None,
        generations=before.generations if before is not None else (),
        luns=before.luns if before is not None else None,
    )


def _armer(settings: Settings) -> Callable[[], Watchdog]:
    """The function that arms the configured device; it raises WatchdogError. The driver may be loaded later."""
    if settings.watchdog == watchdog_device.NONE:
        return NoWatchdog
    return lambda: linux_watchdog.open_best(settings.watchdog, settings.watchdog_timeout_s, settings.shutdown_timeout_s)


def _configure(links: Links, path: str, signals: Signals) -> Configured | None:
    """Has the supervisor read the file. None when a signal ended the waiting. Raises UsageError."""
    links.supervisor.send(ReadConfig(path))
    until = time.monotonic() + CONFIGURE_S
    while not signals.stop and (left := until - time.monotonic()) > 0:
        signals.drain()
        if links.supervisor.fileno() not in readable([links.supervisor.fileno(), signals.fileno()], left):
            continue
        match links.supervisor.receive():
            case Configured() as configured:
                return configured
            case ConfigRefused(complaints):
                raise UsageError(complaints)
            case None:
                raise RuntimeError("the supervisor process has ended")
    if signals.stop:
        return None
    raise UsageError(f"{path}: could not be read within {CONFIGURE_S:g} s: see whether its disk answers")
