# SPDX-License-Identifier: Apache-2.0
"""The exporter adds no risk: it opens nothing but its two files, asks no disk and no BMC, holds nobody up."""

import importlib.util
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import pytest

from fencer.exporter.sources import PATHS_ACCEPTED
from fencer.journal.file import JournalBusy
from tests import scenes
from tests.exporter.conftest import Place
from tests.exporter.rig import Exporter


def tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"{name} is missing")
        pytest.skip(f"{name} is missing")
    return found


@pytest.mark.peer
def test_a_scrape_opens_nothing_but_the_two_files(healthy, tmp_path):
    """Under strace: no device, no socket but the accepted one, no ioctl to a disk, nothing written."""
    log = tmp_path / "strace.log"
    healthy.journal.with_name(PATHS_ACCEPTED).touch()
    strace = (tool("strace"), "-f", "-qq", "-e", "trace=%file,%network,ioctl,openat,write,pwrite64", "-o", str(log))
    with Exporter(healthy.path, prefix=strace) as exporter:
        exporter.get("/metrics")
        exporter.get("/")
        begins = len(log.read_text().splitlines())
        for _ in range(5):
            exporter.shows('halvm_snapshot_status{status="fresh"}')
            assert exporter.get("/")[0] == 200
            healthy.publish()
            healthy.record(scenes.monitor(1))
        assert exporter.stop() == 0
    calls = [line.split(" ", 1)[1].strip() for line in log.read_text().splitlines()[begins:]]
    named = {found[1] for call in calls if not call.startswith(_MESSAGES) and (found := re.search(r'"([^"]*)"', call))}
    assert str(healthy.snapshot) in named, "strace saw nothing"
    journals = {f"{healthy.journal}{end}" for end in ("", "-wal", "-shm", "-journal")}
    above = {str(parent) for parent in healthy.snapshot.parents}
    accepted = str(healthy.journal.with_name(PATHS_ACCEPTED))
    assert accepted in named
    assert not [call for call in calls if call.startswith("open") and accepted in call], "only its time is looked at"
    strange = named - {str(healthy.snapshot), accepted, ""} - journals - above - {"/proc/sys/kernel/random/boot_id"}
    assert not {name for name in strange if not re.fullmatch(r"/proc/(self|\d+)/(stat|limits|fd)", name)}
    assert not [call for call in calls if call.startswith(("socket(", "connect(", "bind("))]
    assert not [call for call in calls if call.startswith("ioctl(") and not re.search("FIONBIO|TCGETS", call)]
    assert not [call for call in calls if call.startswith(("unlink", "rename", "mkdir", "pwrite64"))]
    assert not [call for call in calls if re.match(r"open.*O_(RDWR|WRONLY|CREAT)", call)]


_MESSAGES = ("recv", "send", "write", "accept", "getpeername", "getsockname")


def test_stopped_or_killed_it_holds_up_no_writer(healthy):
    """SIGSTOP in the middle of scrapes: journal and snapshot are written while it is stopped.

    A stop that falls into SQLite's own short lock makes the journal busy. Then the event is kept, and recorded with the
    next one: the writer does not wait for the reader.
    """
    with Exporter(healthy.path) as exporter:
        kept = 0
        for number in range(10):
            with exporter.connect() as client:
                client.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
                time.sleep(number / 200)
                os.kill(exporter.pid, signal.SIGSTOP)
                healthy.publish()
                try:
                    healthy.record(scenes.monitor(number))
                except JournalBusy:
                    kept += 1
                os.kill(exporter.pid, signal.SIGCONT)
        assert kept < 5, "a reader that was stopped kept events from being recorded"
        healthy.record(scenes.monitor(number))
        exporter.shows('halvm_monitors_total{outcome="success",target="serv-0001"}', 12)
        exporter.kill()
        healthy.publish()
        healthy.record(scenes.monitor())


def installed(site: Path) -> tuple[str, ...]:
    """The exporter and what it needs where everybody may read it, which the checkout need not be; how to run it."""
    for name in ("fencer", "prometheus_client", "h11", "yaml", "bcrypt"):
        found = importlib.util.find_spec(name)
        assert found is not None
        assert found.submodule_search_locations is not None
        shutil.copytree(found.submodule_search_locations[0], site / name, ignore=shutil.ignore_patterns("__pycache__"))
    run = "import sys; from fencer.exporter.main import main; sys.exit(main())"
    return ("env", f"PYTHONPATH={site}", os.path.realpath(sys.executable), "-c", run)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give its rights up")
def test_without_any_right(tmp_path):
    """As DynamicUser runs it: another user, no capability, no new privileges; files written by root, in a directory of
    the group that SupplementaryGroups= gives it."""
    directory = Path(tempfile.mkdtemp(prefix="halvm-exporter-", dir="/tmp"))
    try:
        directory.chmod(0o755)
        os.chown(directory, -1, 65534)
        place = Place(directory)
        place.publish()
        place.snapshot.chmod(0o644)
        place.record(scenes.unfence(), scenes.monitor())
        drop = (
            tool("setpriv"),
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            "--inh-caps=-all",
            "--bounding-set=-all",
            "--no-new-privs",
        )
        with Exporter(directory, prefix=drop, program=installed(directory / "site")) as exporter:
            status = Path(f"/proc/{exporter.pid}/status").read_text()
            assert "CapEff:\t0000000000000000" in status
            for _ in range(3):
                exporter.shows('halvm_snapshot_status{status="fresh"}')
                exporter.shows('halvm_journal_status{status="readable"}')
                place.record(scenes.monitor(1))
            assert exporter.stop() == 0
    finally:
        shutil.rmtree(directory)
