# SPDX-License-Identifier: Apache-2.0
"""The socket takes packets of the BMC and of no other sender, and a name that does not exist is no riddle."""

import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from fencer.errors import BmcRefused, BmcUnreachable
from fencer.model import BmcSettings, Secret
from fencer.power.ipmi import IpmiChassisPower
from fencer.power.udp import MOST_AT_ONCE, BmcDatagrams, reason_of, resolve

FAMILIES = {"127.0.0.1": socket.AF_INET, "::1": socket.AF_INET6, "::ffff:127.0.0.1": socket.AF_INET}


@pytest.fixture(params=FAMILIES)
def bmc(request: pytest.FixtureRequest) -> Iterator[tuple[str, socket.socket]]:
    """An address as an operator may write it, and the socket behind it."""
    address: str = request.param
    with socket.socket(FAMILIES[address], socket.SOCK_DGRAM) as bound:
        bound.bind((address.removeprefix("::ffff:"), 0))
        bound.settimeout(20.0)
        yield address, bound


@pytest.fixture
def datagrams(bmc: tuple[str, socket.socket]) -> Iterator[BmcDatagrams]:
    opened = BmcDatagrams(resolve(bmc[0], bmc[1].getsockname()[1]))
    yield opened
    opened.close()


def test_packets_of_the_bmc_arrive_and_no_others(bmc: tuple[str, socket.socket], datagrams: BmcDatagrams) -> None:
    _, bound = bmc
    datagrams.send(b"question")
    question, ours = bound.recvfrom(100)
    assert question == b"question"
    with socket.socket(bound.family, socket.SOCK_DGRAM) as stranger:
        for _ in range(50):
            stranger.sendto(b"flood", ours)
    bound.sendto(b"answer", ours)
    assert [packet for _, packet in datagrams.receive(2.0)] == [b"answer"]
    assert datagrams.receive(0.0) == []


def test_no_socket_takes_packets_of_every_address(bmc: tuple[str, socket.socket], datagrams: BmcDatagrams) -> None:
    """Who floods looks for such sockets in /proc/net/udp and udp6."""
    datagrams.send(b"question")
    port = bmc[1].recvfrom(100)[1][1]
    lines = [line.split() for name in ("udp", "udp6") for line in Path("/proc/net", name).read_text().splitlines()[1:]]
    ours = [fields for fields in lines if fields[1].endswith(f":{port:04X}") and not fields[2].endswith(":0000")]
    assert len(ours) == 1
    assert set(ours[0][1].partition(":")[0]) != {"0"}


def test_a_turn_takes_a_bounded_number(bmc: tuple[str, socket.socket], datagrams: BmcDatagrams) -> None:
    datagrams.send(b"question")
    ours = bmc[1].recvfrom(100)[1]
    for _ in range(MOST_AT_ONCE + 8):
        bmc[1].sendto(b"noise", ours)
    assert len(datagrams.receive(1.0)) == MOST_AT_ONCE
    assert len(datagrams.receive(1.0)) == 8


def test_a_refused_port_costs_no_packet() -> None:
    """The kernel reports an ICMP error in place of sending."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    datagrams = BmcDatagrams(resolve("127.0.0.1", port))
    datagrams.send(b"lost")
    assert datagrams.receive(0.2) == []
    datagrams.send(b"lost, too")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.bind(("127.0.0.1", port))
        bound.settimeout(20.0)
        datagrams.send(b"question")
        assert bound.recv(100) == b"question"
    datagrams.close()


def _unused_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


def test_what_the_network_says_of_a_packet_is_told() -> None:
    told: list[OSError] = []
    port = _unused_port()
    datagrams = BmcDatagrams(resolve("127.0.0.1", port), told.append)
    datagrams.send(b"lost")
    datagrams.receive(0.2)
    datagrams.send(b"lost, too")
    datagrams.send(b"lost, too")
    datagrams.close()
    assert {reason_of(error, port) for error in told} - {""} == {
        f"nothing listens on its UDP port {port}: correct ip= or ipport=, or switch on IPMI over LAN there"
    }


def test_an_address_of_several_that_is_refused_is_not_told() -> None:
    told: list[OSError] = []
    both = [*resolve("127.0.0.1", _unused_port()), *resolve("127.0.0.2", _unused_port())]
    datagrams = BmcDatagrams(both, told.append)
    datagrams.send(b"lost")
    datagrams.receive(0.2)
    datagrams.send(b"lost, too")
    datagrams.close()
    assert told == []


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (
            errno.EPERM,
            "this host lets no packet out to it (Operation not permitted): open UDP port 623 in its firewall",
        ),
        (errno.EACCES, "this host lets no packet out to it (Permission denied): open UDP port 623 in its firewall"),
        (errno.EHOSTUNREACH, "the network cannot reach it (No route to host): check its address, network and power"),
        (
            errno.ENETUNREACH,
            "the network cannot reach it (Network is unreachable): check its address, network and power",
        ),
        (errno.EAGAIN, ""),
        (errno.ENOBUFS, ""),
    ],
)
def test_what_an_error_says_of_the_bmc(number: int, says: str) -> None:
    reason = reason_of(OSError(number, os.strerror(number)), 623)
    assert reason.startswith(says)
    assert bool(reason) is bool(says)


def test_of_several_addresses_the_one_that_answers_is_kept() -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as first,
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as second,
    ):
        first.bind(("127.0.0.1", 0))
        second.bind(("::1", first.getsockname()[1]))
        for each in (first, second):
            each.settimeout(20.0)
        datagrams = BmcDatagrams([(each.family, each.getsockname()) for each in (first, second)])
        datagrams.send(b"question")
        assert first.recv(100) == b"question"
        second.sendto(b"answer", second.recvfrom(100)[1])
        [(sender, packet)] = datagrams.receive(2.0)
        assert packet == b"answer"
        datagrams.keep(sender)
        datagrams.send(b"more")
        assert second.recv(100) == b"more"
        first.settimeout(0.05)
        with pytest.raises(TimeoutError):
            first.recv(100)
        datagrams.close()


@pytest.mark.parametrize(
    ("number", "error"),
    [(socket.EAI_NONAME, BmcRefused), (socket.EAI_AGAIN, BmcUnreachable), (socket.EAI_FAIL, BmcUnreachable)],
)
def test_a_name_that_does_not_exist_is_final(
    monkeypatch: pytest.MonkeyPatch, number: int, error: type[Exception]
) -> None:
    """A name server that fails for a moment is not."""

    def fail(*_: object) -> None:
        raise socket.gaierror(number, "said the resolver")

    monkeypatch.setattr("_socket.getaddrinfo", fail)
    power = IpmiChassisPower(BmcSettings("bmc.example", 623, b"", Secret(b"")))
    with pytest.raises(error, match=r"bmc\.example"):
        power.open()
