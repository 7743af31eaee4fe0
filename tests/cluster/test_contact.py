# SPDX-License-Identifier: Apache-2.0
"""Whether two nodes have met, by corosync's map: texts, failures, and a real corosync in namespaces of its own."""

import errno
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from fencer.child_program import Done
from fencer.cluster.contact import CMAP, Contact, ask_contact, parse_contact

ALONE = """\
nodelist.local_node_pos (u32) = 0
nodelist.node.0.name (str) = serv-0001
nodelist.node.0.nodeid (u32) = 1
nodelist.node.0.ring0_addr (str) = 10.99.0.1
nodelist.node.1.name (str) = serv-0002
nodelist.node.1.nodeid (u32) = 2
nodelist.node.1.ring0_addr (str) = 10.99.0.2
runtime.members.1.config_version (u64) = 0
runtime.members.1.ip (str) = r(0) ip(10.99.0.1)
runtime.members.1.join_count (u32) = 1
runtime.members.1.status (str) = joined
runtime.votequorum.ev_barrier (u32) = 2
runtime.votequorum.this_node_id (u32) = 1
runtime.votequorum.two_node (u8) = 1
"""
LEFT = ALONE + "runtime.members.2.join_count (u32) = 1\nruntime.members.2.status (str) = left\n"
WAITS = "runtime.votequorum.wait_for_all_status (u8) = 1\n"
THIRD = "nodelist.node.2.nodeid (u32) = 3\n"


def without(text: str, start: str) -> str:
    return "".join(line for line in text.splitlines(keepends=True) if not line.startswith(start))


@pytest.mark.parametrize(
    ("output", "contact"),
    [
        (ALONE, Contact.NEVER),
        (LEFT, Contact.MET),
        (LEFT.replace("= left", "= joined"), Contact.MET),
        (LEFT + WAITS.replace("= 1", "= 0"), Contact.WAITED),
        (ALONE + WAITS, Contact.NEVER),
        (ALONE.replace("two_node (u8) = 1", "two_node (u8) = 0"), Contact.BY_QUORUM),
        (without(ALONE, "runtime.votequorum.two_node"), Contact.UNKNOWN),
        (ALONE + THIRD, Contact.UNKNOWN),
        (without(ALONE, "nodelist"), Contact.UNKNOWN),
        (without(ALONE, "runtime.members"), Contact.UNKNOWN),
        (without(ALONE, "runtime.votequorum.this_node_id"), Contact.UNKNOWN),
        ("", Contact.UNKNOWN),
        ("\0\n = \n=", Contact.UNKNOWN),
    ],
)
def test_what_the_map_says(output: str, contact: Contact) -> None:
    assert parse_contact(output) is contact


@pytest.mark.parametrize(
    ("error", "contact"),
    [
        (FileNotFoundError(), Contact.UNKNOWN),
        (PermissionError(), Contact.UNKNOWN),
        (OSError(errno.EIO, "its file cannot be read"), Contact.UNKNOWN),
        (TimeoutError(), Contact.SILENT),
        (ChildProcessError(), Contact.SILENT),
        (OSError(errno.EAGAIN, "no process is left"), Contact.SILENT),
        (OSError(errno.ENOMEM, "no memory is left"), Contact.SILENT),
        (OSError(errno.EMFILE, "no descriptor is left"), Contact.SILENT),
    ],
)
def test_a_corosync_that_is_not_there_is_another_case_than_one_that_does_not_answer(
    error: Exception, contact: Contact
) -> None:
    def run(_argv: Sequence[str], _timeout_s: float) -> Done:
        raise error

    assert ask_contact(run, 1.0) is contact


