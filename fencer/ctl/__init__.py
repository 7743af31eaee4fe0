# SPDX-License-Identifier: Apache-2.0
"""halvmctl: shows the state of the cluster on one screen, and checks beforehand that a failover will work."""
