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
    strace = (tool("strace"), "-f", "-qq", "-e", "trace=%file,%network,ioctl,openat,write,pwrite64", "-o", str(log))
    with Exporter(healthy.path, prefix=strace) as exporter:
        exporter.get("/metrics")
        exporter.get("/")
        begins = len(log.read_text().splitlines())
        for _ in range(5):
            assert exporter.metrics()['halvm_snapshot_status{status="fresh"}'] == 1
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
    assert not [call for call in calls if call.startswith("open") and accepted in call], "only its time is looked at"
    strange = named - {str(healthy.snapshot), accepted, ""} - journals - above - {"/proc/sys/kernel/random/boot_id"}
    assert not {name for name in strange if not re.fullmatch(r"/proc/(self|\d+)/(stat|limits|fd)", name)}
    assert not [call for call in calls if call.startswith(("socket(", "connect(", "bind("))]
    assert not [call for call in calls if call.startswith("ioctl(") and not re.search("FIONBIO|TCGETS", call)]
    assert not [call for call in calls if call.startswith(("unlink", "rename", "mkdir", "pwrite64"))]
    assert not [call for call in calls if re.match(r"open.*O_(RDWR|WRONLY|CREAT)", call)]


_MESSAGES = ("recv", "send", "write", "accept", "getpeername", "getsockname")


def test_stopped_or_killed_it_holds_up_nobody_who_writes(healthy):
    """SIGSTOP in the middle of scrapes: journal and snapshot are written as quickly as without it."""
    with Exporter(healthy.path) as exporter:
        for number in range(10):
            with exporter.connect() as client:
                client.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
                time.sleep(number / 200)
                os.kill(exporter.pid, signal.SIGSTOP)
                began = time.monotonic()
                healthy.publish()
                healthy.record(scenes.monitor(number))
                took_s = time.monotonic() - began
                os.kill(exporter.pid, signal.SIGCONT)
            assert took_s < 4, "a writer waited for a reader that was stopped"
        assert exporter.metrics()['halvm_monitors_total{outcome="success",target="serv-0001"}'] == 11
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
                found = exporter.metrics()
                assert found['halvm_snapshot_status{status="fresh"}'] == 1
                assert found['halvm_journal_status{status="readable"}'] == 1
                place.record(scenes.monitor(1))
            assert exporter.stop() == 0
    finally:
        shutil.rmtree(directory)
