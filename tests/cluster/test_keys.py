# SPDX-License-Identifier: Apache-2.0
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fencer.cluster.keys import NodeIdentity, check_collisions, derive_key
from fencer.errors import UsageError
from fencer.model import KeyScheme, ReservationKey

FENCE_SCSI = Path("/usr/sbin/fence_scsi")
# Loads fence_scsi as a module (it has no .py) and calls the function it derives keys with.
ASK_FENCE_SCSI = """
import importlib.machinery, importlib.util, sys
sys.dont_write_bytecode = True
loader = importlib.machinery.SourceFileLoader("fence_scsi", sys.argv[1])
module = importlib.util.module_from_spec(importlib.util.spec_from_loader("fence_scsi", loader))
loader.exec_module(module)
for plug in sys.argv[4:]:
    print(module.generate_key({"--corosync-cmap-path": sys.argv[2], "--key-value": sys.argv[3], "--plug": plug}))
"""


def node(name: str = "n", node_id: int = 1, position: int = 0) -> NodeIdentity:
    return NodeIdentity(name, node_id, position)


def test_nodeid_key_shows_the_node_in_its_low_half():
    # printf lvm-cluster | sha256sum
    assert str(derive_key(KeyScheme.NODEID, "lvm-cluster", node(node_id=2))) == "0xc82ae3c900000002"


@given(st.text(min_size=1), st.integers(1, 2**32 - 1))
def test_nodeid_key_is_never_zero_and_keeps_the_node(cluster, node_id):
    assert derive_key(KeyScheme.NODEID, cluster, node(node_id=node_id)).value & 0xFFFFFFFF == node_id


def test_pitfall_9_nodeid_keys_stay_when_a_node_is_removed():
    before = derive_key(KeyScheme.NODEID, "c", node("b", 2, position=1))
    assert derive_key(KeyScheme.NODEID, "c", node("b", 2, position=0)) == before


def test_pitfall_9_node_ids_over_nine_do_not_collide():
    keys = {str(n): derive_key(KeyScheme.NODEID, "c", node(str(n), n)) for n in range(1, 300)}
    check_collisions(keys)


def test_pitfall_9_keys_are_numbers_not_text():
    assert ReservationKey.parse("0x00ABCD0002") == ReservationKey.parse("abcd0002")


@pytest.mark.parametrize("node_id", [0, 1 << 32, -1])
def test_nodeid_out_of_range_is_a_usage_error(node_id):
    with pytest.raises(UsageError, match="node n has no node id from 1 to 4294967295"):
        derive_key(KeyScheme.NODEID, "c", node(node_id=node_id))


@pytest.mark.parametrize("scheme", KeyScheme)
def test_cluster_without_a_name_is_a_usage_error(scheme):
    with pytest.raises(UsageError, match="the cluster has no name"):
        derive_key(scheme, "", node())


@pytest.mark.parametrize("scheme", [KeyScheme.ID, KeyScheme.HASH])
def test_what_fence_scsi_cannot_hash_is_a_usage_error(scheme):
    with pytest.raises(UsageError, match="not ASCII"):
        derive_key(scheme, "café", node())


def test_zero_key_is_a_usage_error():
    # MD5 of this name begins with 0000, so position 0 would give the key 0.
    with pytest.raises(UsageError, match="gives node n key 0"):
        derive_key(KeyScheme.ID, "c2327", node())


def test_collision_names_both_nodes():
    key = ReservationKey(0x10)
    with pytest.raises(UsageError, match=r"nodes a and c both have reservation key 0x10"):
        check_collisions({"a": key, "b": ReservationKey(0x11), "c": key})


@pytest.mark.peer
@pytest.mark.skipif(not FENCE_SCSI.exists(), reason="fence_scsi is not installed")
@pytest.mark.parametrize("scheme", [KeyScheme.ID, KeyScheme.HASH])
def test_keys_equal_those_of_fence_scsi(tmp_path, scheme):
    cluster = "lvm-cluster"
    names = [f"serv-{n:04}" for n in range(1, 13)]
    cmap = tmp_path / "corosync-cmapctl"
    lines = [f"nodelist.node.{n}.name (str) = {name}" for n, name in enumerate(names)]
    answer = "\n".join(lines) + "\n"
    cmap.write_text(
        f"""#!/bin/sh
case "$1" in
totem.cluster_name) echo "totem.cluster_name (str) = {cluster}" ;;
*) cat <<E
{answer}E
;; esac
"""
    )
    cmap.chmod(0o755)
    python = shutil.which("python3", path="/usr/bin")
    assert python
    done = subprocess.run(
        [python, "-c", ASK_FENCE_SCSI, str(FENCE_SCSI), str(cmap), scheme.value, *names],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    theirs = [ReservationKey.parse(line) for line in done.stdout.split()]
    assert theirs == [derive_key(scheme, cluster, node(name, n + 1, n)) for n, name in enumerate(names)]
