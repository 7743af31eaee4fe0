# SPDX-License-Identifier: Apache-2.0
import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fencer.cluster.cluster_conf import (
    find_local_node,
    match_host_names,
    merged_attributes,
    other_node,
    parse_cluster,
    read_cluster,
)
from fencer.cluster.problems import problems
from fencer.errors import FenceError, UsageError
from tests.cluster.example import EXAMPLE, edited


def test_example_parses():
    cluster = parse_cluster(EXAMPLE)
    assert (cluster.name, cluster.config_version, cluster.two_node) == ("lvm-cluster", 2, True)
    assert [(n.name, n.node_id) for n in cluster.nodes] == [("serv-0001", 1), ("serv-0002", 2)]
    assert cluster.nodes[0].fence_methods[0].name == "bmc-and-disk"
    assert cluster.nodes[1].unfence[0].attributes == {"action": "on"}
    assert cluster.volume_groups == ("shared_vg",)
    assert [(i.name, i.position) for i in cluster.identities] == [("serv-0001", 0), ("serv-0002", 1)]


def test_repr_shows_no_password():
    assert "s3cret" not in repr(parse_cluster(EXAMPLE))


def test_volume_groups_are_found_inside_services_once():
    cluster = edited('<lvm ref="lvm"/>', '<lvm name="b" vg_name="other"/><lvm name="c" vg_name="shared_vg"/>')
    assert cluster.volume_groups == ("shared_vg", "other")


def test_merged_as_fenced_writes_them():
    cluster = edited('<device name="halvm1"/>', '<device name="halvm1" login="X" delay="5"/>')
    node = cluster.nodes[0]
    merged = merged_attributes(cluster, node, node.fence_methods[0].devices[0])
    assert list(merged.items()) == [
        ("login", "ADMIN"),  # the fencedevice overrides the node
        ("delay", "5"),
        ("nodename", "serv-0001"),
        ("agent", "fence_halvm"),
        ("ipaddr", "192.168.1.50"),
        ("passwd", "s3cret"),
        ("vg", "shared_vg"),
    ]


def test_unfence_passes_the_action_of_the_file():
    cluster = parse_cluster(EXAMPLE)
    node = cluster.nodes[1]
    assert merged_attributes(cluster, node, node.unfence[0])["action"] == "on"


def test_nodename_is_not_added_to_one_that_is_there():
    cluster = edited('<device name="halvm1"/>', '<device name="halvm1" nodename="alias"/>')
    node = cluster.nodes[0]
    assert merged_attributes(cluster, node, node.fence_methods[0].devices[0])["nodename"] == "alias"


def test_merging_an_unknown_device_is_a_usage_error():
    cluster = edited('<device name="halvm1"/>', '<device name="nosuch"/>')
    node = cluster.nodes[0]
    with pytest.raises(UsageError, match="no fencedevice 'nosuch'"):
        merged_attributes(cluster, node, node.fence_methods[0].devices[0])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('<cluster name="c">\n<clusternodes>\n</cluster>', "cluster_conf: F line 3: mismatched tag: correct the XML"),
        ("", "F line 1: no element found"),
        ("<corosync/>", "F: the root element is <corosync>"),
        ('<cluster config_version="x"/>', "F: cluster: config_version='x' is not a number"),
        (
            '<cluster><clusternodes><clusternode name="a" nodeid="\u0661"/></clusternodes></cluster>',
            "F: clusternode a: nodeid='\u0661' is not a number",
        ),
        (f'<cluster config_version="{"9" * 5000}"/>', "is not a number"),
        ("<cluster name='\ud800'/>", "save the file as UTF-8"),
        (b"<?xml version='1.0' encoding='nosuch'?><cluster/>", "F line 1: unknown encoding"),
        (b"\xff\xfe\x00", "F line 1"),
    ],
)
def test_what_is_not_a_cluster_conf(content, message):
    with pytest.raises(UsageError) as caught:
        parse_cluster(content, "F")
    assert message in str(caught.value)


def test_billion_laughs_is_refused_before_it_is_told():
    entities = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 12))
    with pytest.raises(UsageError, match="line 1: a document type declaration is not accepted"):
        parse_cluster(f'<!DOCTYPE c [<!ENTITY l0 "ha">{entities}]><cluster name="&l11;"/>')


def test_external_entity_is_not_read(tmp_path: Path):
    secret = tmp_path / "secret"
    secret.write_text("x")
    with pytest.raises(UsageError, match="document type"):
        parse_cluster(f'<!DOCTYPE c [<!ENTITY e SYSTEM "file://{secret}">]><cluster name="c">&e;</cluster>')


def test_deep_nesting_does_no_harm():
    assert parse_cluster("<cluster name='c'>" + "<a>" * 20000 + "</a>" * 20000 + "</cluster>").name == "c"


@given(st.text() | st.binary())
def test_any_content_parses_or_is_a_fence_error(content):
    with contextlib.suppress(FenceError):
        problems(parse_cluster(content))


@given(st.integers(0, len(EXAMPLE) - 1), st.text(max_size=12), st.integers(0, 40))
def test_any_edit_of_a_real_one_parses_or_is_a_fence_error(at, inserted, dropped):
    with contextlib.suppress(FenceError):
        cluster = parse_cluster(EXAMPLE[:at] + inserted + EXAMPLE[at + dropped :])
        problems(cluster)
        find_local_node(cluster, ["serv-0001"])


def test_unreadable_file_is_named(tmp_path: Path):
    with pytest.raises(UsageError, match=r"nosuch: No such file or directory: give the path"):
        read_cluster(str(tmp_path / "nosuch"))
    with pytest.raises(UsageError):
        read_cluster("a\0b")


def test_file_is_read(tmp_path: Path):
    path = tmp_path / "cluster.conf"
    path.write_text(EXAMPLE)
    assert read_cluster(str(path)) == parse_cluster(EXAMPLE)


@pytest.mark.parametrize(
    ("nodes", "hosts", "index"),
    [
        (["a", "b"], ["b"], 1),
        (["a", "b"], ["B"], 1),
        (["a.x.org", "b.x.org"], ["b"], 1),
        (["a", "b"], ["b.x.org"], 1),
        (["b", "b.x.org"], ["b.x.org", "host"], 1),  # exact before short
        (["b.x.org", "b.y.org"], ["b"], None),  # ambiguous
        (["a", "b"], ["a", "b"], None),
        (["b.x.org"], ["b.y.org"], None),
        (["192", "10.0.0.1"], ["192.168.1.1"], None),
        (["a"], [], None),
        (["", "a"], ["", ".x"], None),
    ],
)
def test_local_node_by_host_names(nodes, hosts, index):
    assert match_host_names(nodes, hosts) == index


def test_other_of_two_nodes():
    cluster = parse_cluster(EXAMPLE)
    local = find_local_node(cluster, ["serv-0001.example.com"])
    assert local is cluster.nodes[0]
    assert other_node(cluster, local) is cluster.nodes[1]


def test_other_of_three_must_be_said():
    cluster = edited("</clusternodes>", '<clusternode name="c" nodeid="3"/></clusternodes>')
    with pytest.raises(UsageError, match="give -n NAME"):
        other_node(cluster, cluster.nodes[0])
