# SPDX-License-Identifier: Apache-2.0
"""docs/ha-lvm.md: its commands say where they are run, name what exists, and make a cluster that would fail over."""

import re
import shlex
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from fencer.agent.options import OPTIONS

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/ha-lvm.md"
TEXT = PAGE.read_text()
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
PCS = [
    shlex.split(line.replace("\\\n", ""))
    for line in re.findall(r"^pcs -f (?:.*\\\n)*.*$", "".join(BLOCKS), re.MULTILINE)
]
"""The words of each `pcs -f FILE …`, which only edits that file."""
CIB = Path(__file__).parent / "golden/ha-lvm.cib"
"""What pcs 0.11.5 makes of these commands, out of `cibadmin --empty`."""


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
        assert re.match(r"# on (both nodes|serv-0001|serv-0002)\n", block), block


def test_the_options_of_its_devices_exist() -> None:
    known = {option.name for option in OPTIONS}
    devices = [words for words in PCS if words[3:5] == ["stonith", "create"]]
    assert len(devices) == 2
    for words in devices:
        given = pairs(until(words, "op", "meta"))
        assert {"ip", "vg", "plug", "pcmk_host_list"} <= set(given)
        assert {name for name in given if not name.startswith("pcmk_")} <= known


def test_the_cib_that_is_checked_is_that_of_its_commands() -> None:
    root = ElementTree.parse(CIB).getroot()
    created = {words[5]: words for words in PCS if words[4] == "create"}
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
    wanted = {(words[5], *words[7].split("=")) for words in PCS if words[3:5] == ["constraint", "location"]}
    found = {(each.get("rsc"), each.get("node"), each.get("score")) for each in root.iter("rsc_location")}
    assert found == wanted
    (defaults,) = [pairs(words) for words in PCS if words[4] == "defaults"]
    assert attributes(root, ".//rsc_defaults/meta_attributes") == defaults


def test_nothing_in_it_would_make_a_failover_fail(tmp_path: Path) -> None:
    (text,) = re.findall(r"corosync\.conf <<'END'\n(.*?)^END$", TEXT, re.DOTALL | re.MULTILINE)
    corosync = tmp_path / "corosync.conf"
    corosync.write_text(text)
    halvmctl = str(Path(sys.executable).with_name("halvmctl"))
    files = [f"--cib={CIB}", f"--corosync-conf={corosync}", "--local-node=serv-0001"]
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
