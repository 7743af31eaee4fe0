# SPDX-License-Identifier: Apache-2.0
"""``make demo``: a node is fenced for real, on one host, without any hardware. See __main__."""
