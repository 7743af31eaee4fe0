# SPDX-License-Identifier: Apache-2.0
"""docs/ha-lvm.md: its commands say where they are run, name what exists, and make a cluster that would fail over."""

import re
import shlex
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from fencer.agent.options import OPTIONS
from fencer.cluster.corosync_conf import parse_corosync

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/ha-lvm.md"
TEXT = PAGE.read_text()
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
GOLDEN = Path(__file__).parent / "golden"
CIBS = {"ha-lvm.cib": 2, "ha-lvm-three.cib": 3}
"""What pcs 0.11.5 makes of the commands for so many nodes, out of `cibadmin --empty`."""

each_cib = pytest.mark.parametrize(("name", "nodes"), CIBS.items())


def blocks_for(nodes: int) -> list[str]:
    return [block for block in BLOCKS if nodes == 3 or not block.startswith("# with three nodes, ")]


def pcs_commands(nodes: int) -> list[list[str]]:
    """The words of each `pcs -f FILE …`, which only edits that file."""
    found = re.findall(r"^pcs -f (?:.*\\\n)*.*$", "".join(blocks_for(nodes)), re.MULTILINE)
    return [shlex.split(line.replace("\\\n", "")) for line in found]


def pairs(words: list[str]) -> dict[str, str]:
    return dict(word.split("=", 1) for word in words if "=" in word)


def attributes(element: ElementTree.Element, path: str) -> dict[str, str]:
    return {str(each.get("name")): str(each.get("value")) for each in element.findall(f"{path}/nvpair")}


def until(words: list[str], *ends: str) -> list[str]:
    """The words before the first of the ends."""
    return words[: min([words.index(end) for end in ends if end in words], default=len(words))]


def test_each_block_says_where_it_is_run() -> None:
    assert len(BLOCKS) > 8
    for block in BLOCKS:
        ordinary = re.match(r"# on (both nodes|serv-0001|serv-0002)\n", block)
        assert ordinary or re.match(r"# with three nodes, after section \d, on (all three nodes|serv-0001)\n", block)


def test_the_options_of_its_devices_exist() -> None:
    known = {option.name for option in OPTIONS}
    devices = [words for words in pcs_commands(3) if words[3:5] == ["stonith", "create"]]
    assert len(devices) == 3
    for words in devices:
        given = pairs(until(words, "op", "meta"))
        assert {"ip", "vg", "plug", "pcmk_host_list"} <= set(given)
        assert {name for name in given if not name.startswith("pcmk_")} <= known


@each_cib
def test_the_cib_that_is_checked_is_that_of_its_commands(name: str, nodes: int) -> None:
    root, commands = ElementTree.parse(GOLDEN / name).getroot(), pcs_commands(nodes)
    created = {words[5]: words for words in commands if words[4] == "create"}
    assert len(created) == nodes + 2
    assert {each.get("id") for each in root.iter("primitive")} == set(created)
    for primitive in root.iter("primitive"):
        words = created[str(primitive.get("id"))]
        assert str(primitive.get("type")) == words[6].rpartition(":")[2]
        assert attributes(primitive, "instance_attributes") == pairs(until(words, "op", "meta", "--group"))
        meta = words[words.index("meta") :] if "meta" in words else []
        assert attributes(primitive, "meta_attributes") == pairs(meta)
        if "op" in words:
            timeouts = {(str(each.get("name")), str(each.get("timeout"))) for each in primitive.iter("op")}
            assert timeouts == {("start", pairs(words)["timeout"]), ("monitor", pairs(words)["timeout"])}
    prefers = [words for words in commands if words[3:5] == ["constraint", "location"]]
    wanted = {(words[5], *where.split("=")) for words in prefers for where in words[7:]}
    found = {(each.get("rsc"), each.get("node"), each.get("score")) for each in root.iter("rsc_location")}
    assert found == wanted
    (defaults,) = [pairs(words) for words in commands if words[4] == "defaults"]
    assert attributes(root, ".//rsc_defaults/meta_attributes") == defaults


def corosync_conf(directory: Path, nodes: int) -> Path:
    (text,) = re.findall(r"corosync\.conf <<'END'\n(.*?)^END$", TEXT, re.DOTALL | re.MULTILINE)
    corosync = directory / "corosync.conf"
    corosync.write_text(text)
    edits = re.findall(r"^(sed -i .*) /etc/corosync/corosync\.conf$", "".join(blocks_for(nodes)), re.MULTILINE)
    assert len(edits) == nodes - 2
    for edit in edits:
        subprocess.run([*shlex.split(edit), str(corosync)], check=True)
    return corosync


def test_a_third_node_ends_the_quorum_of_two(tmp_path: Path) -> None:
    cluster = parse_corosync(corosync_conf(tmp_path, 3).read_text())
    assert {node.node_id: node.name for node in cluster.nodes} == {1: "serv-0001", 2: "serv-0002", 3: "serv-0003"}
    assert "two_node" not in corosync_conf(tmp_path, 3).read_text()


@each_cib
def test_nothing_in_it_would_make_a_failover_fail(tmp_path: Path, name: str, nodes: int) -> None:
    corosync = corosync_conf(tmp_path, nodes)
    halvmctl = str(Path(sys.executable).with_name("halvmctl"))
    files = [f"--cib={GOLDEN / name}", f"--corosync-conf={corosync}", "--local-node=serv-0001"]
    done = subprocess.run([halvmctl, "check", *files], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "Nothing found that would make a failover fail.\n")


def test_its_links_lead_somewhere() -> None:
    for target, anchor in re.findall(r"\]\(([^)#]*)(?:#([^)]*))?\)", TEXT):
        page = PAGE.parent / target if target else PAGE
        assert page.exists(), target
        headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE) if page.suffix == ".md" else []
        slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
        assert not anchor or anchor in slugs, (target, anchor)


def test_readme_leads_there() -> None:
    assert "(docs/ha-lvm.md)" in (ROOT / "README.md").read_text()
