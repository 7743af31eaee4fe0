# SPDX-License-Identifier: Apache-2.0
"""Whether this node has met the other node of a two-node cluster since corosync started here.

Read from corosync's configuration map (corosync-cmapctl(8), cmap_keys(7)). ``runtime.members.ID`` exists for each node
that has been a member of this node's partition since corosync started, also after it left.
"""

from collections.abc import Callable, Sequence

from fencer._enum import Enum, auto
from fencer._signals import signal
from fencer.child_program import Done
from fencer.shortage import SHORTAGES

CMAP = ("corosync-cmapctl", "nodelist.", "runtime.members.", "runtime.votequorum.")

_TRY_AGAIN = "CS_ERR_TRY_AGAIN"
_KILLED = -signal.SIGKILL
"""As where memory ran out. One that is killed for its own faults ends by another signal, and each time."""

Run = Callable[[Sequence[str], float], Done]


class Contact(Enum):
    """What corosync reports about the other node."""

    MET = auto()  # it has been a member since corosync started
    WAITED = auto()  # the same, and wait_for_all left this node without quorum until then
    NEVER = auto()  # it has not, and this node has quorum alone (two_node)
    BY_QUORUM = auto()  # quorum does not rest on two_node: a third vote decides which node may go on
    SILENT = auto()  # no answer in time, as while its members change; or it cannot be asked now, for lack of memory
    UNKNOWN = auto()  # no corosync, or no list of the nodes


def ask_contact(run: Run, timeout_s: float) -> Contact:
    """Asks corosync. run: takes argv and seconds; raises OSError. Never raises."""
    try:
        done = run(CMAP, timeout_s)
    except (TimeoutError, ChildProcessError):
        return Contact.SILENT
    except OSError as error:
        return Contact.SILENT if error.errno in SHORTAGES else Contact.UNKNOWN
    if done.returncode != 0:
        passes = done.returncode == _KILLED or _TRY_AGAIN in f"{done.stdout}{done.stderr}"
        return Contact.SILENT if passes else Contact.UNKNOWN
    return parse_contact(done.stdout)


def parse_contact(output: str) -> Contact:
    """Decides from the lines ``KEY (TYPE) = VALUE`` that corosync-cmapctl prints. Pure."""
    values: dict[str, str] = {}
    for line in output.split("\n"):
        key, found, value = line.partition(" = ")
        if found:
            values[key.partition(" ")[0]] = value.strip()
    two_node = values.get("runtime.votequorum.two_node")
    if two_node == "0":
        return Contact.BY_QUORUM
    local = values.get("runtime.votequorum.this_node_id")
    listed = {value for key, value in values.items() if key.startswith("nodelist.node.") and key.endswith(".nodeid")}
    others = listed - {local}
    if two_node != "1" or local not in listed or len(others) != 1 or f"runtime.members.{local}.status" not in values:
        return Contact.UNKNOWN
    if f"runtime.members.{others.pop()}.status" not in values:
        return Contact.NEVER
    return Contact.WAITED if "runtime.votequorum.wait_for_all_status" in values else Contact.MET
