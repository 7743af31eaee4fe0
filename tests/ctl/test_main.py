# SPDX-License-Identifier: Apache-2.0
"""The program as people and scripts call it."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fencer.cluster.membership import read_membership
from fencer.ctl.main import arguments
from fencer.ctl.sources.cib import parse_cib
from fencer.ctl.sources.commands import ToolAnswer
from fencer.ctl.sources.luns import SharedStorage
from fencer.ctl.status.gather import gather, shared_devices, shared_groups

GOOD = Path(__file__).parent / "good"
ROOT = Path(__file__).parents[2]


def halvmctl(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, ROOT / "agents/halvmctl.py", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False, env={**os.environ})


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((), "the following arguments are required: WORD: see halvmctl --help"),
        (("nonsense",), "invalid choice: 'nonsense'"),
        (("check", "--cib"), "expected one argument"),
        (("check", "--cib=/nosuch"), "cib: /nosuch: No such file or directory: give the path of a readable file"),
        (("check", "--cib=/dev/null"), "cib: /dev/null: not a regular file"),
        (("check", f"--cib={GOOD}/cluster.conf"), "the root element is <cluster>: give what cibadmin --query prints"),
        (("check", f"--corosync-conf={GOOD}/cluster.conf"), "line 1: neither a section nor 'key: value'"),
        (("check", f"--lvm-conf={GOOD}/dlm.conf"), "neither a section nor name = value"),
        (("check", f"--dlm-conf={GOOD}/lvm.conf"), "devices is no word of dlm.conf"),
        (("status", "--local-node=nosuch", f"--cluster-conf={GOOD}/cluster.conf"), "has no node nosuch"),
    ],
)
def test_bad_input_is_one_sentence(words, sentence):
    done = halvmctl(*words)
    assert (done.returncode, done.stdout) == (1, "")
    assert sentence in done.stderr
    assert done.stderr.startswith("halvmctl: ERROR: ")
    assert done.stderr.count("\n") == 1


def test_a_check_as_text():
    conf = GOOD / "corosync.conf"
    done = halvmctl("check", f"--corosync-conf={conf}", "--local-node=serv-1")
    assert done.returncode == 2
    first, second, last = done.stdout.splitlines()
    assert first.startswith(f"{conf}: FAULT: no node is named serv-1, as this host is")
    assert second.startswith("    remedy: write the name")
    assert last == "1 fault."
    done = halvmctl("check", f"--corosync-conf={conf}")
    assert (done.returncode, done.stdout) == (0, "Nothing found that would make a failover fail.\n")


def test_a_caller_that_ignores_the_end_of_children_makes_no_failure_a_success():
    code = """
import signal
from fencer.ctl import main
from fencer.ctl.sources.commands import ask, run_program
signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # as a daemon may hand it on to what it runs
failing = ["sh", "-c", "exit 5"]
main.run = lambda *_: print(run_program(failing, "", 60).status, ask(failing, 60).problem)
main.main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "5 sh: exit status 5: no message\n"


def test_a_status_says_what_it_could_not_look_at():
    """Whatever runs on this machine: one screen, the same facts as JSON, and no traceback."""
    done = halvmctl("status", f"--cluster-conf={GOOD}/cluster.conf", "--local-node=serv-0001")
    assert not done.stderr
    assert done.returncode in (2, 3, 4)  # there is no such cluster here
    assert done.stdout.startswith("lvm-cluster as seen by serv-0001")
    assert all(len(line) <= 80 for line in done.stdout.splitlines())
    done = halvmctl("status", "--json", f"--cluster-conf={GOOD}/cluster.conf", "--local-node=serv-0001")
    document = json.loads(done.stdout)
    assert (document["status"], document["nodes"]) == (done.returncode, ["serv-0001", "serv-0002"])


def test_the_shared_groups_are_those_of_the_configuration():
    membership = read_membership(str(GOOD / "cluster.conf"), "serv-0001")
    assert shared_groups(membership, None) == ("shared_vg",)
    cib = parse_cib((GOOD / "cib.xml").read_bytes().replace(b'"vgname" value="shared_vg"', b'"vgname" value="b"'), "F")
    assert shared_groups(membership, cib) == ("shared_vg", "b")


def test_the_luns_that_fence_devices_name_themselves_are_shared_too():
    membership = read_membership(str(GOOD / "cluster.conf"), "serv-0001")
    assert shared_devices(membership, None) == ()
    content = (
        (GOOD / "cib.xml").read_bytes().replace(b'name="vg" value="shared_vg"', b'name="devices" value="/dev/a,/dev/b"')
    )
    assert shared_devices(membership, parse_cib(content, "F")) == (SharedStorage("", ("/dev/a", "/dev/b")),)


def test_programs_that_are_missing_leave_their_lines_out():
    view = gather(
        str(GOOD / "cluster.conf"), "serv-0001", (), lambda argv: ToolAnswer("", f"{argv[0]}: x", missing=True)
    )
    assert (view.quorum.value, view.quorum.problem) == (None, "")
    assert (view.pacemaker.value, view.pacemaker.problem) == (None, "")
    assert (view.vgs.value, view.vgs.problem) == (None, "")


def test_every_option_and_exit_status_is_in_the_man_page_and_in_the_docs():
    page = (ROOT / "packaging/halvmctl.8").read_text().replace("\\-", "-")
    docs = (ROOT / "docs/halvmctl.md").read_text()
    parsers = next(action for action in arguments()._actions if action.dest == "word").choices
    for word, parser in parsers.items():
        assert f".B {word}\n" in page
        for action in parser._actions:
            for option in action.option_strings:
                assert option in ("-h", "--help") or option in page
    for status in range(5):
        assert re.search(rf"^\| {status} \|", docs, re.MULTILINE)
        assert re.search(rf"(^|; ){status} [a-z]", page, re.MULTILINE)


@pytest.mark.peer
@pytest.mark.parametrize(
    "command",
    [["man", "--warnings", "-E", "UTF-8", "-l"], ["groff", "-ww", "-rCHECKSTYLE=2", "-man", "-Tutf8", "-z"]],
    ids=["man", "groff"],
)
def test_the_man_page_is_clean(command):
    done = subprocess.run([*command, ROOT / "packaging/halvmctl.8"], capture_output=True, text=True, check=True)
    assert not done.stderr
