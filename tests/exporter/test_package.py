"""What is installed beside the program: man page, unit, defaults; and the documentation that names them."""

import re
import subprocess
from pathlib import Path

import pytest

from fencer.exporter.main import DEFAULT_ADDRESS, DEFAULT_JOURNAL, DEFAULT_SNAPSHOT, arguments
from fencer.journal.file import DEFAULT_PATH
from fencer.state.snapshot import SNAPSHOT_NAME
from tests.exporter.test_harmless import tool

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "packaging" / "halvm-exporter.8"
UNIT = ROOT / "packaging" / "halvm-exporter.service"
OPTIONS = [option for action in arguments()._actions for option in action.option_strings if option.startswith("--")]


def test_every_option_is_in_the_man_page():
    page = PAGE.read_text().replace("\\-", "-")
    for option in OPTIONS:
        assert option in page
    for default in (DEFAULT_ADDRESS, DEFAULT_SNAPSHOT, DEFAULT_JOURNAL):
        assert default in page


def test_the_defaults_are_where_the_others_write():
    assert DEFAULT_JOURNAL == DEFAULT_PATH
    assert DEFAULT_SNAPSHOT.endswith("/" + SNAPSHOT_NAME)


@pytest.mark.peer
def test_the_man_page_formats_without_a_warning():
    command = [tool("groff"), "-ww", "-rCHECKSTYLE=2", "-man", "-Tutf8", "-z", str(PAGE)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.peer
def test_the_units_exposure_is_as_documented():
    command = [tool("systemd-analyze"), "security", "--offline=true", "--no-pager", str(UNIT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    found = re.search(r"Overall exposure level for halvm-exporter.service: ([0-9.]+)", done.stdout)
    assert found is not None, done.stderr
    assert float(found[1]) <= 1.3
    assert "**1.3 OK**" in (ROOT / "docs" / "exporter.md").read_text()


def test_the_unit_starts_what_is_documented():
    unit = UNIT.read_text()
    assert "ExecStart=/usr/sbin/halvm-exporter $ARGS\n" in unit
    for line in (
        "DynamicUser=yes",
        "SupplementaryGroups=systemd-journal\n",
        "CapabilityBoundingSet=\n",
        "ProtectSystem=strict",
        "MemoryDenyWriteExecute=yes",
    ):
        assert line in unit
    assert "EnvironmentFile=-/etc/default/halvm-exporter" in unit
