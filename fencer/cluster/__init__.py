# SPDX-License-Identifier: Apache-2.0
"""Who the nodes are, and whose reservation key is whose."""

CLUSTER_CONF = "/etc/cluster/cluster.conf"
"""cman's configuration, in its usual place."""
