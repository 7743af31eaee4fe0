# SPDX-License-Identifier: Apache-2.0
"""Generates the agent's metadata (XML of FenceAgentAPI) from the table of options.

Pacemaker and pcs read it. The list of actions decides which actions they call: without ``reboot`` Pacemaker would call
``off``; with ``list`` it would ask the BMC of one node for the names of all nodes. ``on_target`` makes ``on`` run on
the node itself (unfencing). ``plug`` is the parameter that names the target.
"""

from collections.abc import Iterator

from fencer._typing import Final
from fencer.agent.option import Option, ValueKind
from fencer.agent.options import ACTIONS, OPTIONS, UNADVERTISED_ACTIONS

AGENT: Final = "fence_halvm"
SHORT_DESCRIPTION: Final = "Fence agent for shared-disk HA-LVM clusters: BMC power and SCSI-3 persistent reservations"

# Paragraphs; the man page shows the same ones.
DESCRIPTION: Final = (
    "fence_halvm fences a node of a cluster whose nodes share LUNs, in one action, through the node's BMC (IPMI 2.0) "
    "and through SCSI-3 persistent reservations on those LUNs.",
    "It reports success only on proof that the node can no longer write to the shared storage: the BMC showed the "
    "chassis off, or on every LUN the node's reservation key was read back absent under a reservation that excludes "
    "its writes and is held by a registered survivor. The option proof says which of the two suffices.",
    "Where LUNs are configured, and unless the option arbitration says otherwise, two nodes that fence each other race "
    "for the reservation on the first LUN before any power command is sent, so at most one of them is shot; a node "
    "that was fenced itself, and has not been rebooted since, fences no other node. It does not register again either.",
    "For on of the node it runs on it registers this node's key on every path of every LUN (unfencing); for on of "
    "another node it switches that node on. monitor proves, without changing anything, that a fence would work now.",
    "It accepts the options of fence_ipmilan and fence_scsi. What it does not need has no effect: ipmitool, sg_persist "
    "and sudo are not run.",
)


def metadata_xml() -> str:
    """The whole document, ending with a newline."""
    return "".join(f"{line}\n" for line in _document())


def parameters() -> list[tuple[str, Option]]:
    """Every advertised parameter name with its row, including deprecated names, in the order of fence-agents."""
    named = [(name, row) for row in OPTIONS if row.in_metadata for name in (row.name, *row.old_names)]
    return sorted(named, key=lambda item: (item[1].order, item[0]))


def advertised_actions() -> tuple[str, ...]:
    """The actions in the metadata."""
    return tuple(action for action in ACTIONS if action not in UNADVERTISED_ACTIONS)


def _document() -> Iterator[str]:
    yield '<?xml version="1.0" ?>'
    yield f'<resource-agent name="{AGENT}" shortdesc="{_escaped(SHORT_DESCRIPTION)}" >'
    yield f"<longdesc>{_escaped(chr(10).join(DESCRIPTION))}</longdesc>"
    yield "<vendor-url></vendor-url>"
    yield "<parameters>"
    for name, row in parameters():
        yield from _parameter(name, row)
    yield "</parameters>"
    yield "<actions>"
    for action in advertised_actions():
        # on_target: unfencing runs on the node that is to be registered. automatic="0": with 1 Pacemaker would demand
        # unfencing of every node for every device, also where only the BMC is used.
        attributes = ' on_target="1" automatic="0"' if action == "on" else ""
        yield f'\t<action name="{action}"{attributes} />'
    yield "</actions>"
    yield "</resource-agent>"


def _parameter(name: str, row: Option) -> Iterator[str]:
    history = ""
    if name != row.name:
        history = ' deprecated="1"'
    elif row.old_names:
        history = f' obsoletes="{row.old_names[0]}"'
    default = "" if row.default is None else f' default="{_escaped(row.default)}"'
    yield f'\t<parameter name="{name}" unique="0" required="{int(row.required)}"{history}>'
    yield f'\t\t<getopt mixed="{_escaped(row.synopsis)}" />'
    if row.kind is ValueKind.SELECT:
        yield f'\t\t<content type="{row.kind.value}"{default} >'
        for choice in row.choices:
            yield f'\t\t\t<option value="{_escaped(choice)}" />'
        yield "\t\t</content>"
    else:
        yield f'\t\t<content type="{row.kind.value}"{default} />'
    yield f'\t\t<shortdesc lang="en">{_escaped(row.short_description)}</shortdesc>'
    yield "\t</parameter>"


def _escaped(text: str) -> str:
    # Not xml.sax.saxutils: importing it costs more than all the rest of this module.
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")
