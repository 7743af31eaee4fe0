# SPDX-License-Identifier: Apache-2.0
"""docs/ha-lvm.md: its commands are of a form in which the lab can run them, and name what exists."""

import re
from ipaddress import IPv4Address

import pytest

from fencer.ctl.check.dlm_rules import dlm_findings
from fencer.ctl.sources.dlm_conf import parse_dlm_conf

from . import pcs, recipe
from .conftest import require
from .images import images_directory
from .level3 import NODES, THREE_NODES
from .places import PACKAGE, PROJECT

TEXT = recipe.PAGE.read_text()
STEPS, THREE = recipe.steps(TEXT), recipe.steps_of_three(TEXT)
COMMANDS = "".join(step.commands for step in THREE)


def test_each_block_says_where_it_is_run() -> None:
    assert len(STEPS) > 8
    assert all(set(step.nodes) <= set(NODES) and step.nodes for step in STEPS)
    with pytest.raises(ValueError, match="without its place: pcs status"):
        recipe.steps("## 1\n```sh\npcs status\n```\n")


def test_three_nodes_are_set_up_as_two_with_more_between() -> None:
    assert [step.at for step in THREE] == sorted(step.at for step in THREE)
    both = [step._replace(nodes=NODES) if step.nodes == THREE_NODES else step for step in THREE if not step.with_three]
    assert [step._replace(commands="") for step in both] == [step._replace(commands="") for step in STEPS]
    changed = [after.commands for before, after in zip(STEPS, both, strict=True) if before.commands != after.commands]
    assert len(changed) == 1
    assert recipe.THREE_ONLINE in changed[0]
    assert f"`{recipe.THREE_ONLINE}`" in TEXT
    assert {step.at: step.nodes for step in THREE if step.with_three} == {1: THREE_NODES, 2: NODES[:1], 5: NODES[:1]}


def test_its_packages_are_in_the_guests() -> None:
    assert recipe.packages(TEXT) <= set((PACKAGE / "guest-packages.txt").read_text().split())


def test_the_lab_knows_each_of_its_addresses() -> None:
    named = {str(IPv4Address(word)) for word in re.findall(r"\b\d+\.\d+\.\d+\.\d+\b", COMMANDS)}
    assert named == set(recipe.ADDRESSES)
    assert not any(address in recipe.in_the_lab(COMMANDS) for address in named)


def test_its_dlm_conf_is_one_that_dlm_controld_takes() -> None:
    (text,) = re.findall(r"^cat >/etc/dlm/dlm.conf <<'END'\n(.*?)^END$", COMMANDS, re.MULTILINE | re.DOTALL)
    assert dlm_findings(parse_dlm_conf(text, "page"), "page", {"1": NODES[0], "2": NODES[1]}) == []


GOLDEN = PROJECT / "tests/contract/golden"
CIBS = {"ha-lvm.cib": STEPS, "ha-lvm-three.cib": THREE}
"""What pcs makes of the page's commands, in Debian 12 and 13. The first line names Pacemaker's version, 12's here."""


@pytest.mark.lab
@pytest.mark.parametrize("name", CIBS)
def test_pcs_makes_of_its_commands_what_was_checked(name: str) -> None:
    """By the guests' pcs. To take over a change of the page: `python -m tests.lab.test_recipe`."""
    require(images_directory(), ())
    assert made(name).splitlines()[1:] == (GOLDEN / name).read_text().splitlines()[1:]


def made(name: str) -> str:
    edits = "".join(recipe.edits(step.commands)[0] for step in CIBS[name])
    return pcs.edited("", "halvm.cib", f"cibadmin --empty >halvm.cib\n{edits}")


if __name__ == "__main__":
    for each in CIBS:
        (GOLDEN / each).write_text(made(each))
