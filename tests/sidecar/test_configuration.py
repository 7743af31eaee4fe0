# SPDX-License-Identifier: Apache-2.0
"""Where the cluster's files do not tell this node's key: what is said, and that what is said mends it."""

from pathlib import Path
from unittest.mock import patch

import pytest

from fencer.cluster import membership
from fencer.errors import UsageError
from fencer.sidecar.configuration import read_config
from fencer.sidecar.messages import Config

COROSYNC = """totem {
  version: 2
  cluster_name: halvm
}
nodelist {
  node {
    ring0_addr: 192.168.0.50
    name: serv-0001
    nodeid: 1
  }
}
"""
WITHOUT_NODE_ID = COROSYNC.replace("    nodeid: 1\n", "")
WITHOUT_NAME = COROSYNC.replace("  cluster_name: halvm\n", "")
WITHOUT_LIST = COROSYNC.partition("nodelist")[0]


@pytest.fixture
def sidecar_on(tmp_path: Path):
    def read(corosync: str, *, host: str = "serv-0001", more: str = "") -> Config:
        path = tmp_path / "corosync.conf"
        path.write_text(corosync)
        toml = tmp_path / "watchdogd.toml"
        toml.write_text(f'vg = "shared_vg"\nstate_dir = "{tmp_path}/run"\n{more}')
        with (
            patch.object(membership.read_membership, "__defaults__", (str(path),)),
            patch.object(membership, "CLUSTER_CONF", "/nonexistent"),
            patch.object(membership, "_host_names", lambda: (host,)),
        ):
            return read_config(str(toml))

    return read


@pytest.mark.parametrize(
    ("corosync", "host", "said"),
    [
        (WITHOUT_NODE_ID, "serv-0001", "node serv-0001 has no node id"),
        (WITHOUT_NAME, "serv-0001", "the cluster has no name to derive a key from"),
        (WITHOUT_LIST, "serv-0001", "corosync.conf lists no nodes (it has no nodelist)"),
        (COROSYNC, "elsewhere", "corosync.conf has no node elsewhere to derive a key from"),
    ],
)
def test_what_is_missing_is_said_and_local_key_helps(sidecar_on, corosync: str, host: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        sidecar_on(corosync, host=host)
    assert said in str(caught.value) and "local_key" in str(caught.value)
    assert "key=" not in str(caught.value)  # an option of the agent, no setting of ours
    config = sidecar_on(corosync, host=host, more='local_key = "0xabc1"\n')
    assert config.key == "0xabc1"
    assert "0xabc1" in [node.key for node in config.nodes]


def test_a_node_of_another_name_is_mended_by_local_node(sidecar_on) -> None:
    with pytest.raises(UsageError, match="give local_node, one of serv-0001, or local_key"):
        sidecar_on(COROSYNC, host="elsewhere")
    assert sidecar_on(COROSYNC, host="elsewhere", more='local_node = "serv-0001"\n').node == "serv-0001"


SECOND = COROSYNC.replace("192.168.0.50", "192.168.0.51").replace("serv-0001", "serv-0002").replace("id: 1", "id: 2")
BOTH = COROSYNC.removesuffix("}\n") + SECOND.partition("nodelist {\n")[2]


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ('local_node = "serv-0001"', "local_node: serv-0001 is another node: by .* this host is serv-0002"),
        ('local_key = "{key}"', "local_key: {key} is the key of serv-0001, and this node is serv-0002"),
    ],
)
def test_a_file_that_was_copied_from_another_node_is_refused(sidecar_on, more: str, says: str) -> None:
    """Registered under the other node's key, this node would go on writing when it is fenced."""
    key = sidecar_on(BOTH).key
    with pytest.raises(UsageError, match=says.format(key=key)):
        sidecar_on(BOTH, host="serv-0002", more=more.format(key=key) + "\n")


@pytest.mark.parametrize(
    ("corosync", "mended"),
    [(WITHOUT_NODE_ID, COROSYNC), (WITHOUT_NAME, COROSYNC), (WITHOUT_LIST, COROSYNC)],
)
def test_the_cluster_file_mended_as_said_is_enough(sidecar_on, corosync: str, mended: str) -> None:
    with pytest.raises(UsageError, match=r"nodeid|name the cluster|add a nodelist"):
        sidecar_on(corosync)
    assert sidecar_on(mended).node == "serv-0001"


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o775])
def test_a_state_directory_that_others_may_write_to_is_refused_here_too(sidecar_on, tmp_path: Path, mode: int) -> None:
    """Who moves the marker away would have the sidecar of a fenced node register it again."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run").chmod(mode)
    with pytest.raises(UsageError, match=r"state_dir: .*/run: others than root may write to it: give a directory"):
        sidecar_on(COROSYNC)
    (tmp_path / "run").chmod(0o755)
    assert sidecar_on(COROSYNC).node == "serv-0001"
