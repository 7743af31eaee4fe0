"""``make bench``: fence_halvm beside fence_ipmilan on the same simulated BMC. See __main__."""
