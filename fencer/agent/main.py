# SPDX-License-Identifier: Apache-2.0
"""Entry point of ``fence_halvm``: reads argv or stdin, answers what needs no fence, else performs the action."""

import contextlib
import os
import resource
import sys
from collections.abc import Callable, Mapping, Sequence

from fencer._signals import signal
from fencer._typing import TYPE_CHECKING, BinaryIO, Final, TextIO
from fencer.agent.option_input import OptionInput, check, parse_argv, parse_stdin, read_stdin
from fencer.agent.process_age import process_age_s
from fencer.errors import UsageError

if TYPE_CHECKING:
    from fencer.journal.writer_process import JournalWriter
    from fencer.worker import Channel, Job


def main() -> int:
    """Entry point. Returns the exit status."""
    _open_closed_streams()
    status = Agent(sys.argv[1:], sys.stdin.buffer, sys.stdout, sys.stderr, os.environ, process_age_s).run()
    for stream in (sys.stdout, sys.stderr):
        _give_up_unwritten(stream)
    return status


def _open_closed_streams() -> None:
    """Opens /dev/null where the caller has closed a standard stream.

    Otherwise the first socket would get that descriptor and would become a child's standard output.
    """
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number is this one
    sys.stdin = sys.stdin or open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - open as long as we run
    sys.stdout = sys.stdout or open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - open as long as we run
    sys.stderr = sys.stderr or open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - open as long as we run


