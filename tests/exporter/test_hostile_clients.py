# SPDX-License-Identifier: Apache-2.0
"""Clients that crowd, dawdle, shout or never read cost only themselves something."""

import contextlib
import random
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fencer.exporter import server
from tests import scenes
from tests.exporter.rig import Exporter, slow_clients, until

REQUEST = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
def exporter(healthy):
    with Exporter(healthy.path) as running:
        yield running
        assert running.process.poll() is None
        assert "Traceback" not in running.log()
        assert "unexpected" not in running.log()


def threads(exporter: Exporter) -> int:
    return len(list(Path(f"/proc/{exporter.pid}/task").iterdir()))


def descriptors(exporter: Exporter) -> int:
    return len(list(Path(f"/proc/{exporter.pid}/fd").iterdir()))


@pytest.mark.slow
def test_fifty_scrapers_at_once_are_all_served(exporter):
    def scrape(_: int) -> int:
        return sum(exporter.get("/metrics")[0] == 200 for _ in range(4))

    with ThreadPoolExecutor(50) as pool:
        assert sum(pool.map(scrape, range(50))) == 200
    assert threads(exporter) <= 2


@pytest.mark.slow
def test_more_connections_than_places_do_not_keep_a_scraper_out(exporter):
    """The ones that hold a place without asking for anything give way."""
    with slow_clients(exporter, server.CONNECTIONS_MOST * 3, b"GET /metrics HTTP/1.1\r\nHost: x\r\n"):
        for _ in range(5):
            assert exporter.get("/metrics")[0] == 200
        assert descriptors(exporter) < server.CONNECTIONS_MOST + 40
    assert exporter.get("/-/healthy")[0] == 200


@pytest.mark.slow
def test_clients_that_never_read_do_not_keep_a_scraper_out(place):
    """Their answers are longer than any socket's buffer; memory stays bounded, and in time they are dropped."""
    place.publish(scenes.snapshot(nodes=16, luns=64, paths=4))
    with Exporter(place.path) as exporter, slow_clients(exporter, 60, REQUEST * 40):
        before = exporter.rss_bytes()
        assert exporter.get("/metrics")[0] == 200
        assert exporter.rss_bytes() - before < 100 << 20
        until(lambda: descriptors(exporter) < 20, server.ANSWER_S * 3)
        assert exporter.get("/metrics")[0] == 200


@pytest.mark.slow
def test_a_header_that_dribbles_in_is_cut_off(exporter):
    with exporter.connect() as client:
        began = time.monotonic()
        with contextlib.suppress(OSError):
            for byte in REQUEST[:-4] + b"\r\nX: " + b"y" * 1000:
                client.sendall(bytes([byte]))
                time.sleep(0.25)
                if time.monotonic() - began > server.REQUEST_S * 3:
                    break
        assert time.monotonic() - began < server.REQUEST_S * 2
        assert exporter.get("/-/healthy")[0] == 200


@pytest.mark.parametrize(
    ("data", "answer"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: " + b"a" * 100_000 + b"\r\n\r\n", b"431"),
        (b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", b"431"),
        (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 10_000 + b"\r\n", b"4"),
        (b"GET / HTTP/1.1\r\n\r\n", b"400"),  # no Host
        (b"nonsense\r\n\r\n", b"400"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500), b"400"),  # a TLS client
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n" + b"a" * 1_000_000, b"413"),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b""),
        (b"GET /%00%ff HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", b"404"),
    ],
)  # fmt: skip
def test_what_is_no_request_is_refused(exporter, data, answer):
    said = exporter.raw(data)
    assert said.startswith(b"HTTP/1.1 " + answer) or (said == b"" and answer in (b"431", b"413", b"400"))
    assert exporter.get("/-/healthy")[0] == 200


@pytest.mark.slow
def test_a_thousand_malformed_requests_leave_no_trace(exporter):
    chance = random.Random(5)
    exporter.get("/metrics")
    before = descriptors(exporter)

    def shout(_: int) -> None:
        noise = bytes(chance.randrange(256) for _ in range(chance.randrange(1, 400)))
        torn = REQUEST[: chance.randrange(len(REQUEST))]
        exporter.raw(chance.choice((noise, torn + noise, noise + REQUEST, torn, REQUEST[:-2] + noise)), timeout_s=10)

    times = []
    with ThreadPoolExecutor(8) as pool:
        shouting = [pool.submit(shout, number) for number in range(1000)]
        while not all(done.done() for done in shouting):
            began = time.monotonic()
            assert exporter.get("/metrics")[0] == 200
            times.append(time.monotonic() - began)
        for done in shouting:
            done.result()
    assert statistics.median(times) < 5
    until(lambda: descriptors(exporter) <= before + 1)
    assert threads(exporter) <= 2
