# SPDX-License-Identifier: Apache-2.0
"""Makes the page at /: findings, LUNs by nodes, paths, watchdog, fences. Pure: readings in, text out."""