@pytest.mark.parametrize(
    ("errors", "contact"),
    [
        ("", Contact.UNKNOWN),
        ("Failed to initialize the cmap API. Error CS_ERR_LIBRARY\n", Contact.UNKNOWN),  # it does not run
        ("Failed to initialize the cmap API. Error CS_ERR_TRY_AGAIN\n", Contact.SILENT),
    ],
)
def test_an_answer_with_an_error(errors: str, contact: Contact) -> None:
    assert ask_contact(lambda _argv, _: Done(1, ALONE, errors), 1.0) is contact


@pytest.mark.parametrize(("number", "contact"), [(signal.SIGKILL, Contact.SILENT), (signal.SIGSEGV, Contact.UNKNOWN)])
def test_one_that_was_killed_for_lack_of_memory_gave_no_answer(number: int, contact: Contact) -> None:
    assert ask_contact(lambda _argv, _: Done(-number, "", ""), 1.0) is contact


CONF = """\
totem {{
  version: 2
  cluster_name: contact
  transport: udpu
}}
nodelist {{
  node {{
    name: serv-0001
    nodeid: 1
    ring0_addr: 10.99.0.1
  }}
  node {{
    name: serv-0002
    nodeid: 2
    ring0_addr: 10.99.0.2
  }}
}}
quorum {{
  provider: corosync_votequorum
  two_node: {two_node}
{wait_for_all}}}
logging {{
  to_stderr: no
  to_syslog: no
}}
"""

SCRIPT = """
set -eu
conf=$1 peer_joins=$2
shift 2
begin() {  # a corosync with this address on this interface
  for each in /run /dev/shm /var/lib/corosync; do mount -t tmpfs none $each; done
  mkdir -p /run/corosync
  ip link set lo up
  ip link set "$2" up
  ip address add "$1/24" dev "$2"
  exec corosync -f -c "$conf" >/dev/null 2>&1
}
asked() { "$@" 2>/dev/null | grep -q "$what" || return 1; }
until_asked() { what=$1; shift; for _ in $(seq 300); do asked "$@" && return; sleep 0.1; done; }
export conf
export -f begin
ip link add one type veth peer name two
trap 'kill $(jobs -p); wait' EXIT
if [ "$peer_joins" = 1 ]; then
  wait_for="until ip link show two; do sleep 0.1; done"
  unshare --net --mount --ipc bash -c "$wait_for; begin 10.99.0.2 two" >/dev/null 2>&1 &
  peer=$!
  sleep 0.3
  ip link set two netns "$peer"
else
  ip link set two up
fi
for each in /run /dev/shm /var/lib/corosync; do mount -t tmpfs none $each; done
(begin 10.99.0.1 one) &
until_asked 'runtime.members.1.status' "$@"
if [ "$peer_joins" = 1 ]; then
  until_asked 'runtime.members.2.status' "$@"
  kill "$peer"
  until_asked 'runtime.members.2.status (str) = left' "$@"
fi
exec 2>&1
"$@"
"""


@pytest.mark.peer
@pytest.mark.slow
@pytest.mark.parametrize(
    ("two_node", "waits", "peer", "contact"),
    [
        (1, False, False, Contact.NEVER),
        (1, False, True, Contact.MET),
        (1, True, False, Contact.NEVER),
        (1, True, True, Contact.WAITED),  # two_node includes it
        (0, False, False, Contact.BY_QUORUM),
    ],
)
def test_a_real_corosync(tmp_path: Path, two_node: int, waits: bool, peer: bool, contact: Contact) -> None:
    """peer: another one joins and leaves again."""
    assert shutil.which("corosync"), "install what tests/host-packages.txt lists"
    conf = tmp_path / "corosync.conf"
    conf.write_text(CONF.format(two_node=two_node, wait_for_all="" if waits else "  wait_for_all: 0\n"))
    command = ["unshare", "--net", "--mount", "--ipc", "bash", "-c", SCRIPT, "corosync", str(conf), str(int(peer))]
    done = subprocess.run([*command, *CMAP], capture_output=True, text=True, timeout=100, check=False)
    assert parse_contact(done.stdout) is contact, done.stdout + done.stderr
