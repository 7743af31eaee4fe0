"""The agent: options → plan → execute → verdict → report."""

import os
import sys
from collections.abc import Mapping, Sequence
from typing import BinaryIO, TextIO

from fencer.errors import UsageError
from fencer.option_input import OptionInput, check, parse_argv, parse_stdin, read_stdin

NAME = "fence_halvm"


def main() -> int:
    """Entry point. Returns the exit status."""
    return Agent(sys.argv[1:], sys.stdin.buffer, sys.stdout, sys.stderr, os.environ).run()


class Agent:
    """One call. The imports that fencing needs are made when it is known that there is something to fence."""

    def __init__(
        self,
        argv: Sequence[str],
        stdin: BinaryIO,
        stdout: TextIO,
        stderr: TextIO,
        environ: Mapping[str, str],
    ) -> None:
        self._argv = argv
        self._stdin = stdin
        self._stdout = stdout
        self._stderr = stderr
        self._environ = environ

    def run(self) -> int:
        """Never raises: whatever happens ends in a sentence and an exit status."""
        try:
            given = parse_argv(self._argv) if self._argv else parse_stdin(read_stdin(self._stdin))
            check(given.values)
            text = self._documentation(given)
            if text is not None:
                self._stdout.write(text)
                self._stdout.flush()
                return 0
            return self._act(given)
        except UsageError as error:
            self._stderr.write(f"{NAME}: ERROR: {error}\n")
            return 1
        except KeyboardInterrupt:
            self._stderr.write(f"{NAME}: ERROR: interrupted\n")
            return 1
        except BrokenPipeError:
            return 1

    def _documentation(self, given: OptionInput) -> str | None:
        """What is answered without touching anything; None when there is something to do."""
        values = given.values
        if values.get("help") == "1":
            from fencer.manual import help_text  # noqa: PLC0415 - each call needs one of these at most

            return help_text()
        if values.get("version") == "1":
            from fencer import __version__  # noqa: PLC0415

            return f"{__version__}\n"
        if values.get("action", "").lower() in ("metadata", "meta-data", "manpage"):
            from fencer.metadata import metadata_xml  # noqa: PLC0415

            return metadata_xml()
        return None

    def _act(self, given: OptionInput) -> int:
        from fencer.cli.action import perform  # noqa: PLC0415 - not for metadata, which is asked for often

        return perform(given, self._stdout, self._stderr, self._environ)
