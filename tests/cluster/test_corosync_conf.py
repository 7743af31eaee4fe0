# SPDX-License-Identifier: Apache-2.0
import contextlib
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fencer.cluster.corosync_conf import CorosyncCluster, find_local_identity, parse_corosync, read_corosync
from fencer.cluster.keys import NodeIdentity
from fencer.errors import FenceError, UsageError

TWO_NODES = """# as pcs writes it
totem {
    version: 2
    cluster_name: lab
    transport: knet
    interface {
        cluster_name: not-this-one
    }
}

nodelist {
    node {
        ring0_addr: 10.0.0.1
        ring1_addr: 10.1.0.1
        name: n1
        nodeid: 1
    }
    node {
        ring0_addr: n2.san
        nodeid: 7
    }
}
quorum {
    provider: corosync_votequorum
    two_node: 1
}
"""


def test_two_nodes():
    assert parse_corosync(TWO_NODES) == CorosyncCluster(
        "lab",
        (
            NodeIdentity("n1", 1, 0, "10.0.0.1", ("10.0.0.1", "10.1.0.1")),
            NodeIdentity("n2.san", 7, 1, "n2.san", ("n2.san",)),
        ),
    )


def test_local_node_is_found_by_host_name():
    node = find_local_identity(parse_corosync(TWO_NODES), ["n2"])
    assert node is not None
    assert node.node_id == 7


@pytest.mark.parametrize("opening", ["interface {", "interface{", "interface: {", "interface : {", "interface:{"])
def test_a_section_may_be_written_with_a_colon(opening):
    text = TWO_NODES.replace("interface {", opening).replace("nodelist {", "nodelist: {")
    assert parse_corosync(text) == parse_corosync(TWO_NODES)


@pytest.mark.parametrize("opening", ["my plugin {", "a: b {", "x/y {", "interface\t: :{", "# {\ninterface {"])
def test_a_section_may_have_any_name(opening):
    assert parse_corosync(TWO_NODES.replace("interface {", opening)) == parse_corosync(TWO_NODES)


def test_missing_node_id_is_zero():
    assert parse_corosync("nodelist {\nnode {\nname: a\n}\n}").nodes == (NodeIdentity("a", 0, 0),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("totem {\n", "F line 2: section totem is not closed"),
        ("}\n", "F line 1: a closing brace without a section"),
        ("hello\n", "F line 1: neither a section nor"),
        ("totem {\n: {\n}\n}\n", "F line 2: a section without a name"),
        ("totem { version: 2 }\n", "F line 1: more than a section's name"),
        ("totem {\ncluster_name: a{b\n}\n", "F line 2: more than a section's name"),
        ("nodelist {\nnode {\nnodeid: -1\n}\n}", "F line 4: nodeid '-1' is not a number"),
        ("nodelist {\nnode {\nnodeid: 4294967296\n}\n}", "nodeid '4294967296' is not a number"),
        (f"nodelist {{\nnode {{\nnodeid: {'9' * 9999}\n}}\n}}", "is not a number"),
    ],
)
def test_what_is_not_a_corosync_conf(text, message):
    with pytest.raises(UsageError) as caught:
        parse_corosync(text, "F")
    assert message in str(caught.value)


@given(st.text())
def test_any_text_parses_or_is_a_fence_error(text):
    with contextlib.suppress(FenceError):
        parse_corosync(text)


@given(st.lists(st.sampled_from(["nodelist {", "node {", "}", "nodeid: 1", "name: x", "{", ":", "totem {", "\0", "#"])))
def test_any_shape_parses_or_is_a_fence_error(lines):
    with contextlib.suppress(FenceError):
        parse_corosync("\n".join(lines))


def test_deep_nesting_does_no_harm():
    parse_corosync("a {\n" * 50000 + "}\n" * 50000)


def test_comment_in_an_old_encoding_is_read(tmp_path):
    path = tmp_path / "corosync.conf"
    path.write_bytes(b"# caf\xe9\n" + TWO_NODES.encode())
    assert read_corosync(str(path)) == parse_corosync(TWO_NODES)


@pytest.mark.parametrize("kind", ["FIFO", "directory", "stranger's link", "too long", "device"])
def test_what_is_no_regular_file_of_bounded_size_is_neither_read_nor_waited_for(tmp_path, kind):
    path = tmp_path / "corosync.conf"
    match kind:
        case "FIFO":
            os.mkfifo(path)
        case "directory":
            path.mkdir()
        case "stranger's link":
            (tmp_path / "real").write_text(TWO_NODES)
            path.symlink_to(tmp_path / "real")
            os.lchown(path, 65534, 65534)
        case "too long":
            path.write_text("#" * (2 << 20))
        case "device":
            path = Path("/dev/zero")
    with pytest.raises(UsageError, match="give the path of a readable"):
        read_corosync(str(path))


def test_a_link_of_our_own_is_followed(tmp_path):
    (tmp_path / "real").write_text(TWO_NODES)
    (tmp_path / "corosync.conf").symlink_to(tmp_path / "real")
    assert read_corosync(str(tmp_path / "corosync.conf")) == parse_corosync(TWO_NODES)


def test_unreadable_file_is_named(tmp_path):
    with pytest.raises(UsageError, match="nosuch: No such file"):
        read_corosync(str(tmp_path / "nosuch"))
