# SPDX-License-Identifier: Apache-2.0
"""The program halvm-exporter: serves snapshot and journal as /metrics and as a status page."""

import argparse
import asyncio
import errno
import gc
import platform
import signal
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn, TextIO

from fencer import __version__
from fencer.command_help import HelpLayout
from fencer.errors import UsageError

if TYPE_CHECKING:
    from fencer.exporter.server import Server

NAME: Final = "halvm-exporter"
DEFAULT_ADDRESS: Final = ":10623"
"""Prometheus' list of default ports has no free one in 9100 to 9999. 623 is IPMI's port."""
DEFAULT_SNAPSHOT: Final = "/run/fence-halvm/watchdogd.json"
DEFAULT_JOURNAL: Final = "/var/lib/fence-halvm/journal.db"
_BACKLOG: Final = 128
_EPILOG: Final = f"""\
examples:
  {NAME}                                          as its unit runs it
  {NAME} --web.listen-address=[::1]:10623         of this node alone
  {NAME} --web.config.file=/etc/halvm-exporter/web.yml
  curl http://localhost{DEFAULT_ADDRESS}/metrics  what Prometheus reads

More: man {NAME}
"""


def main() -> int:
    """Entry point. Returns the exit status."""
    try:
        return run(sys.argv[1:], sys.stderr)
    except UsageError as error:
        return _fail(str(error))
    except KeyboardInterrupt:
        return 0
    except ModuleNotFoundError as error:
        return _fail(f"the Python module {error.name} is missing: pip install 'fence-halvm[exporter]'")
    except Exception as error:  # noqa: BLE001 - a bug: print a sentence, no traceback
        return _fail(f"unexpected {type(error).__name__}: {error}; please report this")


def _fail(sentence: str) -> int:
    _say(sys.stderr, f"ERROR: {sentence}")
    return 1


def _say(stream: TextIO, text: str) -> None:
    """Writes one line to the log. A log that cannot be written must not stop the exporter."""
    line = "".join(c if c.isprintable() else "?" for c in text)
    try:
        stream.write(f"{NAME}: {line}\n")
        stream.flush()
    except (OSError, ValueError):
        return


class _ExporterArguments(argparse.ArgumentParser):
    """Raises UsageError on wrong usage."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}: see {NAME} --help")


def arguments() -> argparse.ArgumentParser:
    """The command line. The options are named as those of Prometheus' own exporters."""
    parser = _ExporterArguments(
        prog=NAME,
        description="Prometheus exporter and status page of fence-halvm: what the sidecar and the journal know.",
        epilog=_EPILOG,
        formatter_class=HelpLayout,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--web.listen-address",
        dest="addresses",
        action="append",
        metavar="[HOST]:PORT",
        help=f"address to listen on, may be repeated; [::1]:PORT for IPv6 (default {DEFAULT_ADDRESS}: all addresses)",
    )
    parser.add_argument(
        "--web.config.file",
        dest="web_config",
        metavar="PATH",
        help="TLS and basic auth, in the format of Prometheus' exporter-toolkit (default: neither)",
    )
    parser.add_argument(
        "--snapshot.file",
        dest="snapshot",
        default=DEFAULT_SNAPSHOT,
        metavar="PATH",
        help="what halvm-watchdogd publishes (default %(default)s)",
    )
    parser.add_argument(
        "--journal.file",
        dest="journal",
        default=DEFAULT_JOURNAL,
        metavar="PATH",
        help="journal of fences (default %(default)s)",
    )
    parser.add_argument("--version", action="version", version=f"{NAME} {__version__}")
    return parser


