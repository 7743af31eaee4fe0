# SPDX-License-Identifier: Apache-2.0
"""stonith_admin, pcs and crmsh: they list the agent, read its metadata, and write it into a CIB that they validate."""

import re

import pytest
from lxml import etree

from fencer.agent.options import OPTIONS
from tests.conformance.container import Container

CIB = "/tmp/cib.xml"
GOOD = ("ip=127.0.7.1", "username=ADMIN", "password=ADMIN", "pcmk_host_list=node2")
BAD = ("ip=127.0.7.1", "proof=nonsense", "pcmk_host_list=node2")
OUR_SENTENCE = "proof: not a choice: give one of power, storage, any, all, self"
NAMES = {name for row in OPTIONS if row.in_metadata for name in (row.name, *row.old_names)}
HIDDEN_BY_PCS = {"action", "help", "version"}
CURRENT = {row.name for row in OPTIONS if row.in_metadata}


@pytest.fixture(autouse=True)
def _empty_cib(debian: Container) -> None:
    done = debian.run("cibadmin", "--empty")
    debian.path(CIB).write_text(done.stdout)


def device(debian: Container, name: str) -> dict[str, str]:
    """The attributes of a device in the CIB; empty where there is none."""
    cib = etree.fromstring(debian.path(CIB).read_bytes())
    found = cib.xpath(f"//primitive[@id='{name}' and @class='stonith' and @type='fence_halvm']")
    return {pair.get("name"): pair.get("value") for each in found for pair in each.iter("nvpair")}


def verified(debian: Container) -> None:
    """Pacemaker takes the CIB."""
    done = debian.run("crm_verify", "--xml-file", CIB)
    assert done.returncode == 0, done.stderr


def test_stonith_admin_lists_it_and_reads_its_metadata(debian: Container) -> None:
    assert "fence_halvm" in debian.run("stonith_admin", "-I").stdout.split()
    done = debian.run("stonith_admin", "-M", "-a", "fence_halvm")
    assert done.returncode == 0, done.stderr
    assert {each.get("name") for each in etree.fromstring(done.stdout.encode()).iter("parameter")} == NAMES


@pytest.mark.parametrize("proof", ["power", "nonsense"])
def test_stonith_admin_validates(debian: Container, proof: str) -> None:
    options = [word for pair in ("ip=127.0.7.1", f"proof={proof}") for word in ("-o", pair)]
    done = debian.run("stonith_admin", "--validate", "-a", "fence_halvm", *options)
    assert (done.returncode == 0) is (proof == "power"), done.stdout + done.stderr
    assert (OUR_SENTENCE in done.stdout) is (proof != "power")


def test_pcs_lists_and_describes_it(debian: Container) -> None:
    assert "fence_halvm - Fence agent" in debian.run("pcs", "stonith", "list", "fence_halvm").stdout
    done = debian.run("pcs", "stonith", "describe", "fence_halvm", "--full")
    assert done.returncode == 0, done.stderr
    shown = set(re.findall(r"^  (\w+)", done.stdout, re.MULTILINE))
    missing = CURRENT - HIDDEN_BY_PCS - shown
    assert not missing, done.stdout


@pytest.mark.parametrize("flags", [(), ("--agent-validation",)], ids=lambda flags: " ".join(flags) or "plain")
def test_pcs_creates_it(debian: Container, flags: tuple[str, ...]) -> None:
    done = debian.run("pcs", "-f", CIB, "stonith", "create", "f1", "fence_halvm", *GOOD, *flags)
    assert (done.returncode, "ERROR" in done.stderr) == (0, False), done.stderr
    assert device(debian, "f1") == dict(pair.split("=") for pair in GOOD)
    verified(debian)


def test_pcs_refuses_what_we_refuse(debian: Container) -> None:
    done = debian.run("pcs", "-f", CIB, "stonith", "create", "f1", "fence_halvm", *BAD, "--agent-validation")
    assert done.returncode != 0
    assert OUR_SENTENCE in done.stderr
    assert not device(debian, "f1")


def test_crm_describes_it(debian: Container) -> None:
    done = debian.run("crm", "ra", "info", "stonith:fence_halvm")
    assert done.returncode == 0, done.stderr
    missing = {name for name in NAMES if f"\n{name} (" not in done.stdout and f"\n{name}* (" not in done.stdout}
    assert not missing, done.stdout


def test_crm_configures_it(debian: Container) -> None:
    primitive = ("primitive", "f1", "stonith:fence_halvm", "params", *GOOD, "op", "monitor", "interval=60s")
    done = debian.run("crm", "configure", *primitive, environ={"CIB_file": CIB})
    assert done.returncode == 0, done.stderr
    assert device(debian, "f1") == dict(pair.split("=") for pair in GOOD)
    verified(debian)


def test_crm_refuses_an_option_that_is_not_ours(debian: Container) -> None:
    primitive = ("primitive", "f1", "stonith:fence_halvm", "params", "ip=127.0.7.1", "ipp=1")
    done = debian.run("crm", "configure", *primitive, environ={"CIB_file": CIB})
    assert done.returncode != 0
    assert 'parameter "ipp" is not known' in done.stderr
    assert not device(debian, "f1")


CLUSTER = """
<cib crm_feature_set="3.16.1" validate-with="pacemaker-3.8" epoch="1" num_updates="0" admin_epoch="0">
  <configuration>
    <crm_config>
      <cluster_property_set id="options">
        <nvpair id="options-quorum" name="no-quorum-policy" value="ignore"/>
      </cluster_property_set>
    </crm_config>
    <nodes><node id="1" uname="node1"/><node id="2" uname="node2"/></nodes>
    <resources>
      <primitive id="data" class="ocf" provider="heartbeat" type="Filesystem">
        <meta_attributes id="data-meta">{requires}</meta_attributes>
      </primitive>
    </resources>
    <constraints/>
  </configuration>
  <status/>
</cib>
"""


@pytest.mark.parametrize(
    ("requires", "meta", "unfences"),
    [
        ('<nvpair id="data-requires" name="requires" value="unfencing"/>', (), True),
        ("", ("meta", "provides=unfencing"), True),
        ("", (), False),
    ],
    ids=["requires", "provides", "neither"],
)
def test_a_node_is_unfenced_before_what_requires_it(
    debian: Container, requires: str, meta: tuple[str, ...], unfences: bool
) -> None:
    """Pacemaker's scheduler plans our on for each node where the resource requires it, or the device says so."""
    debian.path(CIB).write_text(CLUSTER.format(requires=requires))
    options = ("devices=naa.60014050000000000000000000000001", "pcmk_host_list=node1 node2", *meta)
    created = debian.run("pcs", "-f", CIB, "stonith", "create", "f1", "fence_halvm", *options)
    assert created.returncode == 0, created.stderr
    up = ("--node-up", "node1", "--node-up", "node2")
    plan = debian.run("crm_simulate", "--xml-file", CIB, "--simulate", *up).stdout
    assert "Start      data" in plan
    for node in ("node1", "node2"):
        assert (f"Fence (on) {node} 'required by data monitor'" in plan) is unfences, plan
