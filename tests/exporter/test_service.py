# SPDX-License-Identifier: Apache-2.0
"""The exporter as an operator meets it: start, answers, bad input, signals."""

import gzip
import signal
import socket
import subprocess
import time

import pytest

from fencer.exporter.answers import REUSE_S
from fencer.exporter.page.page import CONTENT_SECURITY_POLICY
from tests import scenes
from tests.exporter.metrics.promtool import promtool
from tests.exporter.rig import Exporter, run


@pytest.mark.peer
def test_a_scrape_is_clean_and_complete(healthy):
    with Exporter(healthy.path) as exporter:
        status, headers, body = exporter.get("/metrics")
        assert (status, headers["Content-Type"].split(";")[0]) == (200, "text/plain")
        assert b'halvm_snapshot_status{status="fresh"} 1.0' in body
        assert (
            b'halvm_fences_total{action="reboot",outcome="success",proof="power+storage",target="serv-0001"} 1.0'
            in body
        )
        assert b'halvm_step_duration_seconds_count{kind="fence",step="isolate"} 2.0' in body
        assert b'halvm_last_monitor_success{target="serv-0001"} 1.0' in body
        assert b'halvm_bmc_reachable{target="serv-0001"} 1.0' in body
        assert b"process_resident_memory_bytes" in body
    done = subprocess.run([promtool(), "check", "metrics"], input=body, capture_output=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_openmetrics_gzip_and_head(healthy):
    with Exporter(healthy.path) as exporter:
        accept = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
        status, headers, body = exporter.get("/metrics", {"Accept": accept, "Accept-Encoding": "gzip"})
        assert (status, headers["Content-Encoding"]) == (200, "gzip")
        assert headers["Content-Type"].startswith("application/openmetrics-text")
        assert gzip.decompress(body).endswith(b"# EOF\n")
        assert "Content-Encoding" not in exporter.get("/metrics", {"Accept-Encoding": "gzip;q=0"})[1]
        status, headers, body = exporter.get("/metrics", method="HEAD")
        assert (status, body) == (200, b"")
        assert int(headers["Content-Length"]) > 1000


def test_every_path_has_its_answer(healthy):
    with Exporter(healthy.path) as exporter:
        assert exporter.get("/-/healthy")[0] == 200
        assert exporter.get("/-/ready")[0] == 200
        status, headers, body = exporter.get("/")
        assert (status, headers["Content-Security-Policy"]) == (200, CONTENT_SECURITY_POLICY)
        assert "All is well" in body.decode() or "thing" in body.decode()
        assert exporter.get("/nowhere")[0] == 404
        assert exporter.get("/../etc/passwd")[0] == 404
        status, headers, _ = exporter.get("/metrics", method="POST")
        assert (status, headers["Allow"]) == (405, "GET, HEAD")
        assert exporter.get("/metrics?name[]=x")[0] == 200
        assert exporter.log().count("\n") == 1, "a request is no line in the log"


def test_a_connection_is_kept_for_the_next_scrape(healthy):
    with Exporter(healthy.path) as exporter, exporter.connect() as client:
        for _ in range(3):
            client.sendall(b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n")
            answer = b""
            while not answer.endswith(b"200 OK\n"):
                got = client.recv(4096)
                assert got
                answer += got


def test_ipv6_and_several_addresses(healthy):
    with Exporter(healthy.path, listen=("127.0.0.1:0", "[::1]:0")) as exporter:
        for family, host, port in (
            (socket.AF_INET, "127.0.0.1", exporter.ports[0]),
            (socket.AF_INET6, "::1", exporter.ports[1]),
        ):
            with socket.socket(family) as client:
                client.settimeout(10)
                client.connect((host, port))
                client.sendall(b"GET /-/healthy HTTP/1.0\r\n\r\n")
                assert client.recv(100).startswith(b"HTTP/1.1 200")


def test_everywhere_is_both_families(healthy):
    with Exporter(healthy.path, listen=(":0",)) as exporter:
        for host in ("127.0.0.1", "::1"):
            socket.create_connection((host, exporter.port), timeout=10).close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_order(healthy, number):
    with Exporter(healthy.path) as exporter, exporter.connect() as idle:
        assert exporter.get("/metrics")[0] == 200
        began = time.monotonic()
        assert exporter.stop(number) == 0
        assert time.monotonic() - began < 20
        assert idle.recv(10) == b""
        assert "Traceback" not in exporter.log()


def test_what_is_under_way_is_answered_before_the_end(healthy):
    """A client that has asked and does not read yet gets its whole answer although SIGTERM came in between."""
    with Exporter(healthy.path) as exporter, exporter.connect() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        time.sleep(0.5)
        exporter.process.send_signal(signal.SIGTERM)
        answer = b""
        while got := client.recv(65536):
            answer += got
        assert exporter.process.wait(15) == 0
    head, _, body = answer.partition(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    assert len(body) == length


def test_a_port_in_use_is_one_sentence(healthy):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        status, said = run(f"--web.listen-address={address}")
    assert status == 1
    assert said == (
        f"halvm-exporter: ERROR: --web.listen-address: {address}: Address already in use: "
        "stop what listens there, or give another address\n"
    )


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--web.listen-address=nonsense"], "not an address: give HOST:PORT"),
        (["--web.listen-address=127.0.0.1:99999"], "not an address"),
        (["--web.listen-address=::1:80"], "not an address"),
        (["--web.listen-address=192.0.2.1:10623"], "give an address of this node"),
        (["--web.listen-address=no-such-host.invalid:10623"], "give an address of this node"),
        (["--web.config.file=/nonexistent"], "No such file or directory: give a file that can be read"),
        (["--no-such-option"], "unrecognized arguments: --no-such-option: see halvm-exporter --help"),
        (["--web.listen-address"], "expected one argument"),
    ],
)
def test_bad_input_is_one_sentence(argv, words):
    status, said = run(*argv)
    assert (status, said.count("\n")) == (1, 1)
    assert said.startswith("halvm-exporter: ERROR: ")
    assert words in said


def test_help_and_version():
    status, said = run("--help")
    assert status == 0
    for option in ("--web.listen-address", "--web.config.file", "--snapshot.file", "--journal.file"):
        assert option in said
    assert run("--version")[1].startswith("halvm-exporter ")


def test_a_crowd_gets_one_answer_and_a_later_scraper_another(healthy):
    with Exporter(healthy.path) as exporter:

        def age():
            body = exporter.get("/metrics")[2].decode()
            return float(next(line for line in body.splitlines() if line.startswith("halvm_snapshot_age")).split()[1])

        first = age()
        time.sleep(REUSE_S)
        assert age() > first


def test_nothing_installed_is_an_answer(place):
    with Exporter(place.path) as exporter:
        found = exporter.metrics()
        assert found['halvm_snapshot_status{status="missing"}'] == 1
        assert found['halvm_journal_status{status="missing"}'] == 1
        assert found['halvm_exporter_collector_success{collector="read"}'] == 1
        assert not any(name.startswith(("halvm_watchdog", "halvm_lun", "halvm_fence")) for name in found)
        assert "Nothing to see yet" in exporter.get("/")[2].decode()


@pytest.mark.slow
def test_it_follows_what_happens(place):
    """Files that come, change, grow stale and go while it runs."""
    with Exporter(place.path) as exporter:
        place.publish()
        place.record(scenes.monitor(300))
        exporter.shows("halvm_watchdog_armed")
        exporter.shows('halvm_monitors_total{outcome="success",target="serv-0001"}')
        place.record(scenes.fence(60), scenes.monitor(30))
        found = exporter.shows('halvm_monitors_total{outcome="success",target="serv-0001"}', 2)
        assert (
            found['halvm_fences_total{action="reboot",outcome="success",proof="power+storage",target="serv-0001"}'] == 1
        )
        place.publish(interval_s=1.0)
        found = exporter.shows('halvm_snapshot_status{status="stale"}')
        assert found["halvm_snapshot_age_seconds"] > 5
        assert not any(
            name.startswith(("halvm_watchdog", "halvm_lun", "halvm_path_", "halvm_sidecar")) for name in found
        )
        assert "has been silent for" in exporter.get("/")[2].decode()
        place.publish()
        exporter.shows("halvm_watchdog_armed")
        place.snapshot.unlink()
        exporter.shows('halvm_snapshot_status{status="missing"}')
        for left in place.path.glob("journal.db*"):
            left.unlink()
        exporter.shows('halvm_journal_status{status="missing"}')
        assert exporter.process.poll() is None
