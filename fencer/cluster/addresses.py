# SPDX-License-Identifier: Apache-2.0
"""This host's own addresses, and the names that /etc/hosts has for an address. Asks no name server."""

import contextlib
from _socket import AF_INET, AF_INET6, SOCK_CLOEXEC, SOCK_DGRAM, inet_ntop, inet_pton, socket  # as in fencer.worker
from collections.abc import Iterable, Mapping

from fencer.regular_file import read_regular_file

HOSTS_FILE = "/etc/hosts"
_SYSCTL = "/proc/sys/net"
_DISCARD = 9
"""Any port: nothing is sent to it."""


def packed(address: str) -> bytes | None:
    """The address in network order; None for what is not an IP address (a host name, say)."""
    try:
        return inet_pton(AF_INET6 if ":" in address else AF_INET, address)
    except (OSError, ValueError):
        return None


def is_cut_short(address: str) -> bool:
    """Whether it is numbers and dots, but no IPv4 address of four numbers: ``192.168.10``. Resolvers take it for
    192.168.0.10 (inet_aton(3))."""
    return bool(address) and not address.strip("0123456789.") and packed(address) is None


def is_own(number: bytes) -> bool:
    """Whether an interface of this host has this IP address, as corosync asks it (totemconfig.c). Never a loopback's.

    Only an own address can be bound; but for hosts that may bind any (ip_nonlocal_bind, usual beside keepalived).
    There the source address of what would be sent to it decides, which knows no secondary addresses.
    """
    if _is_loopback(number) or not any(number):  # the unspecified address can be bound, too
        return False
    family = AF_INET6 if len(number) == 16 else AF_INET
    address = inet_ntop(family, number)
    try:
        with contextlib.closing(socket(family, SOCK_DGRAM | SOCK_CLOEXEC)) as sock:
            if _may_bind_any("ipv6" if family == AF_INET6 else "ipv4"):
                sock.connect((address, _DISCARD))
                return packed(sock.getsockname()[0]) == number
            sock.bind((address, 0))
    except OSError:
        return False
    return True


def read_hosts(path: str = HOSTS_FILE) -> Mapping[str, frozenset[bytes]]:
    """Names, in lower case, and their addresses in network order, but for loopback ones. Empty when unreadable."""
    try:
        text = read_regular_file(path, link=True).decode("utf-8", "replace")
    except (OSError, ValueError):
        return {}
    found: dict[str, frozenset[bytes]] = {}
    for line in text.split("\n"):
        address, *names = line.partition("#")[0].split() or [""]
        number = packed(address)
        if number is None or _is_loopback(number):
            continue
        for name in names:
            found[name.casefold()] = found.get(name.casefold(), frozenset()) | {number}
    return found


def numbers(addresses: Iterable[str], hosts: Mapping[str, frozenset[bytes]]) -> frozenset[bytes]:
    """IP addresses and names that /etc/hosts knows, in network order."""
    found: set[bytes] = set()
    for address in addresses:
        number = packed(address)
        found |= {number} if number is not None else hosts.get(address.casefold(), frozenset())
    return frozenset(found)


def _is_loopback(number: bytes) -> bool:
    return number[0] == 127 if len(number) == 4 else number == bytes(15) + b"\1"


def _may_bind_any(family: str) -> bool:
    try:
        with open(f"{_SYSCTL}/{family}/ip_nonlocal_bind", encoding="ascii") as file:
            return file.read().strip() != "0"
    except (OSError, ValueError):
        return False
