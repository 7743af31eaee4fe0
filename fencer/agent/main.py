"""The agent: options → plan → execute → verdict → report."""

import os
import resource
import signal
import sys
from collections.abc import Callable, Mapping, Sequence

from fencer._typing import TYPE_CHECKING, BinaryIO, TextIO
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
    """A caller may have closed them. Left so, the first sockets would become "standard output" for the children."""
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number is this one
    sys.stdin = sys.stdin or open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - open as long as we run
    sys.stdout = sys.stdout or open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - open as long as we run
    sys.stderr = sys.stderr or open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - open as long as we run


def _give_up_unwritten(stream: TextIO) -> None:
    """Python ends with status 120 when it cannot write what is left: an output that is full must not turn a verdict."""
    try:
        stream.flush()
    except (OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


class Agent:
    """One call. The imports that fencing needs are made when it is known that there is something to fence."""

    def __init__(
        self,
        argv: Sequence[str],
        stdin: BinaryIO,
        stdout: TextIO,
        stderr: TextIO,
        environ: Mapping[str, str],
        age_s: Callable[[], float] = lambda: 0.0,
    ) -> None:
        """age_s: how long ago the call began, when asked."""
        self._argv = argv
        self._stdin = stdin
        self._stdout = stdout
        self._stderr = stderr
        self._environ = environ
        self._age_s = age_s

    def run(self) -> int:
        """Never raises: whatever happens ends in a sentence and an exit status."""
        try:
            given = parse_argv(self._argv) if self._argv else parse_stdin(read_stdin(self._stdin))
            check(given.values)
            if given.values.get("action", "").lower() == "history":
                return self._history(given)
            text = self._documentation(given)
            return self._act(given) if text is None else self._print(text)
        except UsageError as error:
            return self._fail(str(error))
        except KeyboardInterrupt:
            return self._fail("interrupted before anything was sent")
        except Exception as error:  # noqa: BLE001 - a fault of ours: no traceback at 3 a.m., and never success
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

        return print_history(given.values, self._stdout, given.verbosity)

    def _fail(self, sentence: str) -> int:
        from fencer.agent.report import Report  # bounds and cleans the line, and tells the system log

        Report(self._stdout, self._stderr, environ=self._environ).error(sentence)
        return 1

    def _documentation(self, given: OptionInput) -> str | None:
        """What is answered without touching anything; None when there is something to do."""
        values = given.values
        if values.get("help") == "1":
            from fencer.agent.manual import help_text  # each call needs one of these at most

            return help_text()
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
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # until there is something to end in order
        from fencer.worker import Workers  # not for metadata, which is asked for often

        writer = _writer(given.values)  # before the children: it must hold nothing of theirs
        workers = Workers(_apart(_power_job, writer), _apart(_storage_job, writer))
        try:
            wanted = self._will_fence(given.values)
            if wanted and given.values.get("ip"):
                workers.need_power()  # it loads pyghmi while we read the options
            from fencer.agent.action import Performer
            from fencer.agent.report import Report

            if wanted and (given.values.get("devices") or given.values.get("vg")):
                workers.need_storage()  # after the imports: it needs most of them, too, and inherits them
            quiet = given.values.get("quiet") == "1"
            report = Report(
                self._stdout,
                self._stderr,
                quiet=quiet,
                verbosity=given.verbosity,
                for_cluster=given.from_stdin,
                environ=self._environ,
            )
            return Performer(given, workers, report, self._environ, writer, self._age_s).perform()
        finally:
            workers.drop()

    @staticmethod
    def _will_fence(values: Mapping[str, str]) -> bool:
        """Whether children will be wanted, as far as that can be told before the options are read."""
        return values.get("dry_run") != "1" and values.get("action", "").lower() not in (
            "validate-all",
            "list",
            "list-status",
        )


def _writer(values: Mapping[str, str]) -> "JournalWriter | None":
    """Starts the journal writer process. None where nothing will be written."""
    if values.get("journal") == "none" or values.get("dry_run") == "1":
        return None
    if values.get("action", "").lower() in ("status", "validate-all", "list", "list-status"):
        return None
    from fencer.journal.writer_process import JournalWriter  # not for what leaves no record

    return JournalWriter.start()


def _apart(job: "Job", writer: "JournalWriter | None") -> "Job":
    """A child must not hold the writer's socket: it may outlive us in state D, and the writer would not see our end."""

    def run(channel: "Channel") -> None:
        if writer is not None:
            writer.let_go()
        job(channel)

    return run


def _power_job(channel: "Channel") -> None:
    from fencer.agent.power_worker import power_job  # in the child only

    power_job(channel)


def _storage_job(channel: "Channel") -> None:
    from fencer.agent.storage_worker import storage_job  # in the child only

    storage_job(channel)