def _give_up_unwritten(stream: TextIO) -> None:
    """Drops output that cannot be written. Otherwise Python would end with status 120 instead of the verdict's."""
    try:
        stream.flush()
    except (OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


class Agent:
    """One call. It imports the modules that fencing needs only when the action needs them."""

    def __init__(
        self,
        argv: Sequence[str],
        stdin: BinaryIO,
        stdout: TextIO,
        stderr: TextIO,
        environ: Mapping[str, str],
        age_s: Callable[[], float] = lambda: 0.0,
    ) -> None:
        """age_s: returns how long ago the call began, in seconds."""
        self._argv = argv
        self._stdin = stdin
        self._stdout = stdout
        self._stderr = stderr
        self._environ = environ
        self._age_s = age_s

    def run(self) -> int:
        """Returns the exit status. Never raises: every error becomes one sentence and an exit status."""
        try:
            given = parse_argv(self._argv) if self._argv else parse_stdin(read_stdin(self._stdin))
            check(given.values)
            if given.values.get("json") == "1":
                from fencer.agent.json_result import refuse  # a cluster manager never asks for it

                refuse(given)
            if given.values.get("action", "").lower() == "history":
                return self._history(given)
            text = self._documentation(given)
            return self._act(given) if text is None else self._print(text)
        except UsageError as error:
            return self._fail(str(error))
        except KeyboardInterrupt:
            return self._fail("interrupted before anything was sent")
        except Exception as error:  # noqa: BLE001 - a bug of ours: one sentence instead of a traceback, never success
            return self._fail(f"unexpected {type(error).__name__}: {error}: the outcome is unknown; please report this")

    def _print(self, text: str) -> int:
        try:
            self._stdout.write(text)
            self._stdout.flush()
        except BrokenPipeError:
            return 1
        except OSError as error:
            return self._fail(f"standard output: {error.strerror}: give one that can be written")
        return 0

    def _history(self, given: OptionInput) -> int:
        from fencer.agent.history import print_history  # brings SQLite
        from fencer.terminal import Terminal

        person = self._stdout.isatty() and not given.from_stdin
        terminal = Terminal(self._stdout, self._environ) if person else None
        return print_history(given.values, self._stdout, given.verbosity, terminal)

    def _fail(self, sentence: str) -> int:
        from fencer.agent.report import Report  # shortens and cleans the line, and writes it to the system log

        # Without arguments a cluster manager calls: its lines are neither coloured nor wrapped.
        Report(self._stdout, self._stderr, for_cluster=not self._argv, environ=self._environ).error(sentence)
        return 1

    def _documentation(self, given: OptionInput) -> str | None:
        """The text of help, version or metadata; None for any other action."""
        values = given.values
        if values.get("help") == "1":
            from fencer.agent.manual import help_text  # a call needs at most one of these
            from fencer.terminal import columns

            return help_text(min(columns(self._stdout, self._environ), 100))
        if values.get("version") == "1":
            from fencer import __version__

            return f"{__version__}\n"
        if values.get("action", "").lower() in ("metadata", "meta-data", "manpage"):
            from fencer.agent.metadata import metadata_xml

            return metadata_xml()
        return None

    def _act(self, given: OptionInput) -> int:
        # A core dump of this process or its children would hold the password.
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # until the run has a handler of its own
        from fencer.worker import Workers  # not for metadata, which is asked for often

        journal_writer = _journal_writer(given.values)  # before the workers: it must hold none of their sockets
        _set_priority(given.values)  # for the workers, too
        workers = Workers(_apart(_power_job, journal_writer), _apart(_storage_job, journal_writer))
        try:
            wanted = self._will_fence(given.values)
            if wanted and given.values.get("ip"):
                import fencer.agent.orders  # noqa: F401 - both processes need it: here it is loaded once

                workers.need_power()  # it loads pyghmi while this process reads the options
            from fencer.agent.action import Performer
            from fencer.agent.report import Report

            if wanted and (given.values.get("devices") or given.values.get("vg")):
                workers.need_storage()  # after the imports: it inherits them, and needs most of them
            quiet = given.values.get("quiet") == "1"
            report = Report(
                self._stdout,
                self._stderr,
                quiet=quiet,
                verbosity=given.verbosity,
                for_cluster=given.from_stdin,
                as_json=given.values.get("json") == "1",
                environ=self._environ,
            )
            return Performer(given, workers, report, self._environ, journal_writer, self._age_s).perform()
        finally:
            workers.drop()

    @staticmethod
    def _will_fence(values: Mapping[str, str]) -> bool:
        """Whether the call will probably need workers. Exact values are known only once the options are read."""
        return values.get("dry_run") != "1" and values.get("action", "").lower() not in (
            "validate-all",
            "list",
            "list-status",
        )


_NICER_BY: Final = {"off": -10, "reboot": -10, "monitor": 5, "status": 5, "list-status": 5}


def _set_priority(values: Mapping[str, str]) -> None:
    """Lets a fence go before everything ordinary, and a question after it.

    A fence is downtime, and its node takes the service over. At that moment it also monitors the devices that moved
    here, which would otherwise share the processor with the fence, and then with the start of the service.
    """
    with contextlib.suppress(OSError):  # only root, or who has CAP_SYS_NICE, may raise it
        os.nice(_NICER_BY.get(values.get("action", "reboot").lower(), 0))


def _journal_writer(values: Mapping[str, str]) -> "JournalWriter | None":
    """Starts the journal writer process; None where the call leaves no record."""
    if values.get("journal") == "none" or values.get("dry_run") == "1":
        return None
    if values.get("action", "").lower() in ("status", "validate-all", "list", "list-status"):
        return None
    from fencer.journal.writer_process import JournalWriter  # only for calls that leave a record

    return JournalWriter.start()


def _apart(job: "Job", journal_writer: "JournalWriter | None") -> "Job":
    """Returns the job of a worker that first closes its copy of the journal writer's socket.

    A worker may outlive this process in state D. While it kept the socket open, the writer would not notice the end of
    this process.
    """

    def run(channel: "Channel") -> None:
        if journal_writer is not None:
            journal_writer.let_go()
        job(channel)

    return run


def _power_job(channel: "Channel") -> None:
    from fencer.agent.power_worker import power_job  # in the child only

    power_job(channel)


def _storage_job(channel: "Channel") -> None:
    from fencer.agent.storage_worker import storage_job  # in the child only

    storage_job(channel)
