# SPDX-License-Identifier: Apache-2.0
"""What is installed beside the program: man page, unit, defaults; and the documentation that names them."""

from pathlib import Path

from fencer.exporter.main import DEFAULT_ADDRESS, DEFAULT_JOURNAL, DEFAULT_SNAPSHOT, arguments
from fencer.journal.file import DEFAULT_PATH
from fencer.state.snapshot import SNAPSHOT_NAME

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
