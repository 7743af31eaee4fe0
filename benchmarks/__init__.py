# SPDX-License-Identifier: Apache-2.0
"""``make bench``: fence_halvm beside fence_ipmilan on the same simulated BMC. See __main__."""