def run(argv: Sequence[str], stderr: TextIO) -> int:
    """Serves until SIGTERM or SIGINT. Raises UsageError."""
    given = arguments().parse_args(argv)
    from prometheus_client import CollectorRegistry, ProcessCollector  # not for --help

    from fencer.exporter.answers import Answers
    from fencer.exporter.metrics.collector import HalvmCollector
    from fencer.exporter.server import Server
    from fencer.exporter.sources import Sources
    from fencer.exporter.web_config import WebConfig
    from fencer.state.readings import Now

    def said(sentence: str) -> None:
        _say(stderr, sentence)

    config = WebConfig(Path(given.web_config) if given.web_config else None, said)
    sources = Sources(
        Path(given.snapshot).absolute(),
        Path(given.journal).absolute(),
        lambda: Now(time.time(), time.monotonic()),
        said,
    )
    collector = HalvmCollector(
        sources.read, time.perf_counter, __version__, platform.python_version(), lambda: config.current
    )
    others = CollectorRegistry(auto_describe=False)
    ProcessCollector(registry=others)
    server = Server(Answers(collector, others, sources.read, __version__, config, said), config.context)
    sockets = listen(given.addresses or [DEFAULT_ADDRESS])
    for each in sockets:
        said(f"listening on {_shown(each)}" + (" with TLS" if config.settings().tls is not None else ""))
    gc.collect()
    gc.freeze()  # these objects stay: no collection during a scrape has to visit them
    asyncio.run(_serve(server, sockets))
    return 0


async def _serve(server: "Server", sockets: Sequence[socket.socket]) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.stop)
    await server.serve(sockets)


def listen(addresses: Sequence[str]) -> list[socket.socket]:
    """Listening sockets. Raises UsageError naming the address and the remedy."""
    sockets: list[socket.socket] = []
    try:
        for address in addresses:
            sockets += _listen(address)
    except UsageError:
        for each in sockets:
            each.close()
        raise
    return sockets


def _listen(address: str) -> list[socket.socket]:
    host, port = split_address(address)
    if not host:
        return [_everywhere(address, port)]
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "not a host name"
        raise UsageError(f"--web.listen-address: {address}: {reason}: give an address of this node") from error
    bound: list[socket.socket] = []
    for family, where in dict.fromkeys((entry[0], entry[4]) for entry in found):
        try:
            bound.append(_bound(family, where))
        except OSError as error:
            for each in bound:
                each.close()
            raise _cannot(address, error) from error
    return bound


def _everywhere(address: str, port: int) -> socket.socket:
    """A socket for IPv6 and IPv4; for IPv4 only where the kernel has no IPv6."""
    try:
        try:
            return _bound(socket.AF_INET6, ("::", port), both=True)
        except OSError as error:
            if error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                raise
            return _bound(socket.AF_INET, ("0.0.0.0", port))  # noqa: S104 - all addresses is what the option says
    except OSError as error:
        raise _cannot(address, error) from error


def _bound(family: int, where: object, *, both: bool = False) -> socket.socket:
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if both else 1)
        bound.bind(where)  # type: ignore[arg-type]
        bound.listen(_BACKLOG)
        bound.setblocking(False)
    except BaseException:
        bound.close()
        raise
    return bound


def _cannot(address: str, error: OSError) -> UsageError:
    match error.errno:
        case errno.EADDRINUSE:
            remedy = "stop what listens there, or give another address"
        case errno.EACCES:
            remedy = "give a port from 1024 on"
        case _:
            remedy = "give an address of this node"
    return UsageError(f"--web.listen-address: {address}: {error.strerror}: {remedy}")


def split_address(address: str) -> tuple[str, int]:
    """Splits ``:10623``, ``127.0.0.1:10623`` or ``[::1]:10623`` into host and port.

    host is "" for all addresses. Raises UsageError.
    """
    host, colon, port = address.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not colon or not port.isascii() or not port.isdigit() or int(port) >= 1 << 16 or (":" in host and not bracketed):
        raise UsageError(f"--web.listen-address: {address!r}: not an address: give HOST:PORT, [IPV6]:PORT or :PORT")
    return host[1:-1] if bracketed else host, int(port)


def _shown(each: socket.socket) -> str:
    host, port = each.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
