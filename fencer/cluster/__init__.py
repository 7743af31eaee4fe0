# SPDX-License-Identifier: Apache-2.0
"""The nodes of the cluster, and the reservation key of each."""

CLUSTER_CONF = "/etc/cluster/cluster.conf"
"""cman's configuration, in its usual place."""
