"""``make demo``: a node is fenced for real, on one host, without any hardware. See __main__."""
