# SPDX-License-Identifier: Apache-2.0
"""The program halvmctl: ``status`` and ``check``."""

import argparse
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final, NoReturn, TextIO

from fencer import __version__
from fencer.command_help import HelpLayout
from fencer.ctl.exit_status import CtlStatus, worst
from fencer.errors import UsageError
from fencer.terminal import Terminal

NAME: Final = "halvmctl"

_EPILOG: Final = """\
exit status:
  0  nothing is wrong
  1  wrong usage
  2  a fault: a failover, or the service, fails
  3  a warning
  4  not everything could be looked at

examples:
  halvmctl status             the cluster on one screen
  halvmctl check              before the night it is needed; as root
  halvmctl check --cib=FILE   a file alone; nothing of this machine
  halvmctl check --cluster-conf=A --cluster-conf=B  copies of two nodes

More: man halvmctl
"""


def main() -> int:
    """Entry point. Returns the exit status."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # a caller may ignore it: each program asked would seem to succeed
    try:
        return run(sys.argv[1:], sys.stdout)
    except UsageError as error:
        return _fail(str(error))
    except KeyboardInterrupt:
        return _fail("interrupted")
    except BrokenPipeError:
        return CtlStatus.USAGE
    except Exception as error:  # noqa: BLE001 - a fault of ours: a sentence, no traceback
        return _fail(f"unexpected {type(error).__name__}: {error}; please report this")


def _fail(sentence: str) -> int:
    line = "".join(c if c.isprintable() else "?" for c in sentence)
    sys.stderr.write(Terminal(sys.stderr, os.environ).sentence(f"{NAME}: ", f"ERROR: {line}") + "\n")
    return CtlStatus.USAGE


@contextmanager
def _waiting() -> Iterator[None]:
    """Shows a person on stderr what is waited for, and since when. The line is taken back at the end."""
    terminal, done, began = Terminal(sys.stderr, os.environ), threading.Event(), time.monotonic()

    def show() -> None:
        while not done.wait(0.5):
            terminal.show(f"asking the programs of this machine: {time.monotonic() - began:.0f} s")

    thread = threading.Thread(target=show, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        terminal.begin_line()


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}: see {self.prog} --help")


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    shared = _Parser(add_help=False)
    shared.add_argument("--json", action="store_true", help="print one JSON object")
    shared.add_argument("--local-node", metavar="NAME", help="which node this is (default: the one named as this host)")
    parser = _Parser(
        prog=NAME,
        description="Shows the cluster on one screen, and checks that a failover will work. Changes nothing.",
        epilog=_EPILOG,
        formatter_class=HelpLayout,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"{NAME} {__version__}")
    words = parser.add_subparsers(dest="word", metavar="WORD", required=True)
    status = words.add_parser(
        "status", parents=[shared], allow_abbrev=False, formatter_class=HelpLayout, help="the cluster on one screen"
    )
    status.add_argument("--cluster-conf", metavar="FILE", help="cman's file, where it is not in its usual place")
    status.add_argument(
        "--vg", metavar="GROUP", action="append", help="a shared volume group (default: the configuration's)"
    )
    check = words.add_parser(
        "check",
        parents=[shared],
        allow_abbrev=False,
        formatter_class=HelpLayout,
        help="what would make a failover fail",
    )
    for option, text in _FILES.items():
        action = "append" if option in ("cluster-conf", "lvm-conf") else "store"
        check.add_argument(f"--{option}", metavar="FILE", action=action, help=text)
    return parser


_FILES: Final = {
    "cluster-conf": "cman's file; may be repeated: copies of several nodes",
    "corosync-conf": "corosync's file",
    "lvm-conf": "LVM's file; may be repeated: lvmlocal.conf, too",
    "cib": "Pacemaker's configuration, as cibadmin --query prints it",
    "dlm-conf": "dlm_controld's file",
    "multipath-conf": "multipathd's file",
}
"""Options of check, each a file. With any of them nothing of this machine is looked at."""


def run(argv: Sequence[str], stdout: TextIO) -> int:
    """Raises UsageError."""
    given = arguments().parse_args(argv)
    return _status(given, stdout) if given.word == "status" else _check(given, stdout)


def _status(given: argparse.Namespace, stdout: TextIO) -> int:
    from fencer.ctl.status.gather import gather  # not for --help
    from fencer.ctl.status.screen import as_json, screen
    from fencer.ctl.status.view import remarks

    with _waiting():
        view = gather(given.cluster_conf, given.local_node, tuple(given.vg or ()))
    found = remarks(view)
    status = worst([each.status for each in found])
    terminal = Terminal(stdout, os.environ)
    stdout.write(_json(as_json(view, found, status)) if given.json else screen(view, found, terminal))
    return status


def _check(given: argparse.Namespace, stdout: TextIO) -> int:
    from fencer.ctl.check.configuration import in_order
    from fencer.ctl.check.report import as_json, report

    files_given = any(getattr(given, name.replace("-", "_")) for name in _FILES)
    if files_given:
        from fencer.ctl.check.given_files import check_files

        found = in_order(check_files(given))
    else:
        from fencer.ctl.check.machine import check_machine

        with _waiting():
            found = in_order(check_machine(given.local_node))
    status = worst([each.status for each in found])
    stdout.write(_json(as_json(found, status)) if given.json else report(found, Terminal(stdout, os.environ)))
    return status


def _json(content: dict[str, object]) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False, default=str) + "\n"
