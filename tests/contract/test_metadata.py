# SPDX-License-Identifier: Apache-2.0
"""Metadata: golden, valid, and read as meant by its readers."""

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import peer_options
import pytest
from lxml import etree

from fencer.agent.metadata import metadata_xml
from fencer.agent.options import OPTIONS

HERE = Path(__file__).parent
SBIN_AGENT = Path("/usr/sbin/fence_halvm")

# An agent that only tells its metadata: what is tested is what Pacemaker makes of the document.
WRAPPER = f"#!/bin/sh\nexec {Path(sys.executable).with_name('fence_halvm')}\n"


@pytest.fixture(scope="module")
def schema():
    return etree.RelaxNG(etree.parse(HERE / "metadata.rng"))


def test_golden():
    """After a wanted change: ``make texts``."""
    assert metadata_xml() == (HERE / "golden" / "metadata.xml").read_text()


def test_valid(schema):
    schema.assertValid(etree.fromstring(metadata_xml().encode()))


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ('deprecated="1"', 'deprecated="1" obsoletes="x"'),
        ('type="second"', 'type="seconds"'),
        ('required="1"', 'required="yes"'),
        ('mixed="-o, --action', 'mixed="action'),
        ('on_target="1"', 'ontarget="1"'),
        ("<vendor-url></vendor-url>", ""),
    ],
)
def test_the_schema_refuses(schema, wrong, right):
    assert wrong in metadata_xml()
    assert not schema.validate(etree.fromstring(metadata_xml().replace(wrong, right).encode()))


@pytest.mark.peer
@pytest.mark.parametrize("agent", ["fence_ipmilan", "fence_scsi", "fence_mpath", "fence_sbd"])
def test_the_schema_takes_the_peers(schema, agent):
    schema.assertValid(etree.fromstring(peer_options.metadata_of(agent)))


@pytest.mark.peer
def test_valid_by_other_hands(tmp_path):
    document = tmp_path / "metadata.xml"
    document.write_text(metadata_xml())
    command = [peer_options.needs("xmllint"), "--noout", "--relaxng", str(HERE / "metadata.rng"), str(document)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_pacemaker_plans_by():
    tree = etree.fromstring(metadata_xml().encode())
    actions = {action.get("name"): action for action in tree.iter("action")}
    assert {"reboot", "off", "on", "status", "monitor"} <= set(actions)
    assert not {"list", "list-status"} & set(actions)  # with list it would default to dynamic-list
    assert (actions["on"].get("on_target"), actions["on"].get("automatic")) == ("1", "0")
    names = [parameter.get("name") for parameter in tree.iter("parameter")]
    assert {"plug", "port"} <= set(names)
    assert "nodename" not in names
    assert len(names) == len(set(names))


def test_it_is_far_below_a_pipe():
    """A caller need not read while we write."""
    assert len(metadata_xml().encode()) < 32768
    assert metadata_xml().isascii()


def test_markup_in_a_row_is_escaped(monkeypatch):
    row = OPTIONS[0]._replace(short_description='<&">', default="'\"<")
    monkeypatch.setattr("fencer.agent.metadata.OPTIONS", (row,))
    tree = etree.fromstring(metadata_xml().encode())
    assert tree.find(".//parameter/shortdesc").text == '<&">'
    assert tree.find(".//content").get("default") == "'\"<"


@pytest.fixture
def installed():
    """The agent where Pacemaker looks for agents, for the duration of a test."""
    if os.geteuid() != 0:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("only root can put an agent into /usr/sbin")
    with Path("/run/lock/fence-halvm-test").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another run of these tests beside this one
        try:
            with SBIN_AGENT.open("x") as agent:
                agent.write(WRAPPER)
        except FileExistsError:
            pytest.skip(f"{SBIN_AGENT} is there already and is not ours to replace")
        SBIN_AGENT.chmod(0o755)
        yield
        SBIN_AGENT.unlink()


@pytest.mark.peer
def test_stonith_admin_reads_it(installed):
    stonith_admin = peer_options.needs("stonith_admin")
    done = subprocess.run(
        [stonith_admin, "--metadata", "-a", "fence_halvm"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    names = {parameter.get("name") for parameter in etree.fromstring(done.stdout.encode()).iter("parameter")}
    assert names == {name for row in OPTIONS if row.in_metadata for name in (row.name, *row.old_names)}
    listed = subprocess.run([stonith_admin, "-I"], capture_output=True, text=True, timeout=60, check=False)
    assert "fence_halvm" in listed.stdout
