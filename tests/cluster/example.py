# SPDX-License-Identifier: Apache-2.0
"""The cluster of the article with our agent, and a way to spoil it."""

from fencer.cluster.cluster_conf import Cluster, parse_cluster

EXAMPLE = """<?xml version="1.0"?>
<cluster name="lvm-cluster" config_version="2">
  <cman two_node="1" expected_votes="1"/>
  <clusternodes>
    <clusternode name="serv-0001" nodeid="1">
      <fence><method name="bmc-and-disk"><device name="halvm1"/></method></fence>
      <unfence><device name="halvm1" action="on"/></unfence>
    </clusternode>
    <clusternode name="serv-0002" nodeid="2">
      <fence><method name="bmc-and-disk"><device name="halvm2"/></method></fence>
      <unfence><device name="halvm2" action="on"/></unfence>
    </clusternode>
  </clusternodes>
  <fencedevices>
    <fencedevice name="halvm1" agent="fence_halvm" ipaddr="192.168.1.50" login="ADMIN" passwd="s3cret" vg="shared_vg"/>
    <fencedevice name="halvm2" agent="fence_halvm" ipaddr="192.168.1.51" login="ADMIN" passwd="s3cret" vg="shared_vg"/>
  </fencedevices>
  <rm>
    <resources><lvm name="lvm" vg_name="shared_vg" lv_name="ha_lv"/></resources>
    <service name="serv"><lvm ref="lvm"/></service>
  </rm>
</cluster>
"""


def edited(old: str, new: str) -> Cluster:
    """The example with one thing changed."""
    assert old in EXAMPLE
    return parse_cluster(EXAMPLE.replace(old, new))
