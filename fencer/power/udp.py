# SPDX-License-Identifier: Apache-2.0
"""UDP to one BMC and to no other host: connected sockets, so that the kernel drops what others send.

A socket that is not connected takes datagrams from any local user, who finds its port in /proc/net/udp and can flood
it (docs/decisions/0013).
"""

import _socket as socket  # its Python half makes enumerations of all constants, as long as the whole login takes
import errno
from collections.abc import Callable, Sequence

from fencer.readable import readable

MOST_AT_ONCE = 32
"""Datagrams that are taken in one turn, so that timers are looked at between two turns."""
_LONGEST_DATAGRAM_BYTES = 1024  # an RMCP+ packet of ours is answered with 100
_MOST_ADDRESSES = 4

Address = tuple[int, tuple[object, ...]]
"""Address family, and what connect(2) takes."""


def resolve(host: str, port: int) -> tuple[Address, ...]:
    """The addresses of a BMC, best first. Raises socket.gaierror."""
    # As text it would be encoded by the codec idna, which loads regular expressions and Unicode tables for any name.
    name = host.encode("ascii") if host.isascii() else host
    found = socket.getaddrinfo(name, port, 0, socket.SOCK_DGRAM)
    return tuple(dict.fromkeys((family, address) for family, _, _, _, address in found))[:_MOST_ADDRESSES]


class BmcDatagrams:
    """Datagrams to and from one BMC (``Datagrams``); where its name has several addresses, of all until one is kept."""

    def __init__(self, addresses: Sequence[Address], failed: Callable[[OSError], None] = lambda _: None) -> None:
        """Raises OSError when no address can be reached from this host.

        failed: told why a packet was not sent, or what the network says of one that was. Not while the BMC has several
        addresses, of which one may do.
        """
        self._told = failed
        self._sockets: list[socket.socket] = []
        failure: OSError | None = None
        for family, address in addresses:
            try:
                self._sockets.append(_connected(family, address))
            except OSError as error:
                failure = failure or error
        if not self._sockets:
            raise failure or OSError("no address")

    def _failed(self, error: OSError) -> None:
        if len(self._sockets) == 1:
            self._told(error)

    def send(self, packet: bytes) -> None:
        """Sends to every address that is left. What cannot be sent is lost, as on the line."""
        for each in self._sockets:
            for _ in range(2):  # an ICMP error that came meanwhile is reported once, in place of sending
                try:
                    each.send(packet)
                    break
                except OSError as error:
                    self._failed(error)

    def receive(self, timeout_s: float) -> list[tuple[int, bytes]]:
        """Waits for datagrams: each with the number of its sender, for ``keep``. At most MOST_AT_ONCE for a sender."""
        readable(self._sockets, timeout_s)
        received: list[tuple[int, bytes]] = []
        for each in self._sockets:
            try:
                for _ in range(MOST_AT_ONCE):
                    received.append((each.fileno(), each.recv(_LONGEST_DATAGRAM_BYTES)))
            except OSError as error:  # nothing left, or an ICMP error: silence as well
                self._failed(error)
        return received

    def keep(self, sender: int) -> None:
        """From now on only this sender counts."""
        if len(self._sockets) > 1:
            for each in self._sockets:
                if each.fileno() != sender:
                    each.close()
            self._sockets = [each for each in self._sockets if each.fileno() == sender]

    def close(self) -> None:
        for each in self._sockets:
            each.close()
        self._sockets = []


def reason_of(error: OSError, port: int) -> str:
    """What an error of a socket says about the BMC, with a remedy; "" for one that says nothing."""
    match error.errno:
        case errno.EPERM | errno.EACCES:
            return f"this host lets no packet out to it ({error.strerror}): open UDP port {port} in its firewall"
        case errno.ECONNREFUSED:
            return f"nothing listens on its UDP port {port}: correct ip= or ipport=, or switch on IPMI over LAN there"
        case errno.EHOSTUNREACH | errno.ENETUNREACH:
            return f"the network cannot reach it ({error.strerror}): check its address, network and power"
    return ""


def _connected(family: int, address: tuple[object, ...]) -> socket.socket:
    opened = socket.socket(family, socket.SOCK_DGRAM)
    try:
        if family == socket.AF_INET6:  # a mapped address (::ffff:192.0.2.1) is IPv4 on an IPv6 socket
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        opened.setblocking(False)
        opened.connect(address)
    except BaseException:
        opened.close()
        raise
    return opened
